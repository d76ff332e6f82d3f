package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/berth-dev/berth/internal/snapshot/artifact"
	"github.com/berth-dev/berth/internal/snapshot/layers"
	"github.com/berth-dev/berth/internal/snapshot/tree"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// unpack makes the tree in a directory of the draft that does not exist yet.
func (i *importer) unpack(ctx context.Context, t artifact.Tree, dir string) error {
	if err := i.root.Mkdir(dir, 0o700); err != nil {
		return err
	}
	to, err := i.root.Open(dir)
	if err != nil {
		return err
	}
	defer to.Close()
	r, part, err := i.open(ctx, t.Blob)
	if err != nil {
		return err
	}
	defer r.Close()
	v := artifact.Verify(ctx, r, part)
	z, err := zstd.NewReader(v, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(64<<20))
	if err != nil {
		return err
	}
	defer z.Close()
	bounded := io.LimitReader(z, t.Unpacked)
	err = tree.Unpack(ctx, bounded, to, tree.Unpacking{IDs: i.o.IDs, Marks: marks(i.o.Isolation)})
	if err == nil {
		_, err = io.Copy(io.Discard, bounded)
	}
	// What does not have its digest is of no interest otherwise.
	return errors.Join(v.Close(), err)
}

func (i *importer) unpackData(ctx context.Context) error {
	if err := i.unpack(ctx, i.in.Config.Data, dataDir); err != nil {
		return fmt.Errorf("unpack its metadata: %w", err)
	}
	return i.checkData()
}

func (i *importer) unpackLayers(ctx context.Context) error {
	if err := i.makeLayersDir(); err != nil {
		return err
	}
	if len(i.in.Config.Layers) == 0 {
		return nil
	}
	places, err := i.root.OpenFile(filepath.Join(dataDir, layersDir), unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("%w: it has layers and no place for them: %w", artifact.ErrNotSnapshot, err)
	}
	defer places.Close()
	bases := map[string]bool{}
	for _, l := range i.in.Config.Layers {
		target := layers.Link(i.manifest.ID, l.Name)
		if have, ok := i.here.layers[l.Blob]; ok {
			target = layers.Link(have.base.ID, have.name)
			if !bases[have.base.ID] {
				bases[have.base.ID] = true
				i.manifest.Bases = append(i.manifest.Bases, have.base)
			}
		} else if err := i.unpack(ctx, l, filepath.Join(ownLayers, l.Name)); err != nil {
			return fmt.Errorf("unpack layer %s: %w", l.Name, err)
		} else {
			i.manifest.Layers = append(i.manifest.Layers, Layer{Name: l.Name})
		}
		if err := link(places, l.Name, target, i.o.IDs); err != nil {
			return err
		}
		if err := i.store.after("import-layer"); err != nil {
			return err
		}
	}
	return nil
}

// checkData makes sure that data holds what a snapshot's does. Layers and blobs come with
// digests of their own, and a link to a layer would be one to somebody else's.
func (i *importer) checkData() error {
	root, err := i.root.OpenRoot(dataDir)
	if err != nil {
		return err
	}
	defer root.Close()
	strange := func(rel string) error {
		return fmt.Errorf("%w: there is %q in its metadata", artifact.ErrNotSnapshot, rel)
	}
	return fs.WalkDir(root.FS(), ".", func(rel string, e fs.DirEntry, err error) error {
		inPlace := filepath.Dir(rel) == layersDir
		switch {
		case err != nil:
			return err
		case leftOut(rel, i.in.Config.Containers) || isBlob(rel) || inPlace && !(e.IsDir() && layers.NamePattern().MatchString(e.Name())):
			return strange(rel)
		case e.Type()&fs.ModeSymlink != 0:
			return strange(rel) // there are links in what is the engine's only
		case inPlace || rel == volumesDir || rel == containersDir || rel == snapshotterFile:
			if e.IsDir() {
				return fs.SkipDir // what is further down is the engine's
			}
		case rel == layersDir || rel == blobsDir || filepath.Dir(rel) == containerdRoot:
			if !e.IsDir() {
				return strange(rel)
			}
		}
		return nil
	})
}
