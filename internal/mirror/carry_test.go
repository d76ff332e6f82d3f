package mirror

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// image pushes an image of one layer and returns its manifest's and its layer's digest.
func (f *fakeRegistry) image(ref string, layer []byte) (manifest, blob digest.Digest) {
	blob, config := f.push(layer), f.push([]byte(`{"for":"`+ref+`"}`))
	d := func(d digest.Digest) map[string]any { return map[string]any{"digest": d, "size": 1} }
	body, _ := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": d(config), "layers": []any{d(blob)}})
	manifest = f.push(body)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tags[ref] = manifest.String()
	return manifest, blob
}

func openStore(t *testing.T) *Store {
	t.Helper()
	s, err := OpenStore(t.TempDir(), 0, VerifyOnce, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// carried fetches one image and returns its export.
func carried(t *testing.T, names ...string) (archive []byte, manifest, blob digest.Digest, layer []byte) {
	t.Helper()
	f := newFake(t)
	layer = random(1 << 20)
	manifest, blob = f.image("a/b:1", layer)
	m, s := newMirror(t, f, nil)
	if _, err := Prefetch(t.Context(), reach(s), fakeName+"/a/b:1", ""); err != nil {
		t.Fatal(err)
	}
	m.settle()
	var out bytes.Buffer
	images, err := m.Store().Export(t.Context(), &out, names)
	if err != nil || len(images) != 1 || images[0].Image != fakeName+"/a/b:1" || images[0].Blobs != 3 || images[0].Private {
		t.Fatalf("export: %+v %v", images, err)
	}
	return out.Bytes(), manifest, blob, layer
}

// TestCarry: what was exported is served by a mirror that can ask nobody.
func TestCarry(t *testing.T) {
	archive, manifest, blob, layer := carried(t)
	if images, err := CheckArchive(t.Context(), bytes.NewReader(archive)); err != nil || len(images) != 1 || images[0].Blobs != 3 {
		t.Errorf("check: %+v %v", images, err)
	}
	m, s := newMirror(t, nil, func(c *Config) { c.Offline = true })
	for range 2 { // the second time nothing is missing
		images, err := m.Store().Import(t.Context(), bytes.NewReader(archive), ImportOptions{})
		if err != nil || len(images) != 1 || images[0].Digest != manifest || images[0].Blobs != 3 {
			t.Fatalf("import: %+v %v", images, err)
		}
	}
	for path, want := range map[string]digest.Digest{"/v2/a/b/manifests/1": manifest, "/v2/a/b/manifests/" + manifest.String(): manifest, "/v2/a/b/blobs/" + blob.String(): blob} {
		if got := get(t, s, path+ns); got.status != 200 || digest.FromBytes(got.body) != want {
			t.Errorf("%s: %d, %d bytes", path, got.status, len(got.body))
		}
	}
	if got := get(t, s, "/v2/c/d/blobs/"+blob.String()+ns); got.status != 404 {
		t.Errorf("another repository: %d", got.status)
	}
	if n := m.Store().Size(); n < int64(len(layer)) || n > int64(len(layer))+4096 {
		t.Errorf("%d bytes on disk", n)
	}
}

// TestCarryByDirectory: an unpacked layout is one that others read, and is added to.
func TestCarryByDirectory(t *testing.T) {
	archive, manifest, blob, _ := carried(t, fakeName+"/a/b:1")
	dir := filepath.Join(t.TempDir(), "layout")
	if err := os.MkdirAll(filepath.Join(dir, "blobs/sha256"), 0o755); err != nil { // as an interrupted one
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "oci-layout"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "blobs/sha256", blob.Encoded()+".partial"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if images, err := Unpack(t.Context(), bytes.NewReader(archive), dir); err != nil || len(images) != 1 {
			t.Fatalf("%+v %v", images, err)
		}
	}
	other, _, _, _ := carried(t)
	other = bytes.ReplaceAll(other, []byte(fakeName+"/a/b:1"), []byte(fakeName+"/a/c:1"))
	if _, err := Unpack(t.Context(), bytes.NewReader(other), dir); err != nil {
		t.Fatal(err)
	}
	index, err := readDir(dir)
	if err != nil || len(index.Manifests) != 2 || index.Manifests[1].Digest != manifest {
		t.Errorf("index: %+v %v", index, err)
	}
	r, w := io.Pipe()
	go func() {
		tw := tar.NewWriter(w)
		tw.AddFS(os.DirFS(dir))
		w.CloseWithError(tw.Close())
	}()
	s := openStore(t)
	defer s.Close()
	if images, err := s.Import(t.Context(), r, ImportOptions{}); err != nil || len(images) != 2 {
		t.Errorf("import: %+v %v", images, err)
	}
	if _, err := Unpack(t.Context(), bytes.NewReader(archive), filepath.Dir(dir)); err == nil || !strings.Contains(err.Error(), "something else") {
		t.Errorf("a directory with something else in it: %v", err)
	}
}

// TestImportMistakes: nothing of a bad archive can be pulled, and its blobs are verified.
func TestImportMistakes(t *testing.T) {
	archive, _, blob, layer := carried(t)
	damaged := bytes.Clone(archive)
	damaged[bytes.Index(damaged, layer[:64])] ^= 1
	for name, test := range map[string]struct {
		archive []byte
		options ImportOptions
		want    string
	}{
		"damaged":      {damaged, ImportOptions{}, "damaged"},
		"cut off":      {archive[:len(archive)/2], ImportOptions{}, "archive"},
		"no archive":   {random(2048), ImportOptions{}, "archive"},
		"empty":        {nil, ImportOptions{}, "not an OCI image layout"},
		"lacks a blob": {rewritten(t, archive, func(name string, b []byte) (string, []byte) { return strings.Replace(name, blob.Encoded(), "x", 1), b }), ImportOptions{}, "no blob's name"},
		"lacks a layer": {rewritten(t, archive, func(name string, b []byte) (string, []byte) {
			return strings.Replace(name, "blobs/sha256/"+blob.Encoded(), "other", 1), b
		}), ImportOptions{}, "lacks its blob"},
		"no name":  {bytes.ReplaceAll(archive, []byte("io.containerd.image.name"), []byte("io.containerd.image.nama")), ImportOptions{}, "--as"},
		"bad name": {archive, ImportOptions{As: "../x"}, "no image's name"},
	} {
		s := openStore(t)
		_, err := s.Import(t.Context(), bytes.NewReader(test.archive), test.options)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
		if entries, _ := s.List(); len(entries) != 0 {
			t.Errorf("%s: %v can be pulled", name, entries)
		}
		left, _ := filepath.Glob(filepath.Join(s.dir, "partial", "*"))
		if len(left) != 0 {
			t.Errorf("%s: left %s", name, left)
		}
		s.Close()
	}
	s := openStore(t)
	defer s.Close()
	// An archive of a few blocks that says it holds a blob of 8 EiB of zeros.
	if _, err := s.Import(t.Context(), bytes.NewReader(sparseArchive(t)), ImportOptions{}); err == nil || !strings.Contains(err.Error(), "sparse") {
		t.Errorf("a sparse file: %v", err)
	}
	if images, err := s.Import(t.Context(), bytes.NewReader(archive), ImportOptions{As: "other.test/x:2"}); err != nil || images[0].Image != "other.test/x:2" {
		t.Errorf("by another name: %+v %v", images, err)
	}
}

// sparseArchive has one blob, all of which is a hole (the PAX format 1.0 of GNU tar).
func sparseArchive(t *testing.T) []byte {
	t.Helper()
	entry := func(flag, name, body string) string {
		b := make([]byte, 512)
		copy(b, name)
		copy(b[100:], "0000644\x00")
		copy(b[124:], fmt.Sprintf("%011o\x00", len(body)))
		b[156] = flag[0]
		copy(b[257:], "ustar\x0000")
		copy(b[148:], "        ")
		sum := 0
		for _, c := range b {
			sum += int(c)
		}
		copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
		return string(b) + body + strings.Repeat("\x00", (512-len(body)%512)%512)
	}
	records := ""
	for _, r := range [][2]string{
		{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.name", blobPath(digest.FromString("x"))}, {"GNU.sparse.realsize", "9223372036854775807"},
	} {
		record := " " + r[0] + "=" + r[1] + "\n"
		n := len(record) + 2
		records += fmt.Sprint(n) + record
	}
	data := "1\n9223372036854775807\n0\n"
	return []byte(entry("x", "pax", records) + entry("0", "data", data+strings.Repeat("\x00", 512-len(data))))
}

func rewritten(t *testing.T, archive []byte, change func(string, []byte) (string, []byte)) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(r)
		h.Name, b = change(h.Name, b)
		h.Size = int64(len(b))
		w.WriteHeader(h)
		w.Write(b)
	}
	w.Close()
	return out.Bytes()
}

// TestCarryPrivate: an image that needed credentials is not for everybody afterwards either.
func TestCarryPrivate(t *testing.T) {
	f := newFake(t)
	f.users = map[string]string{"mirror": "own"}
	_, blob := f.image("a/b:1", random(100))
	m, s := newMirror(t, f, func(c *Config) { c.Upstreams[fakeName] = Upstream{URL: f.URL, User: "mirror", Password: "own"} })
	if _, err := Prefetch(t.Context(), reach(s), fakeName+"/a/b:1", ""); err != nil {
		t.Fatal(err)
	}
	m.settle()
	var archive bytes.Buffer
	if images, err := m.Store().Export(t.Context(), &archive, nil); err != nil || !images[0].Private {
		t.Fatalf("export: %+v %v", images, err)
	}
	for public, want := range map[bool]int{false: 404, true: 200} {
		m, s := newMirror(t, nil, func(c *Config) { c.Offline = true })
		if _, err := m.Store().Import(t.Context(), bytes.NewReader(archive.Bytes()), ImportOptions{Public: public}); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"/v2/a/b/manifests/1", "/v2/a/b/blobs/" + blob.String()} {
			if got := get(t, s, path+ns); got.status != want {
				t.Errorf("public %v: %s: %d %s", public, path, got.status, got.body)
			}
		}
	}
}

func TestExportMistakes(t *testing.T) {
	f := newFake(t)
	_, blob := f.image("a/b:1", random(100))
	m, s := newMirror(t, f, nil)
	if _, err := m.Store().Export(t.Context(), io.Discard, nil); err == nil || !strings.Contains(err.Error(), "no image") {
		t.Errorf("nothing: %v", err)
	}
	get(t, s, "/v2/a/b/manifests/1"+ns)
	for name, want := range map[string]string{
		fakeName + "/a/b:1": "prefetch", fakeName + "/a/b:2": "mirror ls", "A": "no image's name", fakeName + "/a/b@" + blob.String(): "is not here",
	} {
		if _, err := m.Store().Export(t.Context(), io.Discard, []string{name}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	if n := len(m.Store().using); n != 0 {
		t.Errorf("%d blobs are held", n)
	}
}

// FuzzImport imports what need not be an archive; its store is in memory. Give `go test` the
// flag -fuzzminimizetime=10x: for a minute at a time it makes a new input shorter otherwise, and
// runs nothing that it counts.
func FuzzImport(f *testing.F) {
	f.Add(layoutOf(f, []byte("a layer")))
	f.Add(layoutOf(f, nil))
	dir := inMemory(f)
	s, err := OpenStore(dir, 0, VerifyOnce, slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	f.Fuzz(func(t *testing.T, archive []byte) {
		images, err := s.Import(t.Context(), bytes.NewReader(archive), ImportOptions{})
		for _, i := range images {
			if !s.has(i.Digest) {
				t.Errorf("%+v is not here (%v)", i, err)
			}
		}
		blobs, _ := s.blobs()
		for _, b := range blobs {
			content, _ := os.ReadFile(filepath.Join(dir, blobPath(b.Digest)))
			if b.Digest.Algorithm().FromBytes(content) != b.Digest {
				t.Errorf("%s has other content", b.Digest)
			}
		}
	})
}

// layoutOf is a small archive with one image; without a layer it lacks its manifest.
func layoutOf(f *testing.F, layer []byte) []byte {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	add := func(name string, content []byte) {
		if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(content)), Mode: 0o644}); err != nil {
			f.Fatal(err)
		}
		w.Write(content)
	}
	manifest := []byte(`{"layers":[{"digest":"` + digest.FromBytes(layer).String() + `"}]}`)
	if layer != nil {
		add(blobPath(digest.FromBytes(layer)), layer)
		add(blobPath(digest.FromBytes(manifest)), manifest)
	}
	add("index.json", []byte(`{"manifests":[{"digest":"`+digest.FromBytes(manifest).String()+`","annotations":{"io.containerd.image.name":"r.test/a:1"}}]}`))
	w.Flush() // and no end: it is a kilobyte of zeros, which is not worth changing
	return archive.Bytes()
}

// inMemory is a directory on a tmpfs, where there is one.
func inMemory(f *testing.F) string {
	dir, err := os.MkdirTemp("/dev/shm", "berth-fuzz-")
	if err != nil {
		return f.TempDir()
	}
	f.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
