package tree

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/ids"
)

// sample makes a tree with one of everything, and returns it and an empty directory.
func sample(t *testing.T) (from, to string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("devices and other owners need root")
	}
	dir := t.TempDir()
	from, to = filepath.Join(dir, "from"), filepath.Join(dir, "to")
	for _, d := range []string{from, to, from + "/sub", from + "/left"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	secret := filepath.Join(dir, "secret")
	err := firstError(
		os.WriteFile(secret, []byte("of the host"), 0o600),
		os.Symlink(secret, from+"/link"),
		os.WriteFile(from+"/sub/file", []byte("data"), 0o600),
		os.WriteFile(from+"/blob", []byte("blob"), 0o444),
		os.WriteFile(from+"/holes", nil, 0o644),
		os.Truncate(from+"/holes", 64<<20),
		unix.Mknod(from+"/sub/whiteout", unix.S_IFCHR, 0),
		unix.Mkfifo(from+"/pipe", 0o640),
		os.Lchown(from+"/sub/file", 100000, 100005),
		os.Lchown(from+"/link", 100001, 100001),
		os.Chmod(from+"/sub/file", 0o4751|os.ModeSetuid),
		unix.Setxattr(from+"/sub", "trusted.overlay.opaque", []byte("y"), 0),
	)
	if err != nil {
		t.Fatal(err)
	}
	return from, to
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func open(t *testing.T, dir string) *os.File {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func stat(t *testing.T, path string) (st unix.Stat_t) {
	t.Helper()
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(path, err)
	}
	return st
}

func TestCopy(t *testing.T) {
	from, to := sample(t)
	err := Copy(t.Context(), open(t, from), open(t, to), Options{
		From: ids.Range{First: 100000, Size: 10}, To: ids.Range{First: 200000, Size: 10},
		Skip: func(rel string) bool { return rel == "left" }, Link: func(rel string) bool { return rel == "blob" },
	})
	if err != nil {
		t.Fatal(err)
	}
	if st := stat(t, to+"/sub/file"); st.Uid != 200000 || st.Gid != 200005 || st.Mode&0o7777 != 0o4751 {
		t.Errorf("file: %d:%d %o", st.Uid, st.Gid, st.Mode)
	}
	if st := stat(t, to+"/link"); st.Mode&unix.S_IFMT != unix.S_IFLNK || st.Uid != 200001 {
		t.Errorf("a link was followed: %o %d", st.Mode, st.Uid)
	}
	if st := stat(t, to+"/sub/whiteout"); st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != 0 || st.Uid != 200000 {
		t.Errorf("whiteout: %o %d, owner %d", st.Mode, st.Rdev, st.Uid)
	}
	if st := stat(t, to+"/pipe"); st.Mode != unix.S_IFIFO|0o640 {
		t.Errorf("pipe: %o", st.Mode)
	}
	if st := stat(t, to+"/blob"); st.Ino != stat(t, from+"/blob").Ino || st.Uid != 0 {
		t.Error("the blob is no hard link, or changed owner")
	}
	if st := stat(t, to+"/holes"); st.Size != 64<<20 || st.Blocks > 100 {
		t.Errorf("a hole was filled: %d bytes in %d blocks", st.Size, st.Blocks)
	}
	value := make([]byte, 8)
	if n, err := unix.Getxattr(to+"/sub", "trusted.overlay.opaque", value); err != nil || string(value[:n]) != "y" {
		t.Errorf("attribute: %v", err)
	}
	if _, err := os.Lstat(to + "/left"); err == nil {
		t.Error("what was to be skipped is there")
	}
}

// Two names of one file become two files; packed, they stay one (TestPackAndUnpack).
func TestCopySeparates(t *testing.T) {
	from, to := sample(t)
	if err := firstError(os.Link(from+"/sub/file", from+"/other"), Copy(t.Context(), open(t, from), open(t, to), Options{})); err != nil {
		t.Fatal(err)
	}
	if a, b := stat(t, to+"/sub/file"), stat(t, to+"/other"); a.Ino == b.Ino || a.Size != b.Size || a.Mode != b.Mode {
		t.Errorf("%+v, %+v", a, b)
	}
}

// counting is a context that is cancelled when it has been asked a number of times.
type counting struct {
	context.Context
	left int
}

func (c *counting) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// A large file does not keep a cancel waiting.
func TestCopyCancelled(t *testing.T) {
	base := t.TempDir()
	from, to := filepath.Join(base, "from"), filepath.Join(base, "to")
	if err := firstError(os.Mkdir(from, 0o700), os.Mkdir(to, 0o700), os.WriteFile(from+"/large", make([]byte, 4*piece), 0o600)); err != nil {
		t.Fatal(err)
	}
	// Once for the directory and for each of two pieces.
	err := Copy(&counting{t.Context(), 3}, open(t, from), open(t, to), Options{})
	if !errors.Is(err, context.Canceled) {
		if r := unix.IoctlFileClone(int(open(t, to+"/large").Fd()), int(open(t, from+"/large").Fd())); r == nil {
			t.Skip("the file system shares the data at once")
		}
		t.Fatal(err)
	}
	if st := stat(t, to+"/large"); st.Blocks*512 > 3*piece {
		t.Errorf("%d bytes were copied", st.Blocks*512)
	}
	if err := os.Remove(to + "/large"); err != nil {
		t.Fatal(err)
	}
	if err := Copy(t.Context(), open(t, from), open(t, to), Options{}); err != nil || stat(t, to+"/large").Size != 4*piece {
		t.Errorf("in pieces: %v", err)
	}
}

func TestCopyToFull(t *testing.T) {
	from, to := sample(t)
	if err := os.WriteFile(to+"/blob", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Copy(t.Context(), open(t, from), open(t, to), Options{}); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("a file was replaced: %v", err)
	}
}

func TestDigest(t *testing.T) {
	from, _ := sample(t)
	sum := func() string {
		s, err := Digest(t.Context(), open(t, from))
		if err != nil {
			t.Fatal(err)
		}
		return s.Digest
	}
	first := sum()
	if sum() != first {
		t.Error("two digests of one tree differ")
	}
	for what, change := range map[string]func() error{
		"content": func() error { return os.WriteFile(from+"/sub/file", []byte("DATA"), 0) },
		"mode":    func() error { return os.Chmod(from+"/sub", 0o700) },
		"owner":   func() error { return os.Lchown(from+"/link", 7, 7) },
		"name":    func() error { return os.Rename(from+"/pipe", from+"/tube") },
		"marks":   func() error { return unix.Removexattr(from+"/sub", "trusted.overlay.opaque") },
	} {
		before := sum()
		if err := change(); err != nil {
			t.Fatal(what, err)
		}
		if sum() == before {
			t.Errorf("a change of %s is not in the digest", what)
		}
	}
}

// A program's capabilities are for one user namespace's root, whose id is in the attribute.
func TestShiftCapability(t *testing.T) {
	to200000 := func(id uint32) int {
		return shift(id, ids.Range{First: 100000, Size: 65536}, ids.Range{First: 200000, Size: 65536})
	}
	value := make([]byte, 24)
	value[3] = 3                                     // revision 3
	copy(value[20:], []byte{0xa0, 0x86, 0x01, 0x00}) // 100000
	shiftCapability(value, to200000)
	if want := []byte{0x40, 0x0d, 0x03, 0x00}; !bytes.Equal(value[20:], want) { // 200000
		t.Errorf("%x, want %x", value[20:], want)
	}
	old := make([]byte, 20)
	shiftCapability(old, to200000) // revision 2 has no id
	if !bytes.Equal(old, make([]byte, 20)) {
		t.Error("revision 2 was changed")
	}
}
