package snapshot

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/berth-dev/berth/internal/linux"
)

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
	paused   bool         // the source's processes stand still
	undo     func() error // of Adopt
}

// newDraft makes an empty one.
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
	if err == nil && src.Data != "" {
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
