package linux

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// AttachLoop makes a file a block device, which goes away by itself when nobody uses it
// any more (loop(4), LOOP_CONFIGURE: Linux 5.8). The caller closes what it returns, after a
// mount that keeps the device.
func AttachLoop(file *os.File) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	for {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, os.NewSyscallError("ioctl LOOP_CTL_GET_FREE", err)
		}
		device, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		config := unix.LoopConfig{Fd: uint32(file.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
		err = retry(func() error { return unix.IoctlLoopConfigure(int(device.Fd()), &config) })
		if err == nil {
			return device, nil
		}
		device.Close()
		if !errors.Is(err, unix.EBUSY) { // somebody else was given the same one
			return nil, os.NewSyscallError("ioctl LOOP_CONFIGURE", err)
		}
	}
}

// IsMount reports whether something is mounted at path (statx(2), STATX_ATTR_MOUNT_ROOT:
// Linux 5.8). A path that does not exist is none.
func IsMount(path string) (bool, error) {
	var st unix.Statx_t
	err := retry(func() error { return unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, 0, &st) })
	if err == unix.ENOENT {
		return false, nil
	}
	if err != nil {
		return false, &os.PathError{Op: "statx", Path: path, Err: err}
	}
	return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
}
