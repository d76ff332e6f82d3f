package payload

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/klauspost/compress/zstd"
)

// fakeFiles is a payload of the real one's shape, and large enough to be interrupted.
func fakeFiles() map[string][]File {
	return map[string][]File{
		"programs": {regular("rootfs/usr/bin/docker", 0o755, 3<<20), regular("rootfs/usr/bin/runc", 0o755, 1000),
			{Path: "host/bin/docker", Link: "../../rootfs/usr/bin/docker"}},
		"data": {regular("rootfs/usr/share/text", 0o644, 10), regular("rootfs/usr/share/empty", 0o644, 0)},
	}
}

// content is what the fake file at path holds.
func content(path string, size int64) []byte {
	return []byte(strings.Repeat(path+"\n", int(size)/(len(path)+1)+1))[:size]
}

func regular(path string, mode Mode, size int64) File {
	sum := sha256.Sum256(content(path, size))
	return File{Path: path, Mode: mode, Size: size, SHA256: hex.EncodeToString(sum[:])}
}

// fakeFS returns a payload's file system with these components.
func fakeFS(t testing.TB, components map[string][]File) fstest.MapFS {
	t.Helper()
	m := Manifest{Version: ManifestVersion, Platform: "linux/test"}
	fsys := make(fstest.MapFS)
	for name, files := range components {
		archive := archiveOf(t, headers(files))
		c := Component{Name: name, Archive: name + ".tar.zst", Size: int64(len(archive)), Files: files,
			Packages: []Package{{Name: name, Version: "1.2.3"}}}
		m.Components = append(m.Components, c)
		fsys[c.Archive] = &fstest.MapFile{Data: archive}
	}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	fsys[manifestName] = &fstest.MapFile{Data: raw}
	return fsys
}

func headers(files []File) []tar.Header {
	var list []tar.Header
	for _, f := range files {
		h := tar.Header{Typeflag: tar.TypeReg, Name: f.Path, Mode: int64(f.Mode), Size: f.Size}
		if f.Link != "" {
			h = tar.Header{Typeflag: tar.TypeSymlink, Name: f.Path, Linkname: f.Link}
		}
		list = append(list, h)
	}
	return list
}

func archiveOf(t testing.TB, headers []tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	z, err := zstd.NewWriter(&buf)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	for _, h := range headers {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content(h.Name, h.Size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func fake(t testing.TB) *Payload {
	t.Helper()
	return open(t, fakeFS(t, fakeFiles()))
}

func open(t testing.TB, fsys fstest.MapFS) *Payload {
	t.Helper()
	p, err := Open(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
