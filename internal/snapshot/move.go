package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/berth-dev/berth/internal/ids"
	"github.com/berth-dev/berth/internal/snapshot/layers"
	"github.com/berth-dev/berth/internal/snapshot/tree"
	"golang.org/x/sys/unix"
)

// moveLayers moves the layers here that the engine has made, and leaves links in the copy
// and, if the data root is used again, there as well.
func (d *draft) moveLayers(ctx context.Context) error {
	if err := d.makeLayersDir(); err != nil {
		return err
	}
	found, err := entries(d.data, layersDir)
	if err != nil || len(found) == 0 {
		return err // it never held an image
	}
	from, err := d.data.Open(layersDir)
	if err != nil {
		return err
	}
	defer from.Close()
	links, err := d.root.Open(filepath.Join(dataDir, layersDir))
	if err != nil {
		return err
	}
	defer links.Close()
	to, err := d.root.Open(ownLayers)
	if err != nil {
		return err
	}
	defer to.Close()
	if err := d.adopt(); err != nil {
		return err
	}
	for _, e := range found {
		if err := ctx.Err(); err != nil {
			return err
		}
		if name := e.Name(); d.kinds[name] == committed && e.IsDir() && layers.NamePattern().MatchString(name) {
			if err := d.takeLayer(ctx, from, links, to, name); err != nil {
				return fmt.Errorf("take layer %s: %w", name, err)
			}
			if err := d.store.after("freeze-layer"); err != nil {
				return err
			}
			d.manifest.Layers = append(d.manifest.Layers, Layer{Name: name})
		}
	}
	return d.keepBases()
}

// makeLayersDir makes the directory of the snapshot's own layers, unless there is one.
func (d *draft) makeLayersDir() error {
	if err := d.root.Mkdir(ownLayers, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	owner := int(d.src.IDs.First)
	return d.root.Lchown(ownLayers, owner, owner)
}

func (d *draft) takeLayer(ctx context.Context, from, links, to *os.File, name string) error {
	if !d.src.copies() {
		return d.moveLayer(from, links, to, name)
	}
	if err := d.copyLayer(ctx, to, name); err != nil && !errors.Is(err, fs.ErrExist) { // it was, before the pause
		return err
	}
	return link(links, name, layers.Link(d.manifest.ID, name), d.src.IDs)
}

func (d *draft) copyLayer(ctx context.Context, to *os.File, name string) error {
	source, err := d.data.OpenFile(filepath.Join(layersDir, name), unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer source.Close()
	if err := unix.Mkdirat(int(to.Fd()), name, 0o700); err != nil {
		return os.NewSyscallError("mkdirat", err)
	}
	target, err := d.root.OpenFile(filepath.Join(ownLayers, name), unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer target.Close()
	return tree.Copy(ctx, source, target, tree.Options{From: d.src.IDs, To: d.src.IDs})
}

func (d *draft) moveLayer(from, links, to *os.File, name string) error {
	if err := unix.Renameat(int(from.Fd()), name, int(to.Fd()), name); err != nil {
		return os.NewSyscallError("renameat", err)
	}
	for _, dir := range []*os.File{links, from} {
		if dir == from && d.src.Adopt == nil {
			continue
		}
		if err := link(dir, name, layers.Link(d.manifest.ID, name), d.src.IDs); err != nil {
			return err
		}
	}
	return nil
}

// link makes a symbolic link that belongs to an engine's root.
func link(dir *os.File, name, target string, owner ids.Range) error {
	if err := unix.Symlinkat(target, int(dir.Fd()), name); err != nil {
		return os.NewSyscallError("symlinkat", err)
	}
	first := int(owner.First)
	return os.NewSyscallError("fchownat", unix.Fchownat(int(dir.Fd()), name, first, first, unix.AT_SYMLINK_NOFOLLOW))
}

// keepBases notes which bases are needed still, and drops links to what is none.
func (d *draft) keepBases() error {
	needed, err := neededBases(d.root)
	if err != nil {
		return err
	}
	delete(needed, d.manifest.ID)
	for _, b := range d.src.Bases {
		if needed[b.ID] {
			d.manifest.Bases = append(d.manifest.Bases, b)
			delete(needed, b.ID)
		}
	}
	if len(needed) > 0 {
		return fmt.Errorf("%w: there are layers of %d snapshots that the engine was not forked from", ErrDamaged, len(needed))
	}
	return nil
}
