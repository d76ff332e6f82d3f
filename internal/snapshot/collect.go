package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/berth-dev/berth/internal/linux"
)

// Collect takes back what processes left that were killed while they made a snapshot, and
// returns how many there were. forget is told that an engine does not need a base after all.
func (s *Store) Collect(ctx context.Context, forget func(engine, base string) error) (int, error) {
	if left, err := os.ReadDir(filepath.Join(s.dir(), newDir)); len(left) == 0 {
		if errors.Is(err, fs.ErrNotExist) {
			return 0, nil
		}
		return 0, err
	}
	n := 0
	err := s.lock(ctx, func() error {
		left, err := os.ReadDir(filepath.Join(s.dir(), newDir))
		errs := []error{err}
		for _, e := range left {
			taken, err := s.collect(s.newDir(e.Name()), forget)
			if errs = append(errs, err); taken {
				n++
			}
		}
		return errors.Join(errs...)
	})
	return n, err
}

func (s *Store) collect(dir string, forget func(engine, base string) error) (bool, error) {
	lock, err := linux.TryLock(filepath.Join(dir, lockFile))
	if errors.Is(err, linux.ErrLocked) || errors.Is(err, fs.ErrNotExist) {
		return false, nil // somebody is at it, or has just taken it back
	}
	if err != nil {
		return false, err
	}
	defer lock.Close()
	return true, s.takeBack(dir, func() error {
		a, err := readAdoption(dir)
		if err != nil || a == nil {
			return err
		}
		return forget(a.Owner, a.Base)
	})
}

// takeBack gives layers back to the data root they came from, if that is to be used again,
// calls undo, and throws the draft away.
func (s *Store) takeBack(dir string, undo func() error) error {
	a, err := readAdoption(dir)
	if err != nil {
		return fmt.Errorf("take a half-made snapshot back: %w", err)
	}
	if a != nil {
		if err := a.returnLayers(filepath.Join(dir, ownLayers)); err != nil {
			return fmt.Errorf("give layers back to %s: %w", a.Data, err)
		}
	}
	if undo != nil {
		if err := undo(); err != nil {
			return err
		}
	}
	return s.discard(dir)
}
