package snapshot

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
)

// linkedLayer is a layer that a snapshot has a link to.
type linkedLayer struct {
	packedTree
	packer packer
	place  string // its name in the snapshot's data
	name   string // and in its base
	owner  *Manifest
}

// describeLayers finds out what blobs the layers are, of the snapshot and its bases.
func (s *Store) describeLayers(ctx context.Context, m *Manifest) ([]linkedLayer, error) {
	all, err := s.linkedLayers(ctx, m)
	if err != nil {
		return nil, err
	}
	known := map[string]packed{}
	for _, l := range all {
		if _, ok := known[l.packer.dir]; !ok {
			known[l.packer.dir] = readPacked(l.packer.dir)
		}
	}
	var mu sync.Mutex
	found := map[string]map[string]packedTree{} // directory, layer
	g, gctx := inParallel(ctx)
	for i := range all {
		l := &all[i]
		noted, ok := known[l.packer.dir].Layers[l.name]
		if l.packedTree = noted; ok {
			continue
		}
		g.Go(func() (err error) {
			if l.packedTree, err = l.packer.describe(gctx); err != nil {
				return fmt.Errorf("layer %s of %s: %w", l.name, l.owner.Ref(), err)
			}
			mu.Lock()
			defer mu.Unlock()
			if found[l.packer.dir] == nil {
				found[l.packer.dir] = map[string]packedTree{}
			}
			found[l.packer.dir][l.name] = l.packedTree
			return nil
		})
	}
	err = g.Wait()
	for dir, trees := range found { // after an error as well: they need not be packed again
		s.learn(ctx, dir, func(p *packed) { maps.Copy(p.Layers, trees) })
	}
	for i := range all {
		all[i].Name = all[i].place
	}
	return all, err
}

func (s *Store) linkedLayers(ctx context.Context, m *Manifest) ([]linkedLayer, error) {
	bases, err := s.Bases(ctx, m)
	if err != nil {
		return nil, err
	}
	owners := map[string]*Manifest{}
	for _, b := range bases {
		if owners[b.ID], err = s.find(ctx, b); err != nil {
			return nil, err
		}
	}
	root, err := os.OpenRoot(s.Dir(m))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	links, err := links(root)
	if err != nil {
		return nil, err
	}
	var out []linkedLayer
	for _, l := range links {
		owner := owners[l.base]
		if owner == nil {
			return nil, fmt.Errorf("%w: layer %s is of a snapshot that is not known", ErrDamaged, l.place)
		}
		out = append(out, linkedLayer{packer: s.layerPacker(owner, l.name), place: l.place, name: l.name, owner: owner})
	}
	slices.SortFunc(out, func(a, b linkedLayer) int { return layerNumber(a.place) - layerNumber(b.place) })
	return out, nil
}
