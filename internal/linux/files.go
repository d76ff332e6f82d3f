package linux

import (
	"errors"
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

// ErrWritten says that a file is open for writing.
var ErrWritten = errors.New("the file is open for writing")

// CheckUnwritten returns ErrWritten if anybody has the file open for writing, or mapped so;
// f itself must not be. It takes a read lease for that, which the kernel gives on no such file
// (fcntl(2), F_SETLEASE), and gives it back at once. The caller owns the file or has CAP_LEASE.
func CheckUnwritten(f *os.File) error {
	set := func(lease int) error {
		return retry(func() error { _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, lease); return err })
	}
	err := set(unix.F_RDLCK)
	if err == unix.EAGAIN {
		return ErrWritten
	}
	if err == nil {
		err = set(unix.F_UNLCK)
	}
	return os.NewSyscallError("fcntl F_SETLEASE", err)
}
