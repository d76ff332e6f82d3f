package tree

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/ids"
)

var low, high = ids.Range{First: 100000, Size: 65536}, ids.Range{First: 300000, Size: 65536}

func pack(t *testing.T, dir string, o Packing) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := Pack(t.Context(), open(t, dir), &out, o); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// What is packed and unpacked is the same to the last attribute, other owners apart; and
// packs to the same bytes again.
func TestPackAndUnpack(t *testing.T) {
	from, to := sample(t)
	capability := make([]byte, 24)
	capability[3], capability[4] = 3, 1
	copy(capability[20:], []byte{0xa0, 0x86, 0x01, 0x00}) // root of low
	acl := []byte{2, 0, 0, 0, 1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff, 2, 0, 4, 0, 0xa7, 0x86, 0x01, 0, 4, 0, 4, 0, 0xff, 0xff, 0xff, 0xff, 0x10, 0, 4, 0, 0xff, 0xff, 0xff, 0xff, 0x20, 0, 4, 0, 0xff, 0xff, 0xff, 0xff}
	odd := from + "/sub/odd \xff\n=%"
	err := firstError(
		filepath.WalkDir(from, func(path string, _ fs.DirEntry, _ error) error {
			return os.Lchown(path, 100000, 100000)
		}),
		os.Lchown(from+"/sub/file", 101000, 101005),
		os.Chmod(from+"/sub/file", 0o751|os.ModeSetuid),
		os.WriteFile(odd, []byte("odd"), 0o600), os.Lchown(odd, 100000, 100000),
		os.Link(odd, from+"/sub/other"),
		unix.Setxattr(odd, "security.capability", capability, 0),
		unix.Setxattr(odd, "user.a=b%", []byte("x\x00y"), 0),
		unix.Setxattr(from+"/sub/file", "system.posix_acl_access", acl, 0),
		unix.Removexattr(from+"/sub", "trusted.overlay.opaque"),
		unix.Setxattr(from+"/sub", "user.overlay.opaque", []byte("y"), 0),
	)
	if errors.Is(err, unix.ENOTSUP) {
		t.Skip("the temporary directory has no such attributes")
	}
	if err != nil {
		t.Fatal(err)
	}
	packed := pack(t, from, Packing{IDs: low, Marks: UserMarks})
	if err := Unpack(t.Context(), bytes.NewReader(packed), open(t, to), Unpacking{IDs: high, Marks: TrustedMarks}); err != nil {
		t.Fatal(err)
	}
	if again := pack(t, to, Packing{IDs: high, Marks: TrustedMarks}); !bytes.Equal(packed, again) {
		t.Error("what was unpacked does not pack to the same bytes")
	}
	if a, b := stat(t, to+"/sub/other"), stat(t, to+"/sub/odd \xff\n=%"); a.Ino != b.Ino {
		t.Error("two names of one file became two files")
	}
	if st := stat(t, to+"/sub/file"); st.Uid != 301000 || st.Gid != 301005 || st.Mode&0o7777 != stat(t, from+"/sub/file").Mode&0o7777 {
		t.Errorf("file: %d:%d %o", st.Uid, st.Gid, st.Mode)
	}
	if st := stat(t, to+"/holes"); st.Size != 64<<20 || st.Blocks > 100 {
		t.Errorf("a hole was filled: %d bytes in %d blocks", st.Size, st.Blocks)
	}
	value := make([]byte, 64)
	if n, err := unix.Getxattr(to+"/sub/other", "security.capability", value); err != nil || n != 24 || !bytes.Equal(value[20:24], []byte{0xe0, 0x93, 0x04, 0}) { // 300000
		t.Errorf("capability: %x, %v", value[:max(n, 0)], err)
	}
	if n, err := unix.Getxattr(to+"/sub/file", "system.posix_acl_access", value); err != nil || !bytes.Equal(value[16:20], []byte{0xe7, 0x93, 0x04, 0}) { // 300007
		t.Errorf("access control list: %x, %v", value[:max(n, 0)], err)
	}
	if n, err := unix.Getxattr(to+"/sub", "trusted.overlay.opaque", value); err != nil || string(value[:n]) != "y" {
		t.Errorf("mark: %v", err)
	}
}

// The bytes must not change with a library: blobs on registries are found by their digest.
// When this fails, what berth packs is pushed anew once; nothing else.
func TestPackedBytes(t *testing.T) {
	dir := t.TempDir()
	if os.Geteuid() != 0 {
		t.Skip("owners are root's")
	}
	for name, mode := range map[string]os.FileMode{"a": 0o644, "b": 0o755} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"a", "b", "."} {
		if err := firstError(os.Chmod(filepath.Join(dir, name), 0o755), unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(dir, name), []unix.Timespec{{}, {Sec: 1, Nsec: 5}}, 0)); err != nil {
			t.Fatal(err)
		}
	}
	packed := pack(t, dir, Packing{IDs: ids.Range{Size: 65536}, Marks: UserMarks})
	if got := fmt.Sprintf("%x", sha256.Sum256(packed)); got != "652291a6015d2c438c9ed723f674f8fbc5e6c4cde2e9344743b1b8b1bdc05c26" {
		t.Errorf("the digest is %s", got)
	}
}

// archive makes a tar of headers, whose contents are their names.
func archive(headers ...tar.Header) []byte {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range headers {
		h.Format = tar.FormatPAX
		if h.Typeflag == tar.TypeReg {
			h.Size = 1
		}
		_ = w.WriteHeader(&h)
		if h.Size == 1 {
			_, _ = w.Write([]byte("x"))
		}
	}
	_ = w.Close()
	return out.Bytes()
}

// holes is an archive with a file that says to have very many zeros, of which there is none.
func holes(t testing.TB) []byte {
	t.Helper()
	var out bytes.Buffer
	h := directory("./")
	h.Format = tar.FormatPAX
	sparse := tar.Header{Typeflag: tar.TypeReg, Name: "f", Format: tar.FormatPAX, PAXRecords: map[string]string{
		"GNX.sparse.major": "0", "GNX.sparse.minor": "1", "GNX.sparse.name": "f", "GNX.sparse.size": "9000000000000000000",
		"GNX.sparse.numblocks": "0",
	}} // the writer has none by the right name
	w := tar.NewWriter(&out)
	if err := firstError(w.WriteHeader(&h), w.WriteHeader(&sparse), w.Close()); err != nil {
		t.Fatal(err)
	}
	return bytes.ReplaceAll(out.Bytes(), []byte("GNX"), []byte("GNU"))
}

func directory(name string) tar.Header {
	return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}
}
func regular(name string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}
}

func withXattr(h tar.Header, name, value string) tar.Header {
	h.PAXRecords = map[string]string{paxXattr + name: value}
	return h
}

// An archive may come from anybody.
func TestUnpackHostile(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("owners are root's to change")
	}
	root := directory("./")
	symlink := tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: ".."}
	for what, b := range map[string][]byte{
		"nothing":                archive(),
		"no root":                archive(regular("f")),
		"out of the tree":        archive(root, regular("../f")),
		"an absolute path":       archive(root, regular("/f")),
		"dots":                   archive(root, directory("d/"), regular("d/../f")),
		"through a link":         archive(root, symlink, regular("l/f")),
		"a directory not there":  archive(root, regular("d/f")),
		"one that was left":      archive(root, directory("d/"), regular("f"), regular("d/f")),
		"over what is there":     archive(root, regular("f"), regular("f")),
		"over a link":            archive(root, symlink, regular("l")),
		"a device":               archive(root, tar.Header{Typeflag: tar.TypeBlock, Name: "sda", Devmajor: 8}),
		"a character device":     archive(root, tar.Header{Typeflag: tar.TypeChar, Name: "mem", Devmajor: 1, Devminor: 1}),
		"a link out":             archive(root, tar.Header{Typeflag: tar.TypeLink, Name: "h", Linkname: "../secret"}),
		"a link through a link":  archive(root, symlink, tar.Header{Typeflag: tar.TypeLink, Name: "h", Linkname: "l/secret"}),
		"a link to what is not":  archive(root, tar.Header{Typeflag: tar.TypeLink, Name: "h", Linkname: "none"}),
		"an owner out of range":  archive(root, tar.Header{Typeflag: tar.TypeReg, Name: "f", Uid: 70000}),
		"a security attribute":   archive(root, withXattr(regular("f"), "security.selinux", "x")),
		"a trusted attribute":    archive(root, withXattr(directory("d/"), "trusted.overlay.redirect", "/etc"), regular("f")),
		"a mark in disguise":     archive(root, withXattr(directory("d/"), "user.overlay.opaque", "y"), regular("f")),
		"a strange capability":   archive(root, withXattr(regular("f"), "security.capability", "x")),
		"an attribute of a link": archive(root, withXattr(symlink, "user.x", "y")),
		"a file of holes":        holes(t),
		"half an archive":        archive(root, regular("f"))[:1600],
	} {
		dir := t.TempDir()
		to := filepath.Join(dir, "to")
		if err := firstError(os.Mkdir(to, 0o755), os.WriteFile(filepath.Join(dir, "secret"), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		err := Unpack(t.Context(), bytes.NewReader(b), open(t, to), Unpacking{IDs: low, Marks: UserMarks})
		if err == nil {
			t.Errorf("%s: accepted", what)
		}
		if st := stat(t, filepath.Join(dir, "secret")); st.Nlink != 1 {
			t.Errorf("%s: a file outside has another name", what)
		}
		if all, _ := os.ReadDir(dir); len(all) != 2 {
			t.Errorf("%s: there is something outside: %v", what, all)
		}
	}
}

// A program never gets capabilities in the host's user namespace.
func TestUnpackCapability(t *testing.T) {
	for _, value := range [][]byte{append([]byte{1, 0, 0, 2}, make([]byte, 16)...), append([]byte{1, 0, 0, 3}, make([]byte, 20)...)} {
		got, ok := unpackCapability(value, high)
		if !ok || len(got) != 24 || !bytes.Equal(got[:4], []byte{1, 0, 0, 3}) || !bytes.Equal(got[20:], []byte{0xe0, 0x93, 0x04, 0}) {
			t.Errorf("%x became %x, %v", value, got, ok)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(archive(directory("./"), directory("d/"), regular("d/f"), tar.Header{Typeflag: tar.TypeLink, Name: "h", Linkname: "d/f"}))
	f.Add(archive(directory("./"), withXattr(regular("f"), "user.x", "y"), tar.Header{Typeflag: tar.TypeChar, Name: "w"}))
	f.Add(holes(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		to := filepath.Join(dir, "to")
		if err := os.Mkdir(to, 0o755); err != nil {
			t.Fatal(err)
		}
		d, err := os.Open(to)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		_ = Unpack(t.Context(), io.LimitReader(bytes.NewReader(b), 1<<20), d, Unpacking{IDs: ids.Range{Size: 1 << 16}, Marks: UserMarks})
		if all, _ := os.ReadDir(dir); len(all) != 1 {
			t.Errorf("there is something outside: %v", all)
		}
	})
}
