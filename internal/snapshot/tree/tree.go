// Package tree copies, packs and unpacks directory trees whose contents nobody vouches for:
// an engine wrote them, as root of its user namespace, or another machine. It walks from
// directory handle to directory handle and never follows a symbolic link, so that nothing
// outside the two trees is read or written. Kinds, modes, owners, times, extended attributes,
// devices and holes are kept. Names of one file within a tree are separate files in a copy;
// packed and unpacked, they stay one.
//
// Sizes are bytes. It knows nothing of engines and images.
package tree

import (
	"context"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/ids"
)

// Options say how a copy differs from its source.
type Options struct {
	// From and To shift owners: id From.First+n becomes To.First+n. An id that is not in
	// From becomes To.First.
	From, To ids.Range
	// Skip leaves an entry out, and all that is below it. rel is its path in the tree.
	Skip func(rel string) bool
	// Link makes a regular file a hard link to its source, which it has in common with all
	// other copies from then on. Its owner and mode are the source's.
	Link func(rel string) bool
	// LinkOutside makes such a link also where the copy is in a project (project quotas) and its
	// source is not: it does not count for that project. The directories of the copy are nobody
	// else's yet.
	LinkOutside bool
	// Reflink says that data must be shared with the source by the file system
	// (ioctl_ficlone(2)); a file system that cannot makes the copy fail with ErrNoReflink.
	// Otherwise it is shared where that works and else copied.
	Reflink bool
}

// Copy copies what is in the directory from into the directory to; both exist, and to gets
// the mode, owner and times of from. It ends early with ctx's error when ctx is cancelled;
// what was copied by then stays.
//
// Errors: *os.PathError with a path relative to the tree, [ErrNoReflink].
func Copy(ctx context.Context, from, to *os.File, o Options) error {
	c := copier{ctx: ctx, Options: o}
	return c.directory(from, to, ".")
}

type copier struct {
	ctx context.Context
	Options
}

// directory copies the entries of one directory, and then what it is itself: its own
// times would change again with every entry.
func (c *copier) directory(from, to *os.File, rel string) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	names, err := list(from)
	if err != nil {
		return &os.PathError{Op: "list", Path: rel, Err: err}
	}
	for _, name := range names {
		sub := path.Join(rel, name)
		if c.Skip != nil && c.Skip(sub) {
			continue
		}
		if err := c.entry(from, to, name, sub); err != nil {
			return err
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(from.Fd()), &st); err != nil {
		return &os.PathError{Op: "fstat", Path: rel, Err: err}
	}
	return c.finish(from, to, &st, rel)
}

func (c *copier) entry(from, to *os.File, name, rel string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(from.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "stat", Path: rel, Err: err}
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return c.subdirectory(from, to, name, rel)
	case unix.S_IFREG:
		return c.file(from, to, name, rel, &st)
	case unix.S_IFLNK:
		return c.symlink(from, to, name, rel, &st)
	case unix.S_IFSOCK:
		return nil // means something to the process that listened only
	default:
		return c.node(to, name, rel, &st)
	}
}

func (c *copier) subdirectory(from, to *os.File, name, rel string) error {
	source, err := openDir(from, name)
	if err != nil {
		return &os.PathError{Op: "open", Path: rel, Err: err}
	}
	defer source.Close()
	if err := unix.Mkdirat(int(to.Fd()), name, 0o700); err != nil {
		return &os.PathError{Op: "mkdir", Path: rel, Err: err}
	}
	target, err := openDir(to, name)
	if err != nil {
		return &os.PathError{Op: "open", Path: rel, Err: err}
	}
	defer target.Close()
	return c.directory(source, target, rel)
}

func (c *copier) symlink(from, to *os.File, name, rel string, st *unix.Stat_t) error {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(from.Fd()), name, buf)
	if err != nil {
		return &os.PathError{Op: "readlink", Path: rel, Err: err}
	}
	if err := unix.Symlinkat(string(buf[:n]), int(to.Fd()), name); err != nil {
		return &os.PathError{Op: "symlink", Path: rel, Err: err}
	}
	return c.own(to, name, rel, st)
}

// node copies a device, among them overlayfs's whiteouts, or a named pipe.
func (c *copier) node(to *os.File, name, rel string, st *unix.Stat_t) error {
	if err := unix.Mknodat(int(to.Fd()), name, st.Mode, int(st.Rdev)); err != nil {
		return &os.PathError{Op: "mknod", Path: rel, Err: err}
	}
	if err := c.own(to, name, rel, st); err != nil {
		return err
	}
	// After the change of owner, which may clear bits, and without the creation mask.
	if err := unix.Fchmodat(int(to.Fd()), name, st.Mode&0o7777, 0); err != nil {
		return &os.PathError{Op: "chmod", Path: rel, Err: err}
	}
	return nil
}

// own sets owner and times of an entry that has no handle.
func (c *copier) own(to *os.File, name, rel string, st *unix.Stat_t) error {
	uid, gid := c.owner(st)
	if err := unix.Fchownat(int(to.Fd()), name, uid, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "chown", Path: rel, Err: err}
	}
	times := []unix.Timespec{st.Atim, st.Mtim}
	if err := unix.UtimesNanoAt(int(to.Fd()), name, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "utimensat", Path: rel, Err: err}
	}
	return nil
}

func (c *copier) owner(st *unix.Stat_t) (uid, gid int) {
	return c.shift(st.Uid), c.shift(st.Gid)
}

func (c *copier) shift(id uint32) int { return shift(id, c.From, c.To) }

// openDir opens a directory in another; the name is a single component.
func openDir(dir *os.File, name string) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// list returns the names in a directory, sorted. The handle stays where it is.
func list(dir *os.File) ([]string, error) {
	d, err := openDir(dir, ".")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}
