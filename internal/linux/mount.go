package linux

import (
	"os"

	"golang.org/x/sys/unix"
)

// Restricted is a path whose mount is to have bounds that a user namespace cannot lift.
type Restricted struct {
	Path     string
	ReadOnly bool
}

// WithRestricted runs f on a thread with a mount namespace of its own, in which each path
// is a mount without devices and set-user-id bits and, where asked, read-only. What a
// process that f starts copies from there into a mount namespace of a new user namespace
// keeps these bounds for good (mount_namespaces(7), "Restrictions on mount namespaces");
// bounds set later, by that user namespace itself, could be lifted by it as well.
//
// The namespace ends with f; the caller's is not touched.
func WithRestricted(paths []Restricted, f func() error) error {
	return OnThread(func() error {
		if len(paths) > 0 {
			if err := restrict(paths); err != nil {
				return err
			}
		}
		return f()
	})
}

func restrict(paths []Restricted) error {
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return &os.PathError{Op: "make mounts private", Path: "/", Err: err}
	}
	for _, p := range paths {
		if err := unix.Mount(p.Path, p.Path, "", unix.MS_BIND, ""); err != nil {
			return &os.PathError{Op: "mount", Path: p.Path, Err: err}
		}
		flags := uintptr(unix.MS_REMOUNT | unix.MS_BIND | unix.MS_NOSUID | unix.MS_NODEV)
		if p.ReadOnly {
			flags |= unix.MS_RDONLY
		}
		if err := unix.Mount("", p.Path, "", flags, ""); err != nil {
			return &os.PathError{Op: "remount", Path: p.Path, Err: err}
		}
	}
	return nil
}
