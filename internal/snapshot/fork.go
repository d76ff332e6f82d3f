package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/ids"
	"github.com/berth-dev/berth/internal/snapshot/layers"
	"github.com/berth-dev/berth/internal/snapshot/tree"
)

// Forking says what a fork is to be.
type Forking struct {
	Data      string    // its data root: an empty directory, owned by the engine's root
	IDs       ids.Range // of its engine
	Isolation string
	NoVolumes bool   // leave the snapshot's volumes out
	Bounded   bool   // a project quota bounds the data root: what is linked there does not count for it
	Driver    string // name of the way to share layers; empty: the best that works
}

// Forked says what has become of it.
type Forked struct {
	Driver string
	Mounts []layers.Base // to be mounted in the engine, read-only, owners shifted to its ids
}

// Fork fills a data root with what is in a snapshot. Its cost grows with the number of
// images and layers, and with the bytes of volumes and build caches in use. The snapshot
// must not be removed meanwhile, nor as long as there is a fork with mounts. If ctx is
// cancelled, or there is an error, the data root is of no use.
func (s *Store) Fork(ctx context.Context, m *Manifest, f Forking) (Forked, error) {
	out, err := s.fork(ctx, m, f)
	if err != nil {
		return out, fmt.Errorf("fork snapshot %s: %w", m.Ref(), err)
	}
	return out, nil
}

func (s *Store) fork(ctx context.Context, m *Manifest, f Forking) (Forked, error) {
	var out Forked
	if err := m.Fits(f.Isolation); err != nil {
		return out, err
	}
	bases, err := s.Bases(ctx, m)
	if err != nil {
		return out, err
	}
	driver, err := s.choose(ctx, f, bases)
	if err != nil {
		return out, err
	}
	out.Driver = driver.Name()
	from, err := os.Open(filepath.Join(s.Dir(m), dataDir))
	if err != nil {
		return out, err
	}
	defer from.Close()
	root, err := os.OpenRoot(f.Data)
	if err != nil {
		return out, err
	}
	defer root.Close()
	to, err := root.Open(".")
	if err != nil {
		return out, err
	}
	defer to.Close()
	skip := func(string) bool { return false }
	if f.NoVolumes {
		skip = func(rel string) bool { return rel == volumesDir }
	}
	if err := tree.Copy(ctx, from, to, tree.Options{From: m.IDs, To: f.IDs, Link: isBlob, LinkOutside: f.Bounded, Skip: skip}); err != nil {
		return out, err
	}
	snapshots, err := root.OpenFile(layersDir, unix.O_DIRECTORY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil // a snapshot without images
	}
	if err != nil {
		return out, err
	}
	defer snapshots.Close()
	out.Mounts, err = driver.Provide(ctx, snapshots, bases, f.IDs)
	return out, err
}

// Fits says why an engine with that isolation cannot be a fork, or nil.
func (m *Manifest) Fits(isolation string) error {
	if m.Isolation == isolation {
		return nil
	}
	return fmt.Errorf("%w: %s was made with --isolation %s, and layers keep whiteouts differently with %s; make a snapshot with --isolation %s",
		ErrUnfit, m.Ref(), m.Isolation, isolation, isolation)
}

// choose tries the ways of sharing. That layers are copied in full is said aloud.
func (s *Store) choose(ctx context.Context, f Forking, bases []layers.Base) (layers.Driver, error) {
	var reasons []string
	for _, d := range s.drivers {
		if f.Driver != "" && f.Driver != d.Name() {
			continue
		}
		err := d.Try(ctx, f.Data, bases, f.IDs)
		if err == nil {
			if len(reasons) > 0 {
				s.log.Warn("layers are not shared as well as could be", "driver", d.Name(), "because", strings.Join(reasons, "; "))
			}
			return d, nil
		}
		reasons = append(reasons, d.Name()+": "+err.Error())
	}
	if len(reasons) == 0 {
		return nil, fmt.Errorf("there is no way of sharing called %q; there are link, reflink and copy", f.Driver)
	}
	return nil, fmt.Errorf("%w: %s", ErrUnfit, strings.Join(reasons, "; "))
}
