package mirror

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// export is what is to be written.
type export struct {
	s      *Store
	index  ocispec.Index
	sizes  map[digest.Digest]int64
	order  []digest.Digest
	images []Carried
}

// Export writes images that are here in full to w, as an OCI image layout
// (https://github.com/opencontainers/image-spec/blob/main/image-layout.md) in a tar archive.
// names are as [ParseImage] takes them; none stands for every tag that is here. Of an image
// for several platforms it takes those that are here. Nothing is written when something is
// missing. Cancelling ctx ends it with the archive unfinished.
func (s *Store) Export(ctx context.Context, w io.Writer, names []string) ([]Carried, error) {
	e, err := s.planExport(names)
	if err != nil {
		return nil, err
	}
	defer e.release()
	return e.images, e.write(ctx, w)
}

// planExport finds the content, which stays until release.
func (s *Store) planExport(names []string) (*export, error) {
	targets, err := s.exportTargets(names)
	if err != nil {
		return nil, err
	}
	e := &export{s: s, sizes: map[digest.Digest]int64{}, index: ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}}}
	for _, t := range targets {
		if err := e.add(t); err != nil {
			e.release()
			return nil, fmt.Errorf("%s: %w", imageName(t), err)
		}
	}
	return e, nil
}

func (s *Store) exportTargets(names []string) ([]target, error) {
	var out []target
	for _, name := range names {
		registry, repo, ref, err := ParseImage(name)
		if err != nil {
			return nil, err
		}
		t := target{registry: registry, repo: repo, kind: kindManifest, tag: ref}
		if d := digest.Digest(ref); d.Validate() == nil {
			t.tag, t.digest = "", d
		}
		out = append(out, t)
	}
	if len(names) > 0 {
		return out, nil
	}
	entries, err := s.List()
	for _, e := range entries {
		if e.Complete {
			out = append(out, target{registry: e.Registry, repo: e.Repo, kind: kindManifest, tag: e.Tag})
		}
	}
	if err == nil && len(out) == 0 {
		err = errors.New("the mirror has no image to export")
	}
	return out, err
}

// errNotHere says what makes an image whole.
func errNotHere(what string, d digest.Digest) error {
	return fmt.Errorf("its %s %s is not here; `berth mirror prefetch` fetches all of an image", what, d)
}

func (e *export) add(t target) error {
	if t.tag != "" {
		tag, ok := e.s.tag(t)
		if !ok {
			return errors.New("the mirror has no such tag; `berth mirror ls` lists what it has")
		}
		t.digest = tag.Digest
	}
	image := Carried{Image: imageName(t), Digest: t.digest, Private: !e.s.isOpen(t.registry, t.repo)}
	seen := map[digest.Digest]bool{}
	root, err := e.manifest(t, t.digest, seen, &image)
	if err != nil {
		return err
	}
	root.Annotations = map[string]string{annotationName: image.Image}
	if t.tag != "" {
		root.Annotations[ocispec.AnnotationRefName] = t.tag
	}
	if image.Private {
		root.Annotations[annotationPrivate] = "true"
	}
	e.index.Manifests = append(e.index.Manifests, root)
	e.images = append(e.images, image)
	return nil
}

// manifest adds one and what it refers to.
func (e *export) manifest(t target, d digest.Digest, seen map[digest.Digest]bool, image *Carried) (ocispec.Descriptor, error) {
	got, ok := e.s.knownManifest(t, d)
	if !ok {
		return ocispec.Descriptor{}, errNotHere("manifest", d)
	}
	root := ocispec.Descriptor{MediaType: got.mediaType, Digest: d, Size: int64(len(got.content))}
	if seen[d] {
		return root, nil
	}
	seen[d] = true
	e.hold(d, root.Size, image)
	var refs references
	if err := json.Unmarshal(got.content, &refs); err != nil {
		return root, fmt.Errorf("its manifest %s: %w", d, err)
	}
	for _, b := range refs.content() {
		if seen[b.Digest] {
			continue
		}
		size, ok := e.s.stat(b.Digest)
		if !ok && elsewhere(b) {
			continue
		}
		if !ok {
			return root, errNotHere("blob", b.Digest)
		}
		seen[b.Digest] = true
		e.hold(b.Digest, size, image)
	}
	some := len(refs.Manifests) == 0
	for _, child := range refs.Manifests {
		if _, ok := e.s.knownManifest(t, child.Digest); !ok {
			continue // another platform's
		}
		some = true
		if _, err := e.manifest(t, child.Digest, seen, image); err != nil {
			return root, err
		}
	}
	if !some {
		return root, errors.New("none of its platforms is here; `berth mirror prefetch` fetches one")
	}
	return root, nil
}

// hold keeps a blob from being evicted until release.
func (e *export) hold(d digest.Digest, size int64, image *Carried) {
	image.Blobs++
	image.Bytes += size
	if _, ok := e.sizes[d]; ok {
		return
	}
	e.sizes[d] = size
	e.order = append(e.order, d)
	e.s.use(d)
}

func (e *export) release() {
	for _, d := range e.order {
		e.s.release(d)
	}
}

func (e *export) write(ctx context.Context, w io.Writer) error {
	archive := tar.NewWriter(w)
	small := func(name string, v any) error {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(b))}); err != nil {
			return err
		}
		_, err = archive.Write(b)
		return err
	}
	if err := small(ocispec.ImageLayoutFile, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}); err != nil {
		return err
	}
	if err := small(ocispec.ImageIndexFile, e.index); err != nil {
		return err
	}
	for _, d := range slices.Sorted(slices.Values(e.order)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := e.blob(archive, d); err != nil {
			return err
		}
	}
	return archive.Close()
}

func (e *export) blob(archive *tar.Writer, d digest.Digest) error {
	b, err := e.s.open(d)
	if errors.Is(err, fs.ErrNotExist) {
		return errNotHere("blob", d)
	}
	if err != nil {
		return err
	}
	defer b.Close()
	if err := archive.WriteHeader(&tar.Header{Name: blobPath(d), Mode: 0o644, Size: b.Size}); err != nil {
		return err
	}
	_, err = io.Copy(archive, b.File)
	return err
}
