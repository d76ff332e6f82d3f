package linux

import (
	"context"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Reown walks the tree at path, which must still be the file that dev and ino name, and
// gives each entry whose status has changed since then the owner that pick returns for its
// present one (inode(7), ctime). It follows no symbolic link, enters no other file system, and
// leaves a tree that was exchanged or removed alone. Others may change the tree meanwhile: what
// is given away is what was looked at. It ends early with ctx's error when ctx is cancelled.
func Reown(ctx context.Context, path string, dev, ino uint64, since time.Time, pick func(uid, gid int) (int, int)) error {
	root, err := OpenPath(path)
	if err != nil {
		return nil // removed or exchanged: nothing of the engine's is there
	}
	defer root.Close()
	if d, i, err := Identity(root); err != nil || d != dev || i != ino {
		return err
	}
	w := reowner{ctx: ctx, dev: dev, since: since, pick: pick}
	return w.entry(int(root.Fd()), "", path)
}

type reowner struct {
	ctx   context.Context
	dev   uint64
	since time.Time
	pick  func(uid, gid int) (int, int)
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
	if _, _, change := w.owner(&st); change {
		if err := w.give(dirfd, name); err != nil && err != unix.ENOENT {
			return &os.PathError{Op: "chown", Path: path, Err: err}
		}
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return w.directory(dirfd, name, path)
	}
	return nil
}

// owner says who is to have a file, and whether that is somebody else than now.
func (w *reowner) owner(st *unix.Stat_t) (uid, gid int, change bool) {
	if time.Unix(st.Ctim.Unix()).Before(w.since) {
		return 0, 0, false
	}
	uid, gid = w.pick(int(st.Uid), int(st.Gid))
	return uid, gid, uid != int(st.Uid) || gid != int(st.Gid)
}

// give changes the owner of an entry. It is opened for that and looked at again: the name may be
// another file's by now.
func (w *reowner) give(dirfd int, name string) error {
	fd := dirfd
	if name != "" {
		err := retry(func() (err error) {
			fd, err = unix.Openat(dirfd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
			return err
		})
		if err != nil {
			return err
		}
		defer unix.Close(fd)
	}
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return err
	}
	uid, gid, change := w.owner(&st)
	if st.Dev != w.dev || !change {
		return nil
	}
	return retry(func() error { return unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH) })
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
