package tree

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/ids"
)

// Names under which overlayfs keeps its marks (Linux, Documentation/filesystems/overlayfs.rst).
const (
	UserMarks    = "user.overlay."    // mounted in a user namespace
	TrustedMarks = "trusted.overlay." // mounted by the host's root
)

// Extended attributes in a packed tree: PAX records, as GNU tar and others have them, and
// overlayfs's marks under a name that is neither of the two.
const (
	paxXattr = "SCHILY.xattr."
	paxMark  = "BERTH.overlay."
)

// Packing says how a tree is on disk; packed, it is the same for all of them.
type Packing struct {
	IDs   ids.Range             // its owners; packed, they begin at 0
	Marks string                // UserMarks or TrustedMarks
	Skip  func(rel string) bool // leaves an entry out, and all below it; nil: nothing
	// Undated leaves a directory's time of change out, which depends on entries that are
	// left out; nil: of none.
	Undated func(rel string) bool
}

// Pack writes what is in dir as a tar archive (pax(1) format) in depth-first order, sorted
// by name, without what differs from one copy of a tree to another. The same tree makes
// the same bytes. A name with several links stays one file. A device that is no whiteout is
// an error: it means something on this machine only.
func Pack(ctx context.Context, dir *os.File, w io.Writer, o Packing) error {
	p := packer{ctx: ctx, Packing: o, tar: tar.NewWriter(w), seen: map[[2]uint64]string{}}
	if err := p.directory(dir, "."); err != nil {
		return err
	}
	return p.tar.Close()
}

type packer struct {
	ctx context.Context
	Packing
	tar  *tar.Writer
	seen map[[2]uint64]string // device and inode of files with several names: the first
}

func (p *packer) directory(dir *os.File, rel string) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return &os.PathError{Op: "fstat", Path: rel, Err: err}
	}
	if p.Undated != nil && p.Undated(rel) {
		st.Mtim = unix.Timespec{}
	}
	h := p.header(tar.TypeDir, rel+"/", &st)
	if err := p.attributes(h, dir, rel); err != nil {
		return err
	}
	if err := p.tar.WriteHeader(h); err != nil {
		return err
	}
	return visit(dir, rel, p.Skip, p)
}

func (p *packer) entry(dir *os.File, name, rel string, st *unix.Stat_t) error {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFSOCK:
		return nil // means something to the process that listened only
	case unix.S_IFCHR, unix.S_IFBLK:
		if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != 0 {
			return &os.PathError{Op: "pack", Path: rel, Err: fmt.Errorf("it is the device %d:%d, which is this machine's", unix.Major(st.Rdev), unix.Minor(st.Rdev))}
		}
	}
	// Overlayfs makes whiteouts links of one another as it sees fit.
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFCHR {
		key := [2]uint64{st.Dev, st.Ino}
		if first, ok := p.seen[key]; ok {
			h := &tar.Header{Typeflag: tar.TypeLink, Name: rel, Linkname: first, Format: tar.FormatPAX}
			return p.tar.WriteHeader(h)
		}
		p.seen[key] = rel
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return p.file(dir, name, rel)
	case unix.S_IFLNK:
		return p.symlink(dir, name, rel, st)
	case unix.S_IFIFO:
		return p.tar.WriteHeader(p.header(tar.TypeFifo, rel, st))
	}
	return p.tar.WriteHeader(p.header(tar.TypeChar, rel, st))
}

func (p *packer) file(dir *os.File, name, rel string) error {
	// Not blocking: what was a file a moment ago may be a pipe now.
	f, err := openFile(dir, name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: rel, Err: err}
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return &os.PathError{Op: "fstat", Path: rel, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return &os.PathError{Op: "read", Path: rel, Err: os.ErrInvalid}
	}
	h := p.header(tar.TypeReg, rel, &st)
	h.Size = st.Size
	if err := p.attributes(h, f, rel); err != nil {
		return err
	}
	if err := p.tar.WriteHeader(h); err != nil {
		return err
	}
	if _, err := io.CopyN(p.tar, contextReader{p.ctx, f}, st.Size); err != nil {
		return &os.PathError{Op: "read", Path: rel, Err: err}
	}
	return nil
}

func (p *packer) symlink(dir *os.File, name, rel string, st *unix.Stat_t) error {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(dir.Fd()), name, buf)
	if err != nil {
		return &os.PathError{Op: "readlink", Path: rel, Err: err}
	}
	h := p.header(tar.TypeSymlink, rel, st)
	h.Linkname = string(buf[:n])
	return p.tar.WriteHeader(h)
}

func (p *packer) header(kind byte, name string, st *unix.Stat_t) *tar.Header {
	return &tar.Header{
		Typeflag: kind, Name: name, Mode: int64(st.Mode & 0o7777), Format: tar.FormatPAX,
		Uid: p.normal(st.Uid), Gid: p.normal(st.Gid),
		ModTime: time.Unix(st.Mtim.Sec, st.Mtim.Nsec), PAXRecords: map[string]string{},
	}
}

func (p *packer) normal(id uint32) int { return shift(id, p.IDs, p.zeroBased()) }

func (p *packer) zeroBased() ids.Range { return ids.Range{First: 0, Size: p.IDs.Size} }

// attributes adds the extended attributes that mean the same everywhere.
func (p *packer) attributes(h *tar.Header, f *os.File, rel string) error {
	attrs, err := readXattrs(f)
	if err != nil {
		return &os.PathError{Op: "read extended attributes of", Path: rel, Err: err}
	}
	for _, a := range attrs {
		if mark, ok := strings.CutPrefix(a.name, p.Marks); ok {
			h.PAXRecords[paxMark+escapeKey(mark)] = string(a.value)
			continue
		}
		switch {
		case a.name == capabilityAttr:
			a.value = packCapability(a.value, p.IDs)
		case isACL(a.name):
			shiftACL(a.value, func(id uint32) int { return p.normal(id) })
		case !strings.HasPrefix(a.name, "user."):
			continue // a security module's, of this machine
		}
		h.PAXRecords[paxXattr+escapeKey(a.name)] = string(a.value)
	}
	return nil
}

// A PAX record's keyword ends with the first equals sign.
var keyEscaper, keyUnescaper = strings.NewReplacer("%", "%25", "=", "%3D"), strings.NewReplacer("%25", "%", "%3D", "=")

func escapeKey(s string) string   { return keyEscaper.Replace(s) }
func unescapeKey(s string) string { return keyUnescaper.Replace(s) }

// contextReader ends with ctx.
type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
