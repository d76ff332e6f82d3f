package snapshot

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/berth-dev/berth/internal/snapshot/layers"
)

// layerLink is a link in a snapshot's data that stands for a layer.
type layerLink struct {
	place string // its name in the snapshotter's directory
	base  string // id of the snapshot that has the layer
	name  string // and what it is called there
}

// links lists the links to layers; root is the snapshot's directory.
func links(root *os.Root) ([]layerLink, error) {
	dir := filepath.Join(dataDir, layersDir)
	found, err := entries(root, dir)
	if err != nil {
		return nil, err
	}
	var out []layerLink
	for _, e := range found {
		if e.Type()&fs.ModeSymlink == 0 {
			continue
		}
		target, err := root.Readlink(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		id, name, ok := layers.ParseLink(target)
		if !ok {
			return nil, fmt.Errorf("layer %s is a link to %q, which berth did not make", e.Name(), target)
		}
		out = append(out, layerLink{e.Name(), id, name})
	}
	return out, nil
}

// checkLinks makes sure that the layers of others that a draft has links to are there.
func (s *Store) checkLinks(ctx context.Context, dir string, bases []layers.Base) error {
	located, err := s.Locate(ctx, bases)
	if err != nil || len(located) == 0 {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	all, err := links(root)
	if err != nil {
		return err
	}
	for _, l := range all {
		base, err := layers.Find(located, l.base)
		if err != nil {
			continue // its own
		}
		if _, err := os.Lstat(filepath.Join(base.Dir, l.name)); err != nil {
			return fmt.Errorf("layer %s of %s: %w; it was removed meanwhile, try again", l.name, base.Snapshot, err)
		}
	}
	return nil
}

// neededBases are the ids of the snapshots that have the layers.
func neededBases(root *os.Root) (map[string]bool, error) {
	all, err := links(root)
	out := map[string]bool{}
	for _, l := range all {
		out[l.base] = true
	}
	return out, err
}
