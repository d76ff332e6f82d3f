package linux

import (
	"os"

	"golang.org/x/sys/unix"
)

// BindReadOnly makes the directory source appear at target, read-only, without set-user-id
// programs and devices, and apart from all propagation. A mount namespace that is made
// with a user namespace of its own gets these restrictions locked: nobody in it can lift
// them (mount_namespaces(7), "Restrictions on mount namespaces").
func BindReadOnly(source, target string) error {
	fd, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return &os.PathError{Op: "open_tree", Path: source, Err: err}
	}
	defer unix.Close(fd)
	attr := unix.MountAttr{
		Attr_set:    unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV,
		Propagation: unix.MS_PRIVATE,
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return &os.PathError{Op: "mount_setattr", Path: source, Err: err}
	}
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return &os.PathError{Op: "move_mount", Path: target, Err: err}
	}
	return nil
}

// Unmount takes what is mounted at path away, also while it is in use elsewhere. It is
// content when nothing is mounted there, or nothing is there at all.
func Unmount(path string) error {
	err := retry(func() error { return unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) })
	if err == unix.EINVAL || err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "umount2", Path: path, Err: err}
	}
	return nil
}

// SyncFS writes out everything that the file system of the open file has not written yet
// (syncfs(2)).
func SyncFS(f *os.File) error {
	return os.NewSyscallError("syncfs", retry(func() error { return unix.Syncfs(int(f.Fd())) }))
}
