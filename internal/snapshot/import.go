package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/docker/go-units"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/ids"
	"github.com/berth-dev/berth/internal/snapshot/artifact"
	"github.com/berth-dev/berth/internal/snapshot/layers"
	"github.com/berth-dev/berth/internal/snapshot/tree"
)

// Importing says what an incoming snapshot is to be here.
type Importing struct {
	Name      string
	Isolation string    // empty: that of the engine that it was made of
	IDs       ids.Range // its owners on disk
	Progress  func(done, total int64)
}

// Import makes a snapshot of what another machine made one of, and the next version if the
// name exists. Layers and blobs that a snapshot here has are taken from there. Nothing is
// visible before all of it is there and what its digests say. After an error, or when ctx is
// cancelled, nothing is left but downloads, with which the next attempt goes on.
func (s *Store) Import(ctx context.Context, in *artifact.Incoming, o Importing) (*Manifest, error) {
	if o.Isolation == "" {
		o.Isolation = in.Config.Isolation
	}
	if o.Isolation != IsolationUserNS && o.Isolation != IsolationRootful {
		return nil, fmt.Errorf("%w: isolation %q is not known", ErrUnfit, o.Isolation)
	}
	m, err := s.doImport(ctx, in, o)
	if err != nil {
		return nil, fmt.Errorf("import snapshot %s: %w", o.Name, err)
	}
	return m, nil
}

func (s *Store) doImport(ctx context.Context, in *artifact.Incoming, o Importing) (*Manifest, error) {
	d, err := s.newDraft(ctx, Source{IDs: o.IDs, Isolation: o.Isolation, Payload: in.Config.Payload, Engine: in.Config.Engine})
	if err != nil {
		return nil, err
	}
	defer d.close()
	d.manifest.Name, d.manifest.Created, d.manifest.Sources = o.Name, in.Config.Created, in.Config.Sources
	i := &importer{draft: d, in: in, o: o}
	err = i.run(ctx)
	if err == nil {
		err = s.publish(ctx, d.dir, &d.manifest)
	}
	if err != nil {
		return nil, errors.Join(err, d.abandon())
	}
	s.forget(i.missing)
	return &d.manifest, nil
}

type importer struct {
	*draft
	in      *artifact.Incoming
	o       Importing
	here    stock
	missing []v1.Descriptor // what had to be downloaded
}

func (i *importer) run(ctx context.Context) (err error) {
	if i.here, err = i.store.stock(ctx, i.o.Isolation); err != nil {
		return err
	}
	if err := i.checkSpace(); err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"fetch", i.fetch}, {"data", i.unpackData}, {"layers", i.unpackLayers}, {"blobs", i.placeBlobs},
		{"seal", i.sealBlobs}, {"describe", i.describe}, {"note", i.note},
	} {
		if err := step.do(ctx); err != nil {
			return err
		}
		if err := i.store.after("import-" + step.name); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// wanted lists the blobs that no snapshot here has, each once.
func (i *importer) wanted() []v1.Descriptor {
	seen := map[digest.Digest]bool{}
	var out []v1.Descriptor
	want := func(d digest.Digest) {
		if !seen[d] {
			seen[d] = true
			out = append(out, i.in.Part(d))
		}
	}
	want(i.in.Config.Data.Blob)
	for _, l := range i.in.Config.Layers {
		if _, ok := i.here.layers[l.Blob]; !ok {
			want(l.Blob)
		}
	}
	for _, b := range i.in.Config.Blobs {
		if i.here.blobs[b.Digest] == "" {
			want(b.Digest)
		}
	}
	return out
}

// checkSpace refuses what the disk cannot hold, going by what the snapshot says of itself.
func (i *importer) checkSpace() error {
	need := i.in.Config.Data.Unpacked
	for _, l := range i.in.Config.Layers {
		if _, ok := i.here.layers[l.Blob]; !ok {
			need += l.Unpacked
		}
	}
	for _, d := range i.wanted() {
		if d.MediaType == artifact.TypeBlob || i.in.Remote {
			need += d.Size
		}
	}
	free, err := i.store.free()
	if err != nil {
		return err
	}
	if need > free {
		return fmt.Errorf("it takes %s and %s has %s free: %w; `berth disk` shows what is on it", units.BytesSize(float64(need)), i.store.dir(), units.BytesSize(float64(free)), unix.ENOSPC)
	}
	return nil
}

func (i *importer) fetch(ctx context.Context) error {
	if !i.in.Remote {
		return nil
	}
	i.missing = i.wanted()
	return i.store.fetchAll(ctx, i.in, i.missing, i.o.Progress)
}

// open opens a blob where it is: downloaded, or in an archive.
func (i *importer) open(ctx context.Context, d digest.Digest) (io.ReadCloser, v1.Descriptor, error) {
	part := i.in.Part(d)
	if i.in.Remote {
		f, err := os.Open(i.store.download(part))
		return f, part, err
	}
	r, err := i.in.Open(ctx, part, 0)
	return r, part, err
}

// unpack makes the tree in a directory of the draft that does not exist yet.
func (i *importer) unpack(ctx context.Context, t artifact.Tree, dir string) error {
	if err := i.root.Mkdir(dir, 0o700); err != nil {
		return err
	}
	to, err := i.root.Open(dir)
	if err != nil {
		return err
	}
	defer to.Close()
	r, part, err := i.open(ctx, t.Blob)
	if err != nil {
		return err
	}
	defer r.Close()
	v := artifact.Verify(r, part)
	z, err := zstd.NewReader(v, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(64<<20))
	if err != nil {
		return err
	}
	defer z.Close()
	bounded := io.LimitReader(z, t.Unpacked)
	err = tree.Unpack(ctx, bounded, to, tree.Unpacking{IDs: i.o.IDs, Marks: marks(i.o.Isolation)})
	if err == nil {
		_, err = io.Copy(io.Discard, bounded)
	}
	// What does not have its digest is of no interest otherwise.
	return errors.Join(v.Close(), err)
}

func (i *importer) unpackData(ctx context.Context) error {
	if err := i.unpack(ctx, i.in.Config.Data, dataDir); err != nil {
		return fmt.Errorf("unpack its metadata: %w", err)
	}
	return i.checkData()
}

// checkData makes sure that data holds what a snapshot's does. Layers and blobs come with
// digests of their own, and a link to a layer would be one to somebody else's.
func (i *importer) checkData() error {
	root, err := i.root.OpenRoot(dataDir)
	if err != nil {
		return err
	}
	defer root.Close()
	strange := func(rel string) error {
		return fmt.Errorf("%w: there is %q in its metadata", artifact.ErrNotSnapshot, rel)
	}
	return fs.WalkDir(root.FS(), ".", func(rel string, e fs.DirEntry, err error) error {
		inPlace := filepath.Dir(rel) == layersDir
		switch {
		case err != nil:
			return err
		case leftOut(rel, i.in.Config.Containers) || isBlob(rel) || inPlace && !(e.IsDir() && layers.NamePattern.MatchString(e.Name())):
			return strange(rel)
		case e.Type()&fs.ModeSymlink != 0:
			return strange(rel) // there are links in what is the engine's only
		case inPlace || rel == volumesDir || rel == containersDir || rel == snapshotterFile:
			if e.IsDir() {
				return fs.SkipDir // what is further down is the engine's
			}
		case rel == layersDir || rel == blobsDir || filepath.Dir(rel) == containerdRoot:
			if !e.IsDir() {
				return strange(rel)
			}
		}
		return nil
	})
}

func (i *importer) unpackLayers(ctx context.Context) error {
	if err := i.makeLayersDir(); err != nil {
		return err
	}
	if len(i.in.Config.Layers) == 0 {
		return nil
	}
	places, err := i.root.OpenFile(filepath.Join(dataDir, layersDir), unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("%w: it has layers and no place for them: %w", artifact.ErrNotSnapshot, err)
	}
	defer places.Close()
	bases := map[string]bool{}
	for _, l := range i.in.Config.Layers {
		target := layers.Link(i.manifest.ID, l.Name)
		if have, ok := i.here.layers[l.Blob]; ok {
			target = layers.Link(have.base.ID, have.name)
			if !bases[have.base.ID] {
				bases[have.base.ID] = true
				i.manifest.Bases = append(i.manifest.Bases, have.base)
			}
		} else if err := i.unpack(ctx, l, filepath.Join(ownLayers, l.Name)); err != nil {
			return fmt.Errorf("unpack layer %s: %w", l.Name, err)
		} else {
			i.manifest.Layers = append(i.manifest.Layers, Layer{Name: l.Name})
		}
		if err := link(places, l.Name, target, i.o.IDs); err != nil {
			return err
		}
		if err := i.store.after("import-layer"); err != nil {
			return err
		}
	}
	return nil
}

// placeBlobs fills the content store.
func (i *importer) placeBlobs(ctx context.Context) error {
	if len(i.in.Config.Blobs) == 0 {
		return nil
	}
	dir, err := i.root.OpenFile(filepath.Join(dataDir, blobsDir), unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("%w: it has blobs and no place for them: %w", artifact.ErrNotSnapshot, err)
	}
	defer dir.Close()
	for _, b := range i.in.Config.Blobs {
		if err := i.placeBlob(ctx, dir, b); err != nil {
			return fmt.Errorf("blob %s: %w", b.Digest, err)
		}
	}
	return nil
}

func (i *importer) placeBlob(ctx context.Context, dir *os.File, b artifact.Blob) error {
	name := b.Digest.Encoded()
	from := i.here.blobs[b.Digest]
	if from == "" && i.in.Remote {
		from = i.store.download(i.in.Part(b.Digest))
	}
	if from != "" {
		err := unix.Linkat(unix.AT_FDCWD, from, int(dir.Fd()), name, 0)
		if err == nil {
			return nil
		}
		if err != unix.EMLINK && !errors.Is(err, fs.ErrNotExist) {
			return os.NewSyscallError("linkat", err)
		}
	}
	return i.copyBlob(ctx, b, filepath.Join(dataDir, blobsDir, name), from)
}

// copyBlob writes a blob that cannot be linked.
func (i *importer) copyBlob(ctx context.Context, b artifact.Blob, to, from string) (err error) {
	var r io.ReadCloser
	if from != "" {
		r, err = os.Open(from)
	} else {
		r, _, err = i.open(ctx, b.Digest)
	}
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := i.root.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	defer f.Close()
	v := artifact.Verify(r, i.in.Part(b.Digest))
	if _, err := io.Copy(f, v); err != nil {
		return err
	}
	return v.Close()
}

// note keeps what is known of the blobs.
func (i *importer) note(context.Context) error {
	p := packed{Packing: packing, Layers: map[string]packedTree{}}
	size := func(t artifact.Tree) packedTree { return packedTree{t, i.in.Part(t.Blob).Size} }
	for _, l := range i.in.Config.Layers {
		if _, ok := i.here.layers[l.Blob]; !ok {
			p.Layers[l.Name] = size(l)
		}
	}
	return p.write(i.dir)
}
