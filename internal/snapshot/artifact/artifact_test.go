package artifact

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

func part(mediaType, text string) Part { return document(mediaType, []byte(text)) }

// sample is a snapshot with one of everything; edit changes its config first.
func sample(t *testing.T, edit func(*Config)) *Artifact {
	t.Helper()
	parts := []Part{part(TypeData, "data"), part(TypeLayer, "layer"), part(TypeBlob, "blob"), part(TypeBlob, "blob")}
	c := Config{
		Isolation: "userns", Data: Tree{Blob: parts[0].Digest, Unpacked: 9},
		Layers: []Tree{{Name: "7", Blob: parts[1].Digest, Unpacked: 9}}, Blobs: []Blob{{parts[2].Digest, 4}},
	}
	if edit != nil {
		edit(&c)
	}
	a, err := New(c, parts)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func file(t *testing.T, b []byte) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "archive")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func written(t *testing.T, all ...Named) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := WriteArchive(t.Context(), &out, all); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestArchive(t *testing.T) {
	a := sample(t, nil)
	if len(a.Parts) != 3 {
		t.Errorf("%d parts: one that occurs twice is one", len(a.Parts))
	}
	b := written(t, Named{"ci@1", a}, Named{"ci@2", sample(t, func(c *Config) { c.Payload = "p" })})
	if n := bytes.Count(b, []byte("layer\x00")); n != 1 {
		t.Errorf("the layer that two have in common is there %d times", n)
	}
	all, err := OpenArchive(t.Context(), file(t, b))
	if err != nil || len(all) != 2 || all[0].Name != "ci@1" || all[1].Config.Payload != "p" {
		t.Fatalf("%+v, %v", all, err)
	}
	for _, p := range a.Parts {
		r, err := all[0].Open(t.Context(), p.Descriptor, 2)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(r)
		want, _ := p.Open()
		text, _ := io.ReadAll(want)
		if string(got) != string(text[2:]) {
			t.Errorf("%s: %q", p.MediaType, got)
		}
	}
}

// shuffled is what another program may make of an archive: other order, other names.
func TestArchiveOfOthers(t *testing.T) {
	in := tar.NewReader(bytes.NewReader(written(t, Named{"ci@1", sample(t, nil)})))
	type entry struct {
		h *tar.Header
		b []byte
	}
	var entries []entry
	for h, err := in.Next(); err == nil; h, err = in.Next() {
		b, _ := io.ReadAll(in)
		entries = append(entries, entry{h, b})
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for i := len(entries) - 1; i >= 0; i-- {
		entries[i].h.Name = "./" + entries[i].h.Name
		_ = w.WriteHeader(entries[i].h)
		_, _ = w.Write(entries[i].b)
	}
	_ = w.Close()
	if all, err := OpenArchive(t.Context(), file(t, out.Bytes())); err != nil || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}
}

func TestRefused(t *testing.T) {
	other := digest.FromString("other")
	for what, edit := range map[string]func(*Config){
		"a layer that is not there":   func(c *Config) { c.Layers[0].Blob = other },
		"no data":                     func(c *Config) { c.Data.Blob = "" },
		"data that is a layer":        func(c *Config) { c.Data.Blob = c.Layers[0].Blob },
		"a layer's name with a path":  func(c *Config) { c.Layers[0].Name = "../7" },
		"a layer's name that is none": func(c *Config) { c.Layers[0].Name = "" },
		"two layers of one name":      func(c *Config) { c.Layers = append(c.Layers, c.Layers[0]) },
		"sizes that overflow": func(c *Config) {
			c.Data.Unpacked = math.MaxInt64
			c.Layers[0].Unpacked = math.MaxInt64
		},
		"a negative size":        func(c *Config) { c.Layers[0].Unpacked = -1 },
		"another size of a blob": func(c *Config) { c.Blobs[0].Size = 5 },
		"a blob that is a layer": func(c *Config) { c.Blobs[0].Digest, c.Blobs[0].Size = c.Layers[0].Blob, 5 },
	} {
		_, err := OpenArchive(t.Context(), file(t, written(t, Named{"ci@1", sample(t, edit)})))
		if !errors.Is(err, ErrNotSnapshot) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// An index can name one manifest very often, and many manifests one config.
func TestArchiveOfManyNames(t *testing.T) {
	a := sample(t, func(c *Config) { c.Sources = []string{strings.Repeat("x", maxDocument/2)} })
	var all []Named
	for i := range 100 {
		all = append(all, Named{fmt.Sprintf("ci@%d", i+1), a})
	}
	got, err := OpenArchive(t.Context(), file(t, written(t, all...)))
	if err != nil || len(got) != 100 || got[99].Name != "ci@100" {
		t.Fatalf("%d, %v", len(got), err)
	}
	if &got[0].Config.Sources[0] != &got[99].Config.Sources[0] {
		t.Error("a config is there for each name")
	}
	for i := range all {
		other := *a
		other.Manifest = append(bytes.Clone(a.Manifest), strings.Repeat(" ", i)...)
		other.Descriptor = document(v1.MediaTypeImageManifest, other.Manifest).Descriptor
		all[i].Artifact = &other
	}
	if _, err := OpenArchive(t.Context(), file(t, written(t, all...))); !errors.Is(err, ErrNotSnapshot) {
		t.Errorf("a hundred manifests of one large config: %v", err)
	}
}

func TestManifestOfAnImage(t *testing.T) {
	b, _ := json.Marshal(v1.Manifest{Config: v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: digest.FromString("x")}})
	if _, err := parseManifest(b); !errors.Is(err, ErrNotSnapshot) || !strings.Contains(err.Error(), v1.MediaTypeImageConfig) {
		t.Errorf("%v", err)
	}
}

func TestVerify(t *testing.T) {
	d := document("x", []byte("content")).Descriptor
	for text, ok := range map[string]bool{"content": true, "content and more": true, "conten": false, "CONTENT": false, "": false} {
		v := Verify(t.Context(), strings.NewReader(text), d)
		got, err := io.ReadAll(v)
		if closed := v.Close(); (err == nil && closed == nil) != ok || len(got) > 7 || !ok && !errors.Is(closed, ErrDamaged) {
			t.Errorf("%q: %q, %v, %v", text, got, err, closed)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Verify(ctx, strings.NewReader("content"), d).Close(); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func FuzzOpenArchive(f *testing.F) {
	f.Add([]byte(`{"manifests":[]}`), []byte(`{}`), []byte(`{}`))
	f.Fuzz(func(t *testing.T, index, manifest, config []byte) {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		for name, b := range map[string][]byte{v1.ImageIndexFile: index, blobPath(digest.FromBytes(manifest)): manifest, blobPath(digest.FromBytes(config)): config} {
			_ = w.WriteHeader(&tar.Header{Name: name, Size: int64(len(b)), Mode: 0o600})
			_, _ = w.Write(b)
		}
		_ = w.Close()
		_, _ = OpenArchive(t.Context(), file(t, out.Bytes()))
		if m, err := parseManifest(manifest); err == nil && m.Config.MediaType != TypeConfig {
			t.Error("another kind of artifact was accepted")
		}
		if c, err := parseConfig(config); err == nil {
			_ = (&Incoming{Config: c}).check()
		}
	})
}
