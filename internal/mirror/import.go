package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ImportOptions say what to make of a layout's images.
type ImportOptions struct {
	As     string // the name of its only image; needed when it has none
	Public bool   // serve images that needed credentials to everybody
}

// Import takes over the images of an OCI image layout in a tar archive. Each blob is verified
// as it is read, and kept; to import the same again after a failure writes only what is
// missing. An image appears when all of it is here. Cancelling ctx ends it likewise.
//
// Errors: the archive is no layout, is damaged or lacks something, an image has no name, the
// disk is full.
func (s *Store) Import(ctx context.Context, r io.Reader, o ImportOptions) ([]Carried, error) {
	in := intake{s, map[digest.Digest]int64{}}
	index, err := readLayout(ctx, r, in.blob)
	if err != nil {
		return nil, err
	}
	if o.As != "" && len(index.Manifests) != 1 {
		return nil, fmt.Errorf("one name was given, and %d images are in the archive", len(index.Manifests))
	}
	var out []Carried
	for _, root := range index.Manifests {
		t, err := nameOf(root, o.As)
		if err != nil {
			return out, err
		}
		image, err := in.adopt(t, root, o)
		if err != nil {
			return out, fmt.Errorf("%s: %w", imageName(t), err)
		}
		out = append(out, image)
	}
	if len(out) == 0 {
		return nil, errors.New("there is no image in the archive")
	}
	return out, nil
}

// intake is an archive being read: an image is made of what was in it, and of nothing else
// that may be here.
type intake struct {
	*Store
	sizes map[digest.Digest]int64
}

func (in intake) blob(d digest.Digest, size int64, r io.Reader) error {
	in.sizes[d] = size
	return in.ingest(d, size, r)
}

// ingest keeps a blob of which nobody can get anything yet: no repository has it.
func (s *Store) ingest(d digest.Digest, size int64, r io.Reader) error {
	if s.has(d) {
		s.touch(d, s.modified(d)) // and so is not what is evicted next
		_, err := io.Copy(io.Discard, r)
		return err
	}
	s.makeRoom(size)
	if s.full(size) && s.evict(size) < size && s.full(size) {
		return diskError(syscall.ENOSPC)
	}
	f, tmp, err := s.temporary()
	if err != nil {
		return diskError(err)
	}
	n, err := io.Copy(f, r)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = s.place(tmp, d, n)
	}
	if err != nil {
		_ = s.root.Remove(tmp)
		var path *fs.PathError
		if errors.As(err, &path) {
			return diskError(err)
		}
	}
	return err
}

// nameOf is what an image in a layout is called.
func nameOf(root ocispec.Descriptor, as string) (target, error) {
	if as == "" {
		as = root.Annotations[annotationName]
	}
	if as == "" {
		as = root.Annotations[ocispec.AnnotationRefName]
		if _, _, ok := cutHost(as); !ok { // a tag alone
			return target{}, fmt.Errorf("the image %s has no name in the archive; give it one with --as", root.Digest)
		}
	}
	registry, repo, ref, err := ParseImage(as)
	if err != nil {
		return target{}, err
	}
	t := target{registry: registry, repo: repo, kind: kindManifest, tag: ref, digest: root.Digest}
	if d := digest.Digest(ref); d.Validate() == nil {
		if t.tag = ""; d != root.Digest {
			return target{}, fmt.Errorf("%s is the name of another image than %s", as, root.Digest)
		}
	}
	return t, nil
}

// adopt gives a repository an image, all of which is here.
func (in intake) adopt(t target, root ocispec.Descriptor, o ImportOptions) (Carried, error) {
	image := Carried{Image: imageName(t), Digest: root.Digest, Private: root.Annotations[annotationPrivate] == "true" && !o.Public}
	links := map[digest.Digest]Link{}
	if err := in.gather(root, links, true); err != nil {
		return image, err
	}
	for d, l := range links {
		if err := in.setLink(t, d, l); err != nil {
			return image, diskError(err)
		}
		image.Blobs++
		image.Bytes += l.Size
	}
	if !image.Private {
		if err := in.setOpen(t.registry, t.repo, true); err != nil {
			return image, diskError(err)
		}
	}
	if t.tag == "" {
		return image, nil
	}
	if err := in.setTag(t, Tag{Digest: root.Digest}); err != nil { // its registry was not asked
		return image, diskError(err)
	}
	return image, nil
}

// gather finds all of an image. What an index lists may be missing but for one: other platforms.
func (in intake) gather(d ocispec.Descriptor, links map[digest.Digest]Link, needed bool) error {
	if _, ok := links[d.Digest]; ok {
		return nil
	}
	if err := d.Digest.Validate(); err != nil {
		return fmt.Errorf("%.100q is no digest", d.Digest)
	}
	if _, ok := in.sizes[d.Digest]; !ok && !needed {
		return nil
	} else if !ok {
		return fmt.Errorf("the archive lacks its manifest %s", d.Digest)
	}
	content, err := in.readManifest(d.Digest)
	if err != nil {
		return errGone(d.Digest, err)
	}
	var refs references
	if err := json.Unmarshal(content, &refs); err != nil {
		return fmt.Errorf("its manifest %s: %w", d.Digest, err)
	}
	links[d.Digest] = Link{MediaType: d.MediaType, Size: int64(len(content))}
	for _, b := range refs.content() {
		size, ok := in.sizes[b.Digest]
		if !ok && elsewhere(b) {
			continue
		}
		if !ok {
			return fmt.Errorf("the archive lacks its blob %s", b.Digest)
		}
		if !in.has(b.Digest) {
			return errGone(b.Digest, fs.ErrNotExist)
		}
		links[b.Digest] = Link{Size: size}
	}
	before := len(links)
	for _, child := range refs.Manifests {
		if err := in.gather(child, links, false); err != nil {
			return err
		}
	}
	if len(refs.Manifests) > 0 && len(links) == before {
		return errors.New("the archive has none of its platforms")
	}
	return nil
}

// errGone says that something was here, and is not any more.
func errGone(d digest.Digest, err error) error {
	return fmt.Errorf("%s had to go again; --max-size is less than the archive: %w", d, err)
}
