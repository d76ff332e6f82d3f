package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/docker/go-units"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/ids"
	"github.com/berth-dev/berth/internal/snapshot/artifact"
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
	if err := i.root.Mkdir(fetchedDir, 0o700); err != nil {
		return err
	}
	if i.here, err = i.store.stock(ctx, i.o.Isolation); err != nil {
		return err
	}
	if err := i.takeStock(ctx); err != nil {
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
		{"drop", i.dropFetched}, {"seal", i.sealBlobs}, {"describe", i.describe}, {"note", i.note},
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
		if i.here.blobs[b.Digest].path == "" {
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
	return i.store.fetchAll(ctx, i.in, i.missing, filepath.Join(i.dir, fetchedDir), i.o.Progress)
}

// fetched is where in the draft a blob is that was downloaded, or that a snapshot here has.
func fetched(d digest.Digest) string { return filepath.Join(fetchedDir, d.Encoded()) }

// dropFetched takes out of the draft what is in another form in it by now.
func (i *importer) dropFetched(context.Context) error { return i.root.RemoveAll(fetchedDir) }

// open opens a blob where it is: downloaded, or in an archive.
func (i *importer) open(ctx context.Context, d digest.Digest) (io.ReadCloser, v1.Descriptor, error) {
	part := i.in.Part(d)
	if i.in.Remote {
		f, err := i.root.Open(fetched(d))
		return f, part, err
	}
	r, err := i.in.Open(ctx, part, 0)
	return r, part, err
}

// note keeps what is known of the blobs.
func (i *importer) note(context.Context) error {
	p := packed{Packing: packing, Layers: map[string]packedTree{}}
	for _, b := range i.in.Config.Blobs {
		p.Checked = append(p.Checked, b.Digest)
	}
	size := func(t artifact.Tree) packedTree { return packedTree{t, i.in.Part(t.Blob).Size} }
	for _, l := range i.in.Config.Layers {
		if _, ok := i.here.layers[l.Blob]; !ok {
			p.Layers[l.Name] = size(l)
		}
	}
	return p.write(i.dir)
}
