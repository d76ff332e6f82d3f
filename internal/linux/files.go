package linux

import (
	"os"

	"golang.org/x/sys/unix"
)

// OpenPath opens path, which must be absolute, as a handle for mounting or looking at
// (O_PATH). No symbolic or magic link is followed on the way: the path must be what it
// says (openat2(2), Linux 5.6).
func OpenPath(path string) (*os.File, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
	var fd int
	err := retry(func() (err error) { fd, err = unix.Openat2(unix.AT_FDCWD, path, &how); return err })
	if err != nil {
		return nil, &os.PathError{Op: "openat2", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// Identity returns the device and inode of an open file.
func Identity(f *os.File) (dev, ino uint64, err error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(int(f.Fd()), &st) }); err != nil {
		return 0, 0, &os.PathError{Op: "fstat", Path: f.Name(), Err: err}
	}
	return st.Dev, st.Ino, nil
}

// SocketPair returns the two ends of a connected stream socket, both close-on-exec (socketpair(2)).
func SocketPair() (a, b *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control"), nil
}
