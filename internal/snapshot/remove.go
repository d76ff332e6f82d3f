package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/berth-dev/berth/internal/snapshot/layers"
	"github.com/berth-dev/berth/internal/state"
)

// Remove removes one version of a snapshot, or all if ref names none. users are the names
// of the engines that need the layers of the snapshot with an id. Nothing is removed when one is in use.
func (s *Store) Remove(ctx context.Context, ref Ref, users func(id string) []string) ([]Ref, error) {
	var removed []Ref
	err := s.lock(ctx, func() (err error) {
		removed, err = s.remove(ctx, ref, users)
		return err
	})
	return removed, err
}

// remove is Remove for who has the lock.
func (s *Store) remove(ctx context.Context, ref Ref, users func(id string) []string) (removed []Ref, err error) {
	doomed, err := s.doomed(ctx, ref, users)
	if err != nil {
		return nil, err
	}
	// The newest first: it may build on the others.
	for _, v := range slices.Backward(doomed) {
		if err := s.discard(s.versionDir(v.Name, v.Version)); err != nil {
			return removed, fmt.Errorf("remove snapshot %s: %w", v, err)
		}
		removed = append(removed, v)
	}
	if ref.Version == 0 {
		return removed, os.RemoveAll(s.nameDir(ref.Name)) // the number of the last version
	}
	return removed, nil
}

// Tidy removes what is left of names that have no version, such as one whose first was
// never finished, of retired snapshots, of downloads, and of files that somebody was killed
// over. users are as for [Store.Remove].
func (s *Store) Tidy(ctx context.Context, users func(id string) []string) error {
	return s.lock(ctx, func() error {
		names, err := os.ReadDir(s.dir())
		errs := []error{err, s.tidyDownloads(time.Now()), s.tidyRetired(ctx, users)}
		for _, e := range names {
			if !e.IsDir() || !state.NamePattern().MatchString(e.Name()) {
				continue
			}
			dir := s.nameDir(e.Name())
			errs = append(errs, removeUnfinished(dir))
			if _, err := os.Stat(filepath.Join(dir, lastFile)); err == nil {
				continue // its versions were removed one by one
			}
			if versions, err := s.versions(e.Name()); err != nil || len(versions) > 0 {
				errs = append(errs, err)
				continue
			}
			errs = append(errs, os.RemoveAll(dir))
		}
		return errors.Join(errs...)
	})
}

// removeUnfinished removes what writeFile left in a name's directory or a version's.
func removeUnfinished(dir string) error {
	var errs []error
	for _, pattern := range []string{"*", "*/*"} {
		found, err := fs.Glob(os.DirFS(dir), pattern+unfinished)
		errs = append(errs, err)
		for _, rel := range found {
			errs = append(errs, os.Remove(filepath.Join(dir, rel)))
		}
	}
	return errors.Join(errs...)
}

// doomed lists what is to be removed, oldest first, unless somebody needs it.
func (s *Store) doomed(ctx context.Context, ref Ref, users func(id string) []string) ([]Ref, error) {
	versions, err := s.versions(ref.Name)
	if err != nil {
		return nil, err
	}
	var doomed []Ref
	for _, v := range versions {
		if ref.Version == 0 || ref.Version == v {
			doomed = append(doomed, Ref{ref.Name, v})
		}
	}
	if len(doomed) == 0 {
		return nil, fmt.Errorf("%w: %s; `berth snapshot ls` shows those there are", ErrNotFound, ref)
	}
	all, err := s.all(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range all {
		if !slices.Contains(doomed, m.Ref()) {
			continue
		}
		if inUse := (&InUseError{m.Ref(), users(m.ID), builtOn(all, m.ID, doomed)}); len(inUse.Engines)+len(inUse.Snapshots) > 0 {
			return nil, inUse
		}
		if err := s.checkUnread(m.Ref()); err != nil {
			return nil, err
		}
	}
	return doomed, nil
}

// builtOn lists the snapshots other than the doomed that have the one with the id as a base.
func builtOn(all []Manifest, id string, doomed []Ref) []string {
	var out []string
	for _, m := range all {
		if slices.Contains(doomed, m.Ref()) {
			continue
		}
		if slices.ContainsFunc(m.Bases, func(b layers.Base) bool { return b.ID == id }) {
			out = append(out, m.Ref().String())
		}
	}
	return out
}
