package snapshot

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berth-dev/berth/internal/linux"
	"github.com/berth-dev/berth/internal/snapshot/artifact"
)

// Outgoing is a snapshot that can be sent elsewhere. Until Close, it and those that it
// builds on are not removed.
type Outgoing struct {
	*artifact.Artifact
	Ref   Ref
	locks []*os.File
}

// Close lets the snapshot be removed again.
func (o *Outgoing) Close() {
	for _, l := range o.locks {
		l.Close()
	}
}

// Export puts a snapshot together for sending, with all the layers it builds on. The first
// time it reads all of them, to learn their digests; what was exported, pushed or imported
// before is known. Reading the parts is bounded by ctx.
func (s *Store) Export(ctx context.Context, ref Ref) (*Outgoing, error) {
	o, m, err := s.outgoing(ctx, ref)
	if err != nil {
		return nil, err
	}
	if o.Artifact, err = s.assemble(ctx, m); err != nil {
		o.Close()
		return nil, fmt.Errorf("pack snapshot %s: %w", m.Ref(), err)
	}
	return o, nil
}

// outgoing finds the snapshot and keeps it.
func (s *Store) outgoing(ctx context.Context, ref Ref) (*Outgoing, *Manifest, error) {
	o := &Outgoing{}
	var m *Manifest
	err := s.lock(ctx, func() (err error) {
		if m, err = s.Find(ref); err != nil {
			return err
		}
		o.Ref = m.Ref()
		bases, err := s.Bases(ctx, m)
		if err != nil {
			return err
		}
		for _, b := range bases {
			l, err := linux.TryLockShared(filepath.Join(filepath.Dir(b.Dir), readersFile))
			if err != nil {
				return fmt.Errorf("keep snapshot %s: %w", b.Snapshot, err)
			}
			o.locks = append(o.locks, l)
		}
		return nil
	})
	if err != nil {
		o.Close()
		return nil, nil, err
	}
	return o, m, nil
}

// checkUnread returns [ErrInUse] for a snapshot that is on its way elsewhere.
func (s *Store) checkUnread(ref Ref) error {
	reading, err := linux.LockedShared(filepath.Join(s.versionDir(ref.Name, ref.Version), readersFile))
	if err == nil && reading {
		err = fmt.Errorf("%w: %s is being exported or pushed; try again when that is over", ErrInUse, ref)
	}
	return err
}

func (s *Store) assemble(ctx context.Context, m *Manifest) (*artifact.Artifact, error) {
	data, err := s.describeData(ctx, m)
	if err != nil {
		return nil, err
	}
	parts := []artifact.Part{data.part(ctx, artifact.TypeData, s.dataPacker(m))}
	c := artifact.Config{
		Created: m.Created, Sources: m.Sources, Isolation: m.Isolation, Payload: m.Payload, Engine: m.Engine, Data: data.Tree,
		Containers: len(m.Containers) > 0,
		Layers:     []artifact.Tree{}, Blobs: []artifact.Blob{},
	}
	trees, err := s.describeLayers(ctx, m)
	if err != nil {
		return nil, err
	}
	for _, l := range trees {
		c.Layers = append(c.Layers, l.Tree)
		parts = append(parts, l.part(ctx, artifact.TypeLayer, l.packer))
	}
	blobs, err := s.blobParts(m)
	if err != nil {
		return nil, err
	}
	for _, b := range blobs {
		c.Blobs = append(c.Blobs, artifact.Blob{Digest: b.Digest, Size: b.Size})
	}
	return artifact.New(c, append(parts, blobs...))
}

func (p packedTree) part(ctx context.Context, mediaType string, from packer) artifact.Part {
	return artifact.Part{
		Descriptor: v1.Descriptor{MediaType: mediaType, Digest: p.Blob, Size: p.Size},
		Open:       func() (io.ReadCloser, error) { return from.open(ctx) },
	}
}

func (s *Store) describeData(ctx context.Context, m *Manifest) (packedTree, error) {
	known := readPacked(s.Dir(m))
	if known.Data != nil {
		return *known.Data, nil
	}
	data, err := s.dataPacker(m).describe(ctx)
	if err != nil {
		return data, err
	}
	s.learn(ctx, s.Dir(m), func(p *packed) { p.Data = &data })
	return data, nil
}

// blobParts lists the content store.
func (s *Store) blobParts(m *Manifest) ([]artifact.Part, error) {
	root, err := os.OpenRoot(s.Dir(m))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	found, err := entries(root, filepath.Join(dataDir, blobsDir))
	if err != nil {
		return nil, err
	}
	var out []artifact.Part
	for _, e := range found {
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		d := digest.NewDigestFromEncoded(digest.SHA256, e.Name())
		if err := d.Validate(); err != nil {
			return nil, fmt.Errorf("%w: blob %s: %w", ErrDamaged, e.Name(), err)
		}
		out = append(out, artifact.Part{
			Descriptor: v1.Descriptor{MediaType: artifact.TypeBlob, Digest: d, Size: info.Size()},
			Open:       func() (io.ReadCloser, error) { return os.Open(filepath.Join(s.Dir(m), dataDir, blobsDir, e.Name())) },
		})
	}
	return out, nil
}
