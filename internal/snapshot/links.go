package snapshot

import (
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

// neededBases are the ids of the snapshots that have the layers.
func neededBases(root *os.Root) (map[string]bool, error) {
	all, err := links(root)
	out := map[string]bool{}
	for _, l := range all {
		out[l.base] = true
	}
	return out, err
}
