package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Retire removes one version like [Store.Remove], also when other snapshots build on it: then
// those of its layers stay that they need, and it is no longer listed or found. What is left
// goes with the last of them. It returns [ErrInUse] for one that an engine needs, or that is
// being exported or pushed, whether by itself or by what builds on it.
func (s *Store) Retire(ctx context.Context, ref Ref, users func(id string) []string) error {
	// All under one lock: an export that begins keeps it from going, or does not find it.
	return s.lock(ctx, func() error {
		_, err := s.remove(ctx, ref, users)
		var inUse *InUseError
		if !errors.As(err, &inUse) || len(inUse.Engines) > 0 {
			return err
		}
		if err := s.checkUnread(ref); err != nil {
			return err
		}
		m, err := s.Find(ref)
		if err != nil {
			return err
		}
		if err := s.retire(ctx, m); err != nil {
			return fmt.Errorf("retire snapshot %s: %w", ref, err)
		}
		return nil
	})
}

func (s *Store) retire(ctx context.Context, m *Manifest) error {
	needed, err := s.neededLayers(ctx, m.ID)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(s.Dir(m))
	if err != nil {
		return err
	}
	defer root.Close()
	left := *m
	left.Retired, left.Images, left.Volumes, left.Containers = true, nil, nil, nil
	left.Bases, left.Layers, left.Size = nil, nil, Size{}
	for _, l := range m.Layers {
		if !needed[l.Name] {
			continue
		}
		sum, err := digestOf(ctx, root, filepath.Join(ownLayers, l.Name))
		if err != nil {
			return err
		}
		left.Layers, left.Size.Layers = append(left.Layers, l), left.Size.Layers+sum.Bytes
	}
	// From here on it is retired; what a crash leaves of the rest is tidied.
	if err := left.write(s.Dir(m)); err != nil {
		return err
	}
	return s.strip(&left)
}

// neededLayers are the layers of the base that snapshots have links to.
func (s *Store) neededLayers(ctx context.Context, base string) (map[string]bool, error) {
	all, err := s.List(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, m := range all {
		root, err := os.OpenRoot(s.Dir(&m))
		if err != nil {
			return nil, err
		}
		linked, err := links(root)
		root.Close()
		if err != nil {
			return nil, err
		}
		for _, l := range linked {
			if l.base == base {
				out[l.name] = true
			}
		}
	}
	return out, nil
}

// strip throws away what a retired snapshot does not list.
func (s *Store) strip(m *Manifest) error {
	keep := map[string]bool{}
	for _, l := range m.Layers {
		keep[l.Name] = true
	}
	dir := s.Dir(m)
	found, err := os.ReadDir(filepath.Join(dir, ownLayers))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var errs []error
	for _, e := range found {
		if !keep[e.Name()] {
			errs = append(errs, s.discard(filepath.Join(dir, ownLayers, e.Name())))
		}
	}
	if err := s.discard(filepath.Join(dir, dataDir)); !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// tidyRetired finishes what a crash interrupted, and removes what nobody builds on any more.
func (s *Store) tidyRetired(ctx context.Context, users func(id string) []string) error {
	all, err := s.all(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range all {
		switch {
		case !m.Retired:
		case len(users(m.ID)) == 0 && len(builtOn(all, m.ID, nil)) == 0:
			errs = append(errs, s.discard(s.Dir(&m)))
		default:
			errs = append(errs, s.strip(&m))
		}
	}
	return errors.Join(errs...)
}
