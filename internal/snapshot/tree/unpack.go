package tree

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/ids"
	"github.com/berth-dev/berth/internal/tarfile"
)

// ErrBadArchive says that an archive is not what [Pack] makes.
var ErrBadArchive = errors.New("the archive was not packed by berth, or is damaged")

// Unpacking says how a tree is to be on disk.
type Unpacking struct {
	IDs   ids.Range // owners; an owner outside of it is an error
	Marks string    // UserMarks or TrustedMarks
}

// maxDepth bounds how many directories deep a tree may be: each is open while it is filled.
const maxDepth = 512

// Unpack makes the tree in the empty directory dir that [Pack] has packed. It takes nothing
// for granted: every entry must come within the directory that it names, which the archive
// must have made before, and is made there by its last name alone, so that no path is
// resolved and no link is followed. Devices other than whiteouts, entries that exist, and
// attributes that a layer does not have are refused, and so are sparse files, of which tar
// makes zeros without reading: Pack leaves that to compression. So bytes are bounded by r. It
// ends early with ctx's error when ctx is cancelled; what was unpacked by then stays.
//
// Errors: [ErrBadArchive], *os.PathError, r's, ctx's.
func Unpack(ctx context.Context, r io.Reader, dir *os.File, o Unpacking) error {
	u := unpacker{Unpacking: o, root: dir}
	defer u.close()
	in := tar.NewReader(contextReader{ctx, r})
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return u.finish()
		}
		if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%w: %w", ErrBadArchive, err)
		}
		if err != nil {
			return err
		}
		if err := u.entry(h, in); err != nil {
			return err
		}
	}
}

type unpacker struct {
	Unpacking
	root *os.File
	// open are the directories on the way to the entry before.
	open []openedDir
}

type openedDir struct {
	*os.File
	rel    string
	header *tar.Header
}

func bad(h *tar.Header, why string) error {
	return fmt.Errorf("%w: %q: %s", ErrBadArchive, h.Name, why)
}

func (u *unpacker) entry(h *tar.Header, data io.Reader) error {
	if tarfile.Sparse(h) {
		return bad(h, "it is a sparse file, which could be of any size")
	}
	rel := strings.TrimSuffix(h.Name, "/")
	if len(u.open) == 0 {
		if rel != "." || h.Typeflag != tar.TypeDir {
			return bad(h, "the first entry is not the tree itself")
		}
		root, err := openDir(u.root, ".")
		if err != nil {
			return err
		}
		u.open = append(u.open, openedDir{root, ".", h})
		return nil
	}
	if rel == "." || rel != path.Clean(rel) || path.IsAbs(rel) || rel == ".." || strings.HasPrefix(rel, "../") {
		return bad(h, "its name is not a path in the tree")
	}
	if err := u.ascend(path.Dir(rel)); err != nil {
		return err
	}
	if len(u.open) == 0 || len(u.open) > maxDepth {
		return bad(h, "it is not in a directory before it, or too deep")
	}
	return u.make(h, u.open[len(u.open)-1].File, path.Base(rel), rel, data)
}

// ascend finishes the directories that the next entry is not in.
func (u *unpacker) ascend(parent string) error {
	for len(u.open) > 0 && u.open[len(u.open)-1].rel != parent {
		d := u.open[len(u.open)-1]
		u.open = u.open[:len(u.open)-1]
		err := u.attributes(d.File, d.header)
		d.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func (u *unpacker) finish() error {
	if len(u.open) == 0 {
		return fmt.Errorf("%w: it is empty", ErrBadArchive)
	}
	return u.ascend("")
}

func (u *unpacker) close() {
	for _, d := range u.open {
		d.Close()
	}
}

func (u *unpacker) make(h *tar.Header, dir *os.File, name, rel string, data io.Reader) error {
	fd := int(dir.Fd())
	var err error
	switch h.Typeflag {
	case tar.TypeDir:
		if err := unix.Mkdirat(fd, name, 0o700); err != nil {
			return &os.PathError{Op: "mkdir", Path: rel, Err: err}
		}
		sub, err := openDir(dir, name)
		if err != nil {
			return &os.PathError{Op: "open", Path: rel, Err: err}
		}
		u.open = append(u.open, openedDir{sub, rel, h})
		return nil
	case tar.TypeReg:
		return u.file(h, dir, name, data)
	case tar.TypeLink:
		return u.link(h, fd, name, rel)
	case tar.TypeSymlink:
		err = unix.Symlinkat(h.Linkname, fd, name)
	case tar.TypeFifo:
		err = unix.Mknodat(fd, name, unix.S_IFIFO|0o600, 0)
	case tar.TypeChar:
		if h.Devmajor != 0 || h.Devminor != 0 {
			return bad(h, "it is a device")
		}
		err = unix.Mknodat(fd, name, unix.S_IFCHR|0o600, 0)
	default:
		return bad(h, fmt.Sprintf("it is of kind %q", h.Typeflag))
	}
	if err != nil {
		return &os.PathError{Op: "make", Path: rel, Err: err}
	}
	return u.own(h, fd, name)
}

// own sets owner, mode and time of an entry that has no handle.
func (u *unpacker) own(h *tar.Header, dir int, name string) error {
	if len(xattrsOf(h)) > 0 {
		return bad(h, "it has extended attributes")
	}
	uid, gid, err := u.owner(h)
	if err != nil {
		return err
	}
	if err := unix.Fchownat(dir, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "chown", Path: h.Name, Err: err}
	}
	if h.Typeflag != tar.TypeSymlink {
		if err := unix.Fchmodat(dir, name, uint32(h.Mode)&0o7777, 0); err != nil {
			return &os.PathError{Op: "chmod", Path: h.Name, Err: err}
		}
	}
	if err := unix.UtimesNanoAt(dir, name, times(h), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "utimensat", Path: h.Name, Err: err}
	}
	return nil
}

// link gives a file that was unpacked before another name.
func (u *unpacker) link(h *tar.Header, dir int, name, rel string) error {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS}
	from, err := unix.Openat2(int(u.root.Fd()), path.Dir(h.Linkname), &how)
	if err != nil {
		return bad(h, "it is a link to "+h.Linkname+", which was not before it")
	}
	defer unix.Close(from)
	if err := unix.Linkat(from, path.Base(h.Linkname), dir, name, 0); err != nil { // not of a directory
		return &os.PathError{Op: "link", Path: rel, Err: err}
	}
	return nil
}

func (u *unpacker) file(h *tar.Header, dir *os.File, name string, data io.Reader) error {
	f, err := openFile(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return &os.PathError{Op: "create", Path: h.Name, Err: err}
	}
	defer f.Close()
	if err := writeSparse(f, data, h.Size); err != nil {
		return &os.PathError{Op: "write", Path: h.Name, Err: err}
	}
	return u.attributes(f, h)
}

// writeSparse leaves holes where there is nothing but zeros.
func writeSparse(f *os.File, data io.Reader, size int64) error {
	block, zeros := make([]byte, 64<<10), make([]byte, 64<<10)
	for at := int64(0); at < size; {
		b := block[:min(int64(len(block)), size-at)]
		if _, err := io.ReadFull(data, b); err != nil {
			return err
		}
		if !bytes.Equal(b, zeros[:len(b)]) {
			if _, err := f.WriteAt(b, at); err != nil {
				return err
			}
		}
		at += int64(len(b))
	}
	return f.Truncate(size)
}

// attributes does what copier.finish does, from an archive's header.
func (u *unpacker) attributes(f *os.File, h *tar.Header) error {
	uid, gid, err := u.owner(h)
	if err != nil {
		return err
	}
	fd := int(f.Fd())
	if err := unix.Fchown(fd, uid, gid); err != nil {
		return &os.PathError{Op: "chown", Path: h.Name, Err: err}
	}
	if err := unix.Fchmod(fd, uint32(h.Mode)&0o7777); err != nil {
		return &os.PathError{Op: "chmod", Path: h.Name, Err: err}
	}
	for _, key := range xattrsOf(h) {
		name, value, err := u.xattr(h, key)
		if err != nil {
			return err
		}
		if err := unix.Fsetxattr(fd, name, value, 0); err != nil {
			return &os.PathError{Op: "set " + name + " of", Path: h.Name, Err: err}
		}
	}
	if err := unix.UtimesNanoAt(fd, "", times(h), unix.AT_EMPTY_PATH); err != nil {
		return &os.PathError{Op: "utimensat", Path: h.Name, Err: err}
	}
	return nil
}

// xattrsOf lists the PAX records that are extended attributes.
func xattrsOf(h *tar.Header) (keys []string) {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, paxXattr) || strings.HasPrefix(key, paxMark) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

func (u *unpacker) xattr(h *tar.Header, key string) (string, []byte, error) {
	value := []byte(h.PAXRecords[key])
	if mark, ok := strings.CutPrefix(key, paxMark); ok {
		return u.Marks + unescapeKey(mark), value, nil
	}
	name := unescapeKey(strings.TrimPrefix(key, paxXattr))
	switch {
	case name == capabilityAttr:
		value, ok := unpackCapability(value, u.IDs)
		if !ok {
			return "", nil, bad(h, "its capabilities cannot be understood")
		}
		return name, value, nil
	case isACL(name):
		shiftACL(value, func(id uint32) int { return shift(id, ids.Range{Size: u.IDs.Size}, u.IDs) })
		return name, value, nil
	case strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, u.Marks):
		return name, value, nil
	}
	return "", nil, bad(h, "it has the extended attribute "+name)
}

func (u *unpacker) owner(h *tar.Header) (uid, gid int, err error) {
	for _, id := range []int{h.Uid, h.Gid} {
		if id < 0 || int64(id) >= int64(u.IDs.Size) {
			return 0, 0, bad(h, fmt.Sprintf("its owner is %d:%d", h.Uid, h.Gid))
		}
	}
	return int(u.IDs.First) + h.Uid, int(u.IDs.First) + h.Gid, nil
}

func times(h *tar.Header) []unix.Timespec {
	t := unix.Timespec{Sec: h.ModTime.Unix(), Nsec: int64(h.ModTime.Nanosecond())}
	return []unix.Timespec{t, t}
}
