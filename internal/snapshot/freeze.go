package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/ids"
	"github.com/berth-dev/berth/internal/linux"
	"github.com/berth-dev/berth/internal/snapshot/layers"
	"github.com/berth-dev/berth/internal/snapshot/tree"
)

// Source is a data root to freeze. No process uses it: its engine was stopped cleanly.
type Source struct {
	Data      string // the data root
	IDs       ids.Range
	Isolation string
	Bases     []layers.Base // what the engine is a fork of, if that is mounted in it
	Payload   string
	Engine    string
	// Adopt says that the data root will be used again: its engine becomes a fork of the
	// snapshot, for its layers go there and links take their places. Before the first layer
	// goes, Adopt is told the new base, which the engine needs from then on; what it returns
	// takes that back. nil: the data root is thrown away afterwards.
	Adopt func(layers.Base) (undo func() error, err error)
	// Owner is what Adopt's engine is known by, to [Store.Collect] after a crash.
	Owner string
}

// Freeze makes a snapshot of a data root, and the next version if the name exists. The time
// it takes does not depend on the size of layers and blobs. If ctx is cancelled or a step
// fails, nothing of it is left and the data root is as before; after a crash [Store.Collect]
// sees to that.
func (s *Store) Freeze(ctx context.Context, name string, sources []string, src Source) (*Manifest, error) {
	d, err := s.newDraft(ctx, src)
	if err != nil {
		return nil, fmt.Errorf("make snapshot %s: %w", name, err)
	}
	defer d.close()
	d.manifest.Name, d.manifest.Sources = name, sources
	err = d.fill(ctx)
	if err == nil {
		err = s.publish(ctx, d.dir, &d.manifest)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make snapshot %s: %w", name, err), d.abandon())
	}
	return &d.manifest, nil
}

// draft is a snapshot in the making.
type draft struct {
	store    *Store
	src      Source
	dir      string
	lock     *os.File
	data     *os.Root // the source
	root     *os.Root // dir
	kinds    map[string]layerKind
	manifest Manifest
	undo     func() error // of Adopt
}

func (s *Store) newDraft(ctx context.Context, src Source) (d *draft, err error) {
	id, err := newID()
	if err != nil {
		return nil, err
	}
	d = &draft{store: s, src: src, dir: s.newDir(id), manifest: Manifest{
		Format: format, ID: id, Created: time.Now().UTC().Truncate(time.Second),
		Isolation: src.Isolation, IDs: src.IDs, Payload: src.Payload, Engine: src.Engine,
	}}
	// Under the lock, so that no collector sees it without its own.
	err = s.lock(ctx, func() error {
		if err := os.Mkdir(d.dir, 0o711); err != nil {
			return err
		}
		d.lock, err = linux.TryLock(filepath.Join(d.dir, lockFile))
		return err
	})
	if err == nil {
		d.data, err = os.OpenRoot(src.Data)
	}
	if err == nil {
		d.root, err = os.OpenRoot(d.dir)
	}
	if err != nil {
		return nil, errors.Join(err, d.abandon())
	}
	return d, nil
}

func (d *draft) close() {
	for _, r := range []*os.Root{d.data, d.root} {
		if r != nil {
			r.Close()
		}
	}
	if d.lock != nil {
		d.lock.Close()
	}
}

// abandon takes everything back.
func (d *draft) abandon() error {
	defer d.close()
	if d.lock == nil {
		return os.RemoveAll(d.dir)
	}
	return d.store.takeBack(d.dir, d.undo)
}

func (d *draft) fill(ctx context.Context) error {
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"copy", d.copyData}, {"prune", d.prune}, {"move", d.moveLayers}, {"seal", d.sealBlobs}, {"describe", d.describe},
	} {
		if err := step.do(ctx); err != nil {
			return err
		}
		if err := d.store.after("freeze-" + step.name); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// copyData copies all that travels, but layers.
func (d *draft) copyData(ctx context.Context) (err error) {
	if d.kinds, err = layerKinds(d.data); err != nil {
		return err
	}
	if err := d.root.Mkdir(dataDir, 0o700); err != nil {
		return err
	}
	from, err := d.data.Open(".")
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := d.root.Open(dataDir)
	if err != nil {
		return err
	}
	defer to.Close()
	return tree.Copy(ctx, from, to, tree.Options{
		From: d.src.IDs, To: d.src.IDs, Link: isBlob,
		Skip: func(rel string) bool { return leftOut(rel) || d.leftOutLayer(rel) },
	})
}

// leftOutLayer reports whether rel is a directory of the snapshotter that is not copied:
// layers are moved, and what containers had stays.
func (d *draft) leftOutLayer(rel string) bool {
	if path.Dir(rel) != layersDir {
		return false
	}
	switch d.kinds[path.Base(rel)] {
	case active:
		return false
	case committed:
		info, err := d.data.Lstat(rel)
		return err == nil && info.IsDir() // and not the link to a base's
	}
	return true
}

func (d *draft) prune(context.Context) error {
	data, err := d.root.OpenRoot(dataDir)
	if err != nil {
		return err
	}
	defer data.Close()
	return dropContainers(data)
}

// moveLayers moves the layers here that the engine has made, and leaves links in the copy
// and, if the data root is used again, there as well.
func (d *draft) moveLayers(ctx context.Context) error {
	if err := d.root.Mkdir(ownLayers, 0o711); err != nil {
		return err
	}
	owner := int(d.src.IDs.First)
	if err := d.root.Lchown(ownLayers, owner, owner); err != nil {
		return err
	}
	from, err := d.data.Open(layersDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it never held an image
	}
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
	entries, err := from.ReadDir(-1)
	if err != nil {
		return err
	}
	if err := d.adopt(); err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if name := e.Name(); d.kinds[name] == committed && e.IsDir() && layers.NamePattern.MatchString(name) {
			if err := d.moveLayer(from, links, to, name); err != nil {
				return fmt.Errorf("move layer %s: %w", name, err)
			}
			if err := d.store.after("freeze-layer"); err != nil {
				return err
			}
			d.manifest.Layers = append(d.manifest.Layers, Layer{Name: name})
		}
	}
	return d.keepBases(links)
}

// adopt notes that layers are about to leave a data root that will be used again.
func (d *draft) adopt() (err error) {
	if d.src.Adopt == nil {
		return nil
	}
	a := adoption{Owner: d.src.Owner, Data: d.src.Data, Base: d.manifest.ID}
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(d.dir, adoptFile), string(b)); err != nil {
		return err
	}
	d.undo, err = d.src.Adopt(layers.Base{ID: d.manifest.ID, Snapshot: d.manifest.Name, IDs: d.src.IDs})
	return err
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
func (d *draft) keepBases(links *os.File) error {
	names, err := os.ReadDir(links.Name())
	if err != nil {
		return err
	}
	needed := map[string]bool{}
	for _, e := range names {
		if e.Type()&fs.ModeSymlink == 0 {
			continue
		}
		target, err := os.Readlink(filepath.Join(links.Name(), e.Name()))
		if err != nil {
			return err
		}
		id, _, ok := layers.ParseLink(target)
		if !ok {
			return fmt.Errorf("layer %s is a link to %q, which berth did not make", e.Name(), target)
		}
		needed[id] = true
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

// sealBlobs makes blobs the host's: no engine can write to them, and as their directory
// belongs to each, all can forget them.
func (d *draft) sealBlobs(context.Context) error {
	dir, err := d.root.Open(filepath.Join(dataDir, blobsDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			return fmt.Errorf("blob %s is not a file", e.Name())
		}
		if err := unix.Fchownat(int(dir.Fd()), e.Name(), 0, 0, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return &os.PathError{Op: "chown", Path: e.Name(), Err: err}
		}
		if err := unix.Fchmodat(int(dir.Fd()), e.Name(), 0o444, 0); err != nil {
			return &os.PathError{Op: "chmod", Path: e.Name(), Err: err}
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		d.manifest.Size.Blobs += info.Size()
	}
	return nil
}

// describe fills in the manifest.
func (d *draft) describe(ctx context.Context) error {
	data, err := d.root.OpenRoot(dataDir)
	if err != nil {
		return err
	}
	defer data.Close()
	m := &d.manifest
	if m.Images, err = images(data); err != nil {
		return err
	}
	if m.Volumes, err = volumes(data); err != nil {
		return err
	}
	slices.SortFunc(m.Layers, func(a, b Layer) int { return layerNumber(a.Name) - layerNumber(b.Name) })
	for i := range m.Layers {
		sum, err := digestOf(ctx, d.root, filepath.Join(ownLayers, m.Layers[i].Name))
		if err != nil {
			return err
		}
		m.Layers[i].Tree = sum.Digest
		m.Size.Layers += sum.Bytes
	}
	sum, err := digestOf(ctx, d.root, dataDir)
	m.Metadata, m.Size.Metadata = sum.Digest, sum.Bytes-m.Size.Blobs
	return err
}

func layerNumber(name string) int { n, _ := strconv.Atoi(name); return n }

func digestOf(ctx context.Context, root *os.Root, dir string) (tree.Sum, error) {
	f, err := root.Open(dir)
	if err != nil {
		return tree.Sum{}, err
	}
	defer f.Close()
	return tree.Digest(ctx, f, nil)
}

// volumes lists the volumes with names that people gave; dockerd's own are digits and letters.
func volumes(data *os.Root) ([]string, error) {
	dir, err := data.Open(volumesDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	var out []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			out = append(out, e.Name())
		}
	}
	slices.Sort(out)
	return out, err
}
