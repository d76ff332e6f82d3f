package snapshot

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/berth-dev/berth/internal/snapshot/layers"
	"golang.org/x/sys/unix"
)

// adoption is what a draft notes before it takes layers from a data root that stays.
type adoption struct {
	Owner string `json:"owner"` // the engine
	Data  string `json:"data"`  // its data root
	Base  string `json:"base"`  // id of the draft
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

func readAdoption(dir string) (*adoption, error) {
	b, err := os.ReadFile(filepath.Join(dir, adoptFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	a := &adoption{}
	if err == nil {
		err = json.Unmarshal(b, a)
	}
	return a, err
}

// returnLayers undoes draft.moveLayer, as far as that came.
func (a *adoption) returnLayers(from string) error {
	root, err := os.OpenRoot(a.Data)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the engine is gone
	}
	if err != nil {
		return err
	}
	defer root.Close()
	to, err := root.Open(layersDir)
	if err != nil {
		return err
	}
	defer to.Close()
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	found, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range found {
		name := e.Name()
		if link, err := root.Readlink(layersDir + "/" + name); err == nil && link == layers.Link(a.Base, name) {
			if err := unix.Unlinkat(int(to.Fd()), name, 0); err != nil {
				return os.NewSyscallError("unlinkat", err)
			}
		}
		if err := unix.Renameat(int(source.Fd()), name, int(to.Fd()), name); err != nil {
			return os.NewSyscallError("renameat", err)
		}
	}
	return nil
}
