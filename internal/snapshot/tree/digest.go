package tree

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"os"

	"golang.org/x/sys/unix"
)

// Sum is what Digest finds.
type Sum struct {
	Digest string // sha256, hexadecimal
	Bytes  int64  // on disk; a file with several names counts once
}

// Digest looks at a tree without reading its files: names, kinds, modes, owners, sizes,
// times of change, devices, link targets and extended attributes make up the digest.
// Where something was written since, it differs.
func Digest(ctx context.Context, dir *os.File) (Sum, error) {
	d := digester{ctx: ctx, hash: sha256.New(), seen: map[uint64]bool{}}
	if err := d.directory(dir, "."); err != nil {
		return Sum{}, err
	}
	return Sum{hex.EncodeToString(d.hash.Sum(nil)), d.bytes}, nil
}

type digester struct {
	ctx   context.Context
	hash  hash.Hash
	seen  map[uint64]bool // inodes with several names
	bytes int64
}

func (d *digester) directory(dir *os.File, rel string) error {
	if err := d.ctx.Err(); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return &os.PathError{Op: "fstat", Path: rel, Err: err}
	}
	d.add(rel, &st)
	if err := d.xattrs(dir); err != nil {
		return &os.PathError{Op: "read extended attributes of", Path: rel, Err: err}
	}
	return visit(dir, rel, nil, d)
}

func (d *digester) entry(dir *os.File, name, rel string, st *unix.Stat_t) error {
	d.add(rel, st)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		f, err := openFile(dir, name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: rel, Err: err}
		}
		defer f.Close()
		return d.xattrs(f)
	case unix.S_IFLNK:
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(int(dir.Fd()), name, buf)
		if err != nil {
			return &os.PathError{Op: "readlink", Path: rel, Err: err}
		}
		fmt.Fprintf(d.hash, "-> %q\n", buf[:n])
	}
	return nil
}

// add takes an entry in. The size and times of a directory depend on the file system and on
// how it came about, and the times of a link on nothing that matters.
func (d *digester) add(rel string, st *unix.Stat_t) {
	fmt.Fprintf(d.hash, "%q %o %d:%d", rel, st.Mode, st.Uid, st.Gid)
	if st.Mode&unix.S_IFMT == unix.S_IFREG {
		fmt.Fprintf(d.hash, " %d %d.%09d", st.Size, st.Mtim.Sec, st.Mtim.Nsec)
	} else if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		fmt.Fprintf(d.hash, " %d", st.Rdev)
	}
	d.hash.Write([]byte{'\n'})
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		if d.seen[st.Ino] {
			return
		}
		d.seen[st.Ino] = true
	}
	d.bytes += st.Blocks * 512
}

func (d *digester) xattrs(f *os.File) error {
	attrs, err := readXattrs(f)
	if err != nil {
		return err
	}
	for _, a := range attrs {
		fmt.Fprintf(d.hash, "@ %q %q\n", a.name, a.value)
	}
	return nil
}
