package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/snapshot/layers"
	"github.com/berth-dev/berth/internal/snapshot/tree"
)

// peekDir is where, in a draft, the snapshotter's database is looked at: in place it is locked
// by the process that uses it.
const peekDir = "peek"

// rounds is how often a live source may go on because it has made layers meanwhile. After
// that they are copied while it stands still.
const rounds = 3

// pause has a live source stand still. All its layers but the latest are in the draft by then:
// they are copied while it runs, which is safe as a layer never changes, and one that goes does
// not come back under its number.
func (d *draft) pause(ctx context.Context) error {
	if d.src.Live == nil {
		return nil
	}
	if err := d.makeLayersDir(); err != nil {
		return err
	}
	for round := 0; ; round++ {
		if err := d.src.Live.Pause(ctx); err != nil {
			return err
		}
		d.paused = true
		missing, err := d.missingLayers(ctx)
		if err != nil || len(missing) == 0 || round == rounds {
			return err
		}
		if err := d.resume(ctx); err != nil {
			return err
		}
		if err := d.copyAhead(ctx, missing); err != nil {
			return err
		}
	}
}

// resume has the source go on.
func (d *draft) resume(context.Context) error {
	if !d.paused {
		return nil
	}
	d.paused = false
	return d.src.Live.Resume()
}

// missingLayers reads what there is in the source and returns the layers that the draft does
// not have.
func (d *draft) missingLayers(ctx context.Context) ([]string, error) {
	if err := d.peek(ctx); err != nil {
		return nil, err
	}
	var err error
	if d.kinds, err = layerKinds(d.root, filepath.Join(peekDir, path.Base(snapshotterFile))); err != nil {
		return nil, err
	}
	found, err := entries(d.data, layersDir)
	var out []string
	for _, e := range found {
		if name := e.Name(); d.kinds[name] != committed || !e.IsDir() || !layers.NamePattern().MatchString(name) {
			continue
		}
		if _, err := d.root.Lstat(filepath.Join(ownLayers, e.Name())); errors.Is(err, fs.ErrNotExist) {
			out = append(out, e.Name())
		}
	}
	return out, err
}

// peek copies the snapshotter's database to where it can be read.
func (d *draft) peek(ctx context.Context) error {
	if err := d.root.RemoveAll(peekDir); err != nil {
		return err
	}
	if err := d.root.Mkdir(peekDir, 0o700); err != nil {
		return err
	}
	from, err := d.data.OpenFile(snapshotterDir, unix.O_DIRECTORY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := d.root.Open(peekDir)
	if err != nil {
		return err
	}
	defer to.Close()
	return tree.Copy(ctx, from, to, tree.Options{
		From: d.src.IDs, To: d.src.IDs, Skip: func(rel string) bool { return rel != path.Base(snapshotterFile) },
	})
}

// copyAhead copies layers of a source that runs. What it removes meanwhile is not there.
func (d *draft) copyAhead(ctx context.Context, names []string) error {
	to, err := d.root.Open(ownLayers)
	if err != nil {
		return err
	}
	defer to.Close()
	for _, name := range names {
		err := d.copyLayer(ctx, to, name)
		if errors.Is(err, fs.ErrNotExist) {
			err = d.root.RemoveAll(filepath.Join(ownLayers, name))
		}
		if err != nil {
			return fmt.Errorf("copy layer %s: %w", name, err)
		}
	}
	return nil
}

// dropRemoved throws away layers that the source has removed since they were copied.
func (d *draft) dropRemoved() error {
	if d.src.Live == nil {
		return nil
	}
	has := map[string]bool{}
	for _, l := range d.manifest.Layers {
		has[l.Name] = true
	}
	found, err := entries(d.root, ownLayers)
	errs := []error{err, d.root.RemoveAll(peekDir)}
	for _, e := range found {
		if !has[e.Name()] {
			errs = append(errs, d.root.RemoveAll(filepath.Join(ownLayers, e.Name())))
		}
	}
	return errors.Join(errs...)
}
