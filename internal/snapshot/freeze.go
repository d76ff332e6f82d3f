package snapshot

import (
	"context"
	"errors"
	"fmt"
	"path"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/ids"
	"github.com/berth-dev/berth/internal/linux"
	"github.com/berth-dev/berth/internal/snapshot/layers"
	"github.com/berth-dev/berth/internal/snapshot/tree"
)

// Source is a data root to freeze. No process uses it, for its engine was stopped cleanly, or
// as long as Live says so.
type Source struct {
	Data      string // the data root
	IDs       ids.Range
	Isolation string
	Bases     []layers.Base // what the engine is a fork of, if that is mounted in it
	Payload   string
	Engine    string
	// Apart says that the data root has a file system or a quota of its own: what it holds is
	// copied, neither moved nor linked, and the data root stays as it is.
	Apart bool
	// Live has the processes stand still that use the data root. Layers are copied then, most
	// of them before that: who made them could write to those that move, by handles that it
	// has kept. What goes on afterwards has its data root as it was. nil: there are none.
	Live Live
	// Containers says that containers travel. They are stopped, as their engine is.
	Containers bool
	// Adopt says that the data root will be used again: its engine becomes a fork of the
	// snapshot, for its layers go there and links take their places. Before the first layer
	// goes, Adopt is told the new base, which the engine needs from then on; what it returns
	// takes that back. nil: the data root is thrown away afterwards.
	Adopt func(layers.Base) (undo func() error, err error)
	// Owner is what Adopt's engine is known by, to [Store.Collect] after a crash.
	Owner string
}

// Live is the processes that use a data root.
type Live interface {
	// Pause returns when all stand still. On an error they do not.
	Pause(context.Context) error
	// Resume has them go on. An error says that some went on before: what was read of the
	// data root meanwhile is of no use.
	Resume() error
}

// copies reports whether layers are copied and not moved.
func (s *Source) copies() bool { return s.Apart || s.Live != nil }

// Freeze makes a snapshot of a data root, and the next version if the name exists. The time
// it takes does not depend on the size of layers and blobs, unless the data root is apart or live. If ctx is cancelled or a step
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
	if d.paused {
		if went := src.Live.Resume(); went != nil {
			err = went // what else went wrong was for this reason
		}
	}
	if err == nil {
		err = s.publish(ctx, d.dir, &d.manifest)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make snapshot %s: %w", name, err), d.abandon())
	}
	return &d.manifest, nil
}

func (d *draft) fill(ctx context.Context) error {
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"pause", d.pause}, {"copy", d.copyData}, {"move", d.moveLayers}, {"resume", d.resume},
		{"prune", d.prune}, {"seal", d.sealBlobs}, {"describe", d.describe},
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
	if d.src.Live == nil { // else [draft.pause] has read them
		if d.kinds, err = layerKinds(d.data, snapshotterFile); err != nil {
			return err
		}
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
		From: d.src.IDs, To: d.src.IDs, Link: func(rel string) bool { return isBlob(rel) && (!d.src.Apart || d.isShared(rel)) },
		Skip: func(rel string) bool { return leftOut(rel, d.src.Containers) || d.leftOutLayer(rel) },
	})
}

// isShared reports whether a blob of a data root with a quota came from a snapshot by a link: it
// does not count for that quota, so may have another name here. What counts for it would go on
// doing so here, when its engine is gone.
func (d *draft) isShared(rel string) bool {
	f, err := d.data.OpenFile(rel, unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	project, err := linux.ProjectOf(f)
	return err == nil && project == 0
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
	case container:
		return !d.src.Containers
	case committed:
		info, err := d.data.Lstat(rel)
		return err == nil && info.IsDir() // and not the link to a base's
	}
	return true
}

func (d *draft) prune(context.Context) error {
	if err := d.dropRemoved(); err != nil || d.src.Containers {
		return err
	}
	data, err := d.root.OpenRoot(dataDir)
	if err != nil {
		return err
	}
	defer data.Close()
	return dropContainers(data)
}
