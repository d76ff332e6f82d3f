package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/berth-dev/berth/internal/cgroup"
	"github.com/berth-dev/berth/internal/ids"
	"github.com/berth-dev/berth/internal/linux"
	"github.com/berth-dev/berth/internal/state"
)

// withAllocation runs f while no other process chooses ids, names or slots, or removes what
// engines have in common.
func (m *Manager) withAllocation(ctx context.Context, f func() error) error {
	lock, err := linux.Lock(ctx, m.paths.AllocateLock())
	if err != nil {
		return fmt.Errorf("wait for other engines to be allocated: %w", err)
	}
	defer lock.Close()
	return f()
}

// allocate gives the engine its id, name, slot and id range, its directory and its lock.
func (l *launch) allocate(ctx context.Context) error {
	return l.m.withAllocation(ctx, func() error {
		others, err := l.m.List(ctx)
		if err != nil {
			return err
		}
		if l.info.ID == "" {
			if err := l.choose(others); err != nil {
				return err
			}
			if err := l.pinSnapshot(ctx); err != nil {
				return err
			}
		} else if err := l.takeUp(); err != nil {
			return err
		}
		l.info.Socket = l.m.paths.Socket(l.info.ID)
		l.info.Data = l.m.paths.Data(l.info.ID)
		if l.info.Log = l.m.paths.Log(l.info.ID); l.info.Spec.Keep {
			l.info.Log = l.m.paths.KeptLog(l.info.ID)
		}
		l.m.nest.place(&l.info)
		return l.publish()
	})
}

// takeUp makes sure that a stopped engine still is one, now that nobody else can start it, freeze
// it or remove it, and takes over what it shares with snapshots by now.
func (l *launch) takeUp() error {
	now, err := l.m.read(l.info.ID)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s was removed meanwhile", ErrNotFound, l.info.Name)
	}
	if err != nil {
		return err
	}
	if now.Status != StatusStopped {
		return fmt.Errorf("%w: %s is %s by now", ErrRunning, l.info.Name, now.Status)
	}
	l.info.Bases = now.Bases
	return nil
}

// publish makes the engine's directory appear with its record in it and its lock held: one
// without would be taken for a dead engine.
func (l *launch) publish() error {
	partial := l.m.paths.Partial(l.info.ID)
	if err := os.Mkdir(partial, 0o700); err != nil {
		return fmt.Errorf("make the engine's directory: %w", err)
	}
	err := writeRecord(filepath.Join(partial, filepath.Base(l.m.paths.Record(l.info.ID))), &l.info)
	if err == nil {
		l.lock, err = linux.TryLock(filepath.Join(partial, filepath.Base(l.m.paths.Lock(l.info.ID))))
	}
	if err == nil {
		err = os.Rename(partial, l.m.paths.Engine(l.info.ID))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("make the engine's directory: %w", err), os.RemoveAll(partial))
	}
	l.made = true
	if l.info.Spec.Keep {
		if err := os.MkdirAll(l.m.paths.StateEngine(l.info.ID), 0o711); err != nil {
			return fmt.Errorf("make the engine's directory: %w", err)
		}
		return writeRecord(l.m.paths.KeptRecord(l.info.ID), &l.info)
	}
	return nil
}

// removePartial removes what was left of engines whose directory somebody made or removed
// who was killed.
func (m *Manager) removePartial(ctx context.Context) error {
	left, err := filepath.Glob(m.paths.Partial("*"))
	if err != nil || len(left) == 0 {
		return err
	}
	return m.withAllocation(ctx, func() error {
		// Nobody is at it now: what is still there is nobody's.
		var errs []error
		for _, dir := range left {
			parent := ""
			if info, err := readRecord(filepath.Join(dir, filepath.Base(m.paths.Record("")))); err == nil {
				parent = info.CgroupParent
			}
			errs = append(errs, m.dissolve(ctx, dir, parent))
		}
		return errors.Join(errs...)
	})
}

// choose fills in what a new engine is known by.
func (l *launch) choose(others []Info) error {
	var b [6]byte
	if _, err := rand.Read(b[:]); err != nil {
		return err
	}
	l.info.ID, l.info.Name, l.info.Created = hex.EncodeToString(b[:]), l.info.Spec.Name, time.Now()
	if l.info.Name == "" {
		l.info.Name = l.info.ID
	}
	taken := map[int]bool{}
	for _, o := range others {
		if o.Name == l.info.Name {
			return fmt.Errorf("%w: engine %s has the name %q; choose another or `berth rm %s`", ErrNameTaken, o.ID, o.Name, o.Name)
		}
		taken[o.Slot] = true
	}
	for range ids.Slots {
		slot := mathrand.IntN(ids.Slots)
		if r, ok := l.host.Slot(slot); ok && !taken[slot] {
			l.info.Slot = slot
			if l.info.Spec.Isolation == IsolationUserNS {
				l.info.IDs = &r
			}
			return nil
		}
	}
	return errors.New("allocate ids for the engine: every range from 524288 to 1879048191 is taken by engines or by /etc/subuid; remove some")
}

// release removes the engine's directory, and what engines have in common when it was the last.
// The directory goes at once: who found it without its record could not tell whose it is.
func (m *Manager) release(ctx context.Context, info *Info) error {
	return m.withAllocation(ctx, func() error {
		partial := m.paths.Partial(info.ID)
		err := os.RemoveAll(partial) // of one who was killed here
		if err == nil {
			err = ignoreNotExist(os.Rename(m.paths.Engine(info.ID), partial))
		}
		if err != nil {
			return fmt.Errorf("remove the engine's directory: %w", err)
		}
		return m.dissolve(ctx, partial, info.CgroupParent)
	})
}

// dissolve removes a directory that is out of the others' sight. The record in it tells what else is
// to be removed, which therefore goes first.
func (m *Manager) dissolve(ctx context.Context, partial, parent string) error {
	if err := m.removeGroups(ctx, parent); err != nil {
		return err
	}
	if err := os.RemoveAll(partial); err != nil {
		return fmt.Errorf("remove the engine's directory: %w", err)
	}
	return nil
}

// removeGroups removes the control groups that engines have in common and that none is in any more.
func (m *Manager) removeGroups(ctx context.Context, parent string) error {
	entries, err := os.ReadDir(m.paths.Engines())
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return state.IDPattern().MatchString(e.Name()) }) {
		err = cgroup.RemoveEmpty(parent + m.paths.Cgroup())
		if parent != "" && m.nest == nil {
			err = errors.Join(err, cgroup.RemoveEmpty(m.paths.Cgroup()))
		}
		return err
	}
	if parent == "" {
		return nil // whatever is left may be there
	}
	others, err := m.List(ctx)
	if err != nil || slices.ContainsFunc(others, func(o Info) bool { return o.CgroupParent == parent && o.Status != StatusStopped }) {
		return err
	}
	return cgroup.RemoveEmpty(parent + m.paths.Cgroup())
}
