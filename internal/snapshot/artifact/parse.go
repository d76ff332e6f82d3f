package artifact

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"

	"github.com/berth-dev/berth/internal/lazyregexp"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Source is where a snapshot comes from.
type Source interface {
	// Open opens what is in a blob from offset on. Nothing is known of what comes: the
	// caller compares the whole with the descriptor (see [Verify]).
	Open(ctx context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error)
}

// Incoming is a snapshot on its way in, whose manifest and config are as they should be.
type Incoming struct {
	Source
	Name   string // what the archive calls it; empty: nothing
	Remote bool   // opening takes a connection, which may break
	Config Config
	parts  map[digest.Digest]v1.Descriptor
}

// Part returns the descriptor of a blob that the config names.
func (in *Incoming) Part(d digest.Digest) v1.Descriptor { return in.parts[d] }

// Size adds up what the snapshot takes: packed, and on disk.
func (in *Incoming) Size() (packed, unpacked int64) {
	for _, p := range in.parts {
		packed += p.Size
	}
	unpacked = in.Config.Data.Unpacked
	for _, l := range in.Config.Layers {
		unpacked += l.Unpacked
	}
	for _, b := range in.Config.Blobs {
		unpacked += b.Size
	}
	return packed, unpacked
}

// read takes the bytes of a manifest, which were compared with their digest, and fetches
// the config.
func read(ctx context.Context, src Source, name string, manifest []byte) (*Incoming, error) {
	m, err := parseManifest(manifest)
	if err != nil {
		return nil, err
	}
	config, err := fetch(ctx, src, m.Config)
	if err != nil {
		return nil, fmt.Errorf("fetch the snapshot's config: %w", err)
	}
	in := &Incoming{Source: src, Name: name, parts: map[digest.Digest]v1.Descriptor{}}
	for _, l := range m.Layers {
		in.parts[l.Digest] = l
	}
	in.Config, err = parseConfig(config)
	if err != nil {
		return nil, err
	}
	return in, in.check()
}

func parseManifest(b []byte) (*v1.Manifest, error) {
	m := &v1.Manifest{}
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("%w: its manifest: %w", ErrNotSnapshot, err)
	}
	if m.Config.MediaType != TypeConfig {
		return nil, fmt.Errorf("%w, but %s; images are for `docker pull`", ErrNotSnapshot, cmp.Or(m.ArtifactType, m.Config.MediaType, "of no kind"))
	}
	for _, d := range append([]v1.Descriptor{m.Config}, m.Layers...) {
		if d.Digest.Validate() != nil || d.Digest.Algorithm() != digest.SHA256 || d.Size < 0 {
			return nil, fmt.Errorf("%w: its manifest has the descriptor %q of %d bytes", ErrNotSnapshot, d.Digest, d.Size)
		}
	}
	return m, nil
}

func parseConfig(b []byte) (Config, error) {
	var c Config
	if err := json.Unmarshal(b, &c); err != nil {
		return c, fmt.Errorf("%w: its config: %w", ErrNotSnapshot, err)
	}
	if c.Format != format {
		return c, fmt.Errorf("it has format %d and this berth knows %d; use a berth as new as the one that made it", c.Format, format)
	}
	return c, nil
}

var layerName = lazyregexp.New(`^[1-9][0-9]{0,17}$`)

// check compares the config with the manifest. Every blob that the config names must be in
// the manifest, with the same size where the config has one. Sizes can be added up.
func (in *Incoming) check() error {
	c := &in.Config
	if !in.countable() {
		return fmt.Errorf("%w: its sizes add up to more than a disk can have", ErrNotSnapshot)
	}
	names := map[string]bool{}
	for i, t := range append([]Tree{c.Data}, c.Layers...) {
		part, ok := in.parts[t.Blob]
		want := TypeLayer
		if i == 0 {
			want = TypeData
		}
		switch {
		case !ok || part.MediaType != want:
			return fmt.Errorf("%w: %s %s of the config is not in the manifest", ErrNotSnapshot, want, t.Blob)
		case t.Unpacked < 0 || i > 0 && (!layerName().MatchString(t.Name) || names[t.Name]):
			return fmt.Errorf("%w: layer %q of %d bytes", ErrNotSnapshot, t.Name, t.Unpacked)
		}
		names[t.Name] = true
	}
	for _, b := range c.Blobs {
		if part, ok := in.parts[b.Digest]; !ok || part.MediaType != TypeBlob || part.Size != b.Size {
			return fmt.Errorf("%w: blob %s of the config is not in the manifest", ErrNotSnapshot, b.Digest)
		}
	}
	return nil
}

// countable reports whether all sizes together are less than a disk can have.
func (in *Incoming) countable() bool {
	left := int64(math.MaxInt64)
	ok := true
	take := func(size int64) { ok = ok && size >= 0 && size <= left; left -= size }
	for _, p := range in.parts {
		take(p.Size)
	}
	take(in.Config.Data.Unpacked)
	for _, l := range in.Config.Layers {
		take(l.Unpacked)
	}
	for _, b := range in.Config.Blobs {
		take(b.Size)
	}
	return ok
}

// fetch reads a document that is not large, and compares it with its digest.
func fetch(ctx context.Context, src Source, d v1.Descriptor) ([]byte, error) {
	if d.Size > maxDocument {
		return nil, fmt.Errorf("%w: a document of %d bytes", ErrNotSnapshot, d.Size)
	}
	r, err := src.Open(ctx, d, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	v := Verify(ctx, r, d)
	b, err := io.ReadAll(v)
	if err != nil {
		return nil, err
	}
	return b, v.Close()
}
