package machine

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestParseDeb(t *testing.T) {
	d := parseDeb("tini_1%3a0.19.0-1+b3_amd64.deb")
	if d.name != "tini" || d.version != "1:0.19.0-1+b3" {
		t.Errorf("%+v", d)
	}
}

func TestModulesAreLoadedAfterTheirDependencies(t *testing.T) {
	dir := t.TempDir()
	dep := "kernel/virtio_blk.ko: kernel/virtio.ko kernel/ring.ko\nkernel/ring.ko:\nkernel/virtio.ko: kernel/ring.ko\nkernel/other.ko:\n"
	if err := os.WriteFile(filepath.Join(dir, "modules.dep"), []byte(dep), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := loadOrder(dir)
	if want := []string{"kernel/ring.ko", "kernel/virtio.ko", "kernel/virtio_blk.ko"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v %v, want %v", got, err, want)
	}
}

func TestArchiveIsAligned(t *testing.T) {
	var b bytes.Buffer
	a := &cpio{w: &b}
	a.dir("bin")
	a.file("bin/x", []byte("12345"))
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	if b.Len()%4 != 0 || !bytes.HasPrefix(b.Bytes(), []byte("070701")) || bytes.Count(b.Bytes(), []byte("070701")) != 3 {
		t.Errorf("%d bytes: %q", b.Len(), b.String())
	}
}

const targets = `http://deb.example.test/debian/ bookworm bookworm main
http://deb.example.test/debian/ bookworm bookworm contrib
http://deb.example.test/debian/ bookworm-updates bookworm-updates main
http://deb.example.test/debian-security/ bookworm-security bookworm-security main
`

// A release is looked for on the mirror that has what it is based on, once.
func TestAddRelease(t *testing.T) {
	got, err := addRelease(targets, "bookworm-backports")
	if err != nil || strings.Count(got, "http://deb.example.test/debian/ bookworm-backports main") != 1 || strings.Count(got, "\n") != 4 {
		t.Errorf("%v\n%s", err, got)
	}
	if _, err := addRelease(targets, "trixie-backports"); err == nil || !strings.Contains(err.Error(), "trixie") {
		t.Errorf("another Debian's release: %v", err)
	}
}

// What is added goes before what was there, and neither of the two is changed.
func TestRootWith(t *testing.T) {
	base := Root{Packages: []string{"a"}, Files: map[string]string{"x": "1", "y": "1"}, RoomMiB: 8}
	more := base.With(Root{Packages: []string{"b"}, Files: map[string]string{"x": "2"}, Apart: map[string][]string{"d": {"c"}}})
	if !slices.Equal(more.Packages, []string{"a", "b"}) || more.Files["x"] != "2" || more.Files["y"] != "1" || more.RoomMiB != 8 || len(more.Apart) != 1 {
		t.Errorf("%+v", more)
	}
	if base.Files["x"] != "1" || len(base.Packages) != 1 {
		t.Errorf("the base has changed: %+v", base)
	}
}

func TestMajorVersion(t *testing.T) {
	for text, want := range map[string]int{
		"QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\nCopyright": 7, "QEMU emulator version 10.0.2 (Debian)\n": 10, "something else": 0, "": 0,
	} {
		if got := majorVersion(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

func TestDebianCodename(t *testing.T) {
	file := filepath.Join(t.TempDir(), "os-release")
	if err := os.WriteFile(file, []byte("ID=debian\nVERSION_CODENAME=bookworm\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := debianCodename(file); got != "bookworm" || err != nil {
		t.Errorf("%q %v", got, err)
	}
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := debianCodename(file); err == nil {
		t.Error("no release is no error")
	}
}
