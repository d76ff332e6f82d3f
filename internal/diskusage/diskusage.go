// Package diskusage adds up what directories take on disk, and how much of it they have in
// common: a file with names in several of them is shared, and gone only with the last.
//
// Sizes are bytes on disk, not lengths of files. What file systems share between files of
// their own accord (reflinks) counts for each. The package knows nothing of engines.
package diskusage

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// Holder is somebody whose directories are looked at.
type Holder struct {
	Paths []string // directories or files; those that do not exist take nothing
	Known int64    // bytes that are known to be the holder's alone, without looking
}

// Use is what a holder takes.
type Use struct {
	Own    int64 // what would be free without it
	Shared int64 // what it has in common with others
}

// Measure returns what each holder takes, and all of them together: what is shared counts
// once there. Nothing is followed out of a directory: no link, no mount. What vanishes
// meanwhile does not count.
func Measure(ctx context.Context, holders []Holder) ([]Use, int64, error) {
	m := measure{ctx: ctx, uses: make([]Use, len(holders)), links: map[[2]uint64]*linked{}}
	for i, h := range holders {
		m.uses[i].Own = h.Known
		for _, path := range h.Paths {
			if err := m.look(i, path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, 0, err
			}
		}
	}
	return m.sum()
}

// linked is a file with more than one name.
type linked struct {
	bytes   int64
	holders map[int]bool
}

type measure struct {
	ctx   context.Context
	uses  []Use
	links map[[2]uint64]*linked // by device and inode
}

func (m *measure) look(holder int, path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	device := info.Sys().(*syscall.Stat_t).Dev
	if !info.IsDir() {
		m.add(holder, info)
		return nil
	}
	// Within a root: an engine may change what is in its directory as it likes meanwhile.
	root, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(_ string, e fs.DirEntry, err error) error {
		if ctxErr := m.ctx.Err(); ctxErr != nil {
			return ctxErr
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return nil // gone
		}
		if info.Sys().(*syscall.Stat_t).Dev != device {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		m.add(holder, info)
		return nil
	})
}

func (m *measure) add(holder int, info fs.FileInfo) {
	st := info.Sys().(*syscall.Stat_t)
	if info.IsDir() || st.Nlink < 2 {
		m.uses[holder].Own += st.Blocks * 512
		return
	}
	key := [2]uint64{st.Dev, st.Ino}
	if m.links[key] == nil {
		m.links[key] = &linked{st.Blocks * 512, map[int]bool{}}
	}
	m.links[key].holders[holder] = true
}

func (m *measure) sum() ([]Use, int64, error) {
	var total int64
	for _, l := range m.links {
		total += l.bytes
		for h := range l.holders {
			if len(l.holders) == 1 {
				m.uses[h].Own += l.bytes
				total -= l.bytes
			} else {
				m.uses[h].Shared += l.bytes
			}
		}
	}
	for _, u := range m.uses {
		total += u.Own
	}
	return m.uses, total, nil
}
