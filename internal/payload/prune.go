package payload

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Prune removes the trees below dir for whose digest keep returns false, with their
// stamps, and returns the digests removed. The caller keeps those that a running
// engine uses. When ctx ends while it waits for the lock, nothing is removed.
func Prune(ctx context.Context, dir string, keep func(digest string) bool) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	release, err := lockDir(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer release()
	var removed []string
	for _, e := range entries {
		digest := e.Name()
		if !e.IsDir() || !isHex(digest, digestLen) || keep(digest) {
			continue
		}
		if err := removeTree(dir, digest); err != nil {
			return removed, err
		}
		removed = append(removed, digest)
	}
	return removed, removeTemps(dir)
}

// removeTree takes the tree out of sight in one step before it deletes it, so that
// nobody finds half of one.
func removeTree(dir, digest string) error {
	tree := &Tree{Dir: filepath.Join(dir, digest)}
	if err := os.Remove(stampPath(tree)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("payload: %w", err)
	}
	gone := filepath.Join(dir, tempPrefix+digest)
	if err := os.Rename(tree.Dir, gone); err != nil {
		return fmt.Errorf("payload: %w", err)
	}
	if err := os.RemoveAll(gone); err != nil {
		return fmt.Errorf("payload: %w", err)
	}
	return nil
}
