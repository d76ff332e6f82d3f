package snapshot

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/berth-dev/berth/internal/snapshot/layers"
)

// Bases returns the snapshot's own layers as a base, and those it builds on, with where
// they are now. See [Store.Locate].
func (s *Store) Bases(ctx context.Context, m *Manifest) ([]layers.Base, error) {
	own := layers.Base{ID: m.ID, Snapshot: m.Ref().String(), IDs: m.IDs}
	return s.Locate(ctx, append([]layers.Base{own}, m.Bases...))
}

// Locate fills in where bases are on this machine. It may have to look at all snapshots, and
// returns ctx's error when that is cancelled meanwhile, [ErrNotFound] when a base is not there.
func (s *Store) Locate(ctx context.Context, bases []layers.Base) ([]layers.Base, error) {
	out := slices.Clone(bases)
	for i := range out {
		m, err := s.find(ctx, out[i])
		if err != nil {
			return nil, err
		}
		out[i].Snapshot, out[i].Dir = m.Ref().String(), filepath.Join(s.Dir(m), ownLayers)
	}
	return out, nil
}

// find returns the snapshot that a base belongs to.
func (s *Store) find(ctx context.Context, b layers.Base) (*Manifest, error) {
	if ref, err := ParseRef(b.Snapshot); err == nil {
		if m, err := s.Find(ref); err == nil && m.ID == b.ID {
			return m, nil
		}
	}
	all, err := s.all(ctx)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].ID == b.ID {
			return &all[i], nil
		}
	}
	return nil, fmt.Errorf("%w: %s, whose layers are needed", ErrNotFound, b.Snapshot)
}
