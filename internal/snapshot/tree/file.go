package tree

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/linux"
)

// ErrNoReflink says that the file system cannot share data between files.
var ErrNoReflink = errors.New("the file system cannot share data between files (reflinks); ext4 and tmpfs cannot, btrfs and most xfs can")

func (c *copier) file(from, to *os.File, name, rel string, st *unix.Stat_t) error {
	if c.Link != nil && c.Link(rel) {
		switch err := c.link(from, to, name); err {
		case nil:
			return nil
		case unix.EMLINK, unix.EXDEV, unix.EPERM: // as many links as the file system has, or none
		default:
			return &os.PathError{Op: "link", Path: rel, Err: err}
		}
	}
	// Not blocking: what was a file a moment ago may be a pipe now.
	source, err := openFile(from, name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: rel, Err: err}
	}
	defer source.Close()
	target, err := openFile(to, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return &os.PathError{Op: "create", Path: rel, Err: err}
	}
	defer target.Close()
	if err := c.data(source, target, st.Size); err != nil {
		return err
	}
	return c.finish(source, target, st, rel)
}

func (c *copier) link(from, to *os.File, name string) error {
	err := unix.Linkat(int(from.Fd()), name, int(to.Fd()), name, 0)
	if err == unix.EXDEV && c.LinkOutside {
		err = linux.LinkOutside(from, name, to)
	}
	return err
}

func openFile(dir *os.File, name string, flags int, mode uint32) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// data fills target with what is in source: by sharing it, else by copying what is no hole.
func (c *copier) data(source, target *os.File, size int64) error {
	if size == 0 {
		return nil
	}
	err := unix.IoctlFileClone(int(target.Fd()), int(source.Fd()))
	if err == nil {
		return nil
	}
	if c.Reflink {
		return ErrNoReflink
	}
	if err := target.Truncate(size); err != nil {
		return err
	}
	for end := int64(0); ; { // in pieces, so that a cancel is noticed
		if err := c.ctx.Err(); err != nil {
			return err
		}
		start, err := source.Seek(end, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // only a hole is left
		}
		if err != nil {
			return err
		}
		if end, err = source.Seek(start, unix.SEEK_HOLE); err != nil {
			return err
		}
		end = min(end, start+piece)
		if err := extent(source, target, start, end); err != nil {
			return err
		}
	}
}

// piece is how many bytes are copied at once.
const piece = 16 << 20

func extent(source, target *os.File, start, end int64) error {
	for _, f := range []*os.File{source, target} {
		if _, err := f.Seek(start, io.SeekStart); err != nil {
			return err
		}
	}
	_, err := io.CopyN(target, source, end-start) // copy_file_range(2) where there is one
	return err
}

// finish gives a file or directory the attributes of its source, in the order in which one
// does not undo another: a change of owner clears set-user-id bits and file capabilities.
func (c *copier) finish(source, target *os.File, st *unix.Stat_t, rel string) error {
	uid, gid := c.owner(st)
	if err := unix.Fchown(int(target.Fd()), uid, gid); err != nil {
		return &os.PathError{Op: "chown", Path: rel, Err: err}
	}
	if err := unix.Fchmod(int(target.Fd()), st.Mode&0o7777); err != nil {
		return &os.PathError{Op: "chmod", Path: rel, Err: err}
	}
	if err := c.xattrs(source, target); err != nil {
		return &os.PathError{Op: "copy extended attributes of", Path: rel, Err: err}
	}
	times := []unix.Timespec{st.Atim, st.Mtim}
	if err := unix.UtimesNanoAt(int(target.Fd()), "", times, unix.AT_EMPTY_PATH); err != nil {
		return &os.PathError{Op: "utimensat", Path: rel, Err: err}
	}
	return nil
}
