package linux

import (
	"context"
	"os"

	"golang.org/x/sys/unix"
)

// Reown walks the tree at path, which must still be the file that dev and ino name, and
// gives each entry the owner that pick returns for its present one. It follows no symbolic
// link, enters no other file system, and leaves a tree that was exchanged or removed alone.
// It ends early with ctx's error when ctx is cancelled.
func Reown(ctx context.Context, path string, dev, ino uint64, pick func(uid, gid int) (int, int)) error {
	root, err := OpenPath(path)
	if err != nil {
		return nil // removed or exchanged: nothing of the engine's is there
	}
	defer root.Close()
	if d, i, err := Identity(root); err != nil || d != dev || i != ino {
		return err
	}
	w := reowner{ctx: ctx, dev: dev, pick: pick}
	return w.entry(int(root.Fd()), "", path)
}

type reowner struct {
	ctx  context.Context
	dev  uint64
	pick func(uid, gid int) (int, int)
}

// entry treats one directory entry: name in the directory dirfd, or dirfd itself if name is empty.
func (w *reowner) entry(dirfd int, name, path string) error {
	var st unix.Stat_t
	err := retry(func() error {
		return unix.Fstatat(dirfd, name, &st, unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH)
	})
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Dev != w.dev {
		return nil
	}
	if uid, gid := w.pick(int(st.Uid), int(st.Gid)); uid != int(st.Uid) || gid != int(st.Gid) {
		err := retry(func() error {
			return unix.Fchownat(dirfd, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH)
		})
		if err != nil && err != unix.ENOENT {
			return &os.PathError{Op: "chown", Path: path, Err: err}
		}
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return w.directory(dirfd, name, path)
	}
	return nil
}

func (w *reowner) directory(dirfd int, name, path string) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if name == "" {
		name = "."
	}
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH | unix.RESOLVE_NO_XDEV,
	}
	var fd int
	err := retry(func() (err error) { fd, err = unix.Openat2(dirfd, name, &how); return err })
	if err == unix.ENOENT || err == unix.ELOOP || err == unix.ENOTDIR || err == unix.EXDEV {
		return nil // exchanged meanwhile, or a mount point
	}
	if err != nil {
		return &os.PathError{Op: "openat2", Path: path, Err: err}
	}
	dir := os.NewFile(uintptr(fd), path)
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := w.entry(fd, n, path+"/"+n); err != nil {
			return err
		}
	}
	return nil
}
