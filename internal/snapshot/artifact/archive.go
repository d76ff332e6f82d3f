package artifact

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Named is a snapshot in an archive.
type Named struct {
	Name string // NAME@VERSION
	*Artifact
}

// WriteArchive writes snapshots as one archive: an OCI image layout (OCI image-spec,
// "Image Layout Specification") in a tar file. What they have in common is in it once.
func WriteArchive(ctx context.Context, w io.Writer, all []Named) error {
	out := archiveWriter{ctx, tar.NewWriter(w), map[digest.Digest]bool{}}
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex}
	for _, a := range all {
		d := a.Descriptor
		d.Annotations = map[string]string{v1.AnnotationRefName: a.Name}
		index.Manifests = append(index.Manifests, d)
	}
	if err := out.json(v1.ImageLayoutFile, v1.ImageLayout{Version: v1.ImageLayoutVersion}); err != nil {
		return err
	}
	if err := out.json(v1.ImageIndexFile, index); err != nil {
		return err
	}
	for _, a := range all {
		manifest := document(v1.MediaTypeImageManifest, a.Manifest)
		for _, p := range append([]Part{manifest, a.Config}, a.Parts...) {
			if err := out.part(p); err != nil {
				return fmt.Errorf("write %s: %w", a.Name, err)
			}
		}
	}
	return out.tar.Close()
}

type archiveWriter struct {
	ctx  context.Context
	tar  *tar.Writer
	done map[digest.Digest]bool
}

func (w *archiveWriter) json(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := w.header(name, int64(len(b))); err != nil {
		return err
	}
	_, err = w.tar.Write(b)
	return err
}

func (w *archiveWriter) header(name string, size int64) error {
	return w.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size})
}

func (w *archiveWriter) part(p Part) error {
	if w.done[p.Digest] {
		return nil
	}
	w.done[p.Digest] = true
	r, err := p.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	if err := w.header(blobPath(p.Digest), p.Size); err != nil {
		return err
	}
	v := Verify(w.ctx, r, p.Descriptor)
	if _, err := io.Copy(w.tar, v); err != nil {
		return err
	}
	if err := v.Close(); err != nil {
		return err
	}
	return w.ctx.Err()
}

func blobPath(d digest.Digest) string {
	return path.Join(v1.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// maxEntries bounds what an archive makes berth remember.
const maxEntries = 1 << 18

// archive is an open archive: where in the file each entry is.
type archive struct {
	file    *os.File
	entries map[string]section
}

type section struct{ offset, size int64 }

// OpenArchive reads what is in an archive that WriteArchive made, or another program from
// that: entries may come in any order. The file stays the caller's, and open as long as
// what is returned is in use.
func OpenArchive(ctx context.Context, f *os.File) ([]*Incoming, error) {
	a := &archive{f, map[string]section{}}
	if err := a.scan(ctx); err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	index, err := a.index()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	all, err := a.incoming(ctx, index.Manifests)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("read %s: %w: there is nothing in it", f.Name(), ErrNotSnapshot)
	}
	return all, nil
}

// incoming reads manifests and their configs: one that has several names, once.
func (a *archive) incoming(ctx context.Context, manifests []v1.Descriptor) ([]*Incoming, error) {
	var out []*Incoming
	known := map[digest.Digest]*Incoming{}
	from := &documents{a, maxDocuments}
	for _, d := range manifests {
		in := known[d.Digest]
		if in == nil {
			manifest, err := fetch(ctx, from, d)
			if err != nil {
				return nil, fmt.Errorf("manifest %s: %w", d.Digest, err)
			}
			if in, err = read(ctx, from, "", manifest); err != nil {
				return nil, err
			}
			in.Source = a
			known[d.Digest] = in
		}
		named := *in
		named.Name = d.Annotations[v1.AnnotationRefName]
		out = append(out, &named)
	}
	return out, nil
}

// maxDocuments bounds all manifests and configs of an archive together, for they are kept in
// memory; a snapshot of many images takes about 100 KiB.
const maxDocuments = 8 * maxDocument

// documents opens no more than so many bytes.
type documents struct {
	*archive
	left int64
}

// Open implements [Source].
func (s *documents) Open(ctx context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	if s.left -= d.Size; s.left < 0 {
		return nil, fmt.Errorf("%w: its manifests and configs have more than %d bytes", ErrNotSnapshot, maxDocuments)
	}
	return s.archive.Open(ctx, d, offset)
}

func (a *archive) scan(ctx context.Context) error {
	for r := tar.NewReader(a.file); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: not a whole tar file: %w", ErrNotSnapshot, err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		at, err := a.file.Seek(0, io.SeekCurrent) // the reader has read no further than the header
		if err != nil {
			return err
		}
		if a.entries[path.Clean(h.Name)] = (section{at, h.Size}); len(a.entries) > maxEntries {
			return fmt.Errorf("%w: it has more than %d entries", ErrNotSnapshot, maxEntries)
		}
	}
}

func (a *archive) index() (v1.Index, error) {
	var index v1.Index
	s, ok := a.entries[v1.ImageIndexFile]
	if !ok || s.size > maxDocument {
		return index, fmt.Errorf("%w: it has no index.json", ErrNotSnapshot)
	}
	b, err := io.ReadAll(io.NewSectionReader(a.file, s.offset, s.size))
	if err != nil {
		return index, err
	}
	if err := json.Unmarshal(b, &index); err != nil {
		return index, fmt.Errorf("%w: its index.json: %w", ErrNotSnapshot, err)
	}
	for _, d := range index.Manifests {
		if d.Digest.Validate() != nil || d.Size < 0 {
			return index, fmt.Errorf("%w: its index.json names %q", ErrNotSnapshot, d.Digest)
		}
	}
	return index, nil
}

// Open implements [Source].
func (a *archive) Open(_ context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	s, ok := a.entries[blobPath(d.Digest)]
	if !ok || s.size != d.Size {
		return nil, fmt.Errorf("%w: blob %s is not in it", ErrDamaged, d.Digest)
	}
	return io.NopCloser(io.NewSectionReader(a.file, s.offset+offset, s.size-offset)), nil
}
