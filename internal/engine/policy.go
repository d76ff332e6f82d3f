package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/docker/go-units"
	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/snapshot"
)

// Policy says what may go beside what killed processes left. The zero value: nothing. Engines
// that run, their snapshots, and the latest version of each snapshot stay in any case.
type Policy struct {
	Snapshots time.Duration // versions made longer ago than this go
	Engines   time.Duration // engines stopped longer ago than this go
	// KeepFree has more versions go, the oldest first, until the file system has that many
	// bytes free.
	KeepFree int64
}

// Trimmed is what Trim removed.
type Trimmed struct {
	Stopped   []string `json:"stopped_engines,omitempty"` // names
	Snapshots []string `json:"snapshots,omitempty"`       // NAME@VERSION
	Free      int64    `json:"free"`                      // bytes, afterwards
}

// ErrTooFull says that a policy could not free as much as it was to.
var ErrTooFull = errors.New("too little is free")

// Trim carries the policy out. It returns when what was removed is off the disk.
func (m *Manager) Trim(ctx context.Context, p Policy, now time.Time) (t Trimmed, err error) {
	if p.Engines > 0 {
		if err := m.trimEngines(ctx, now.Add(-p.Engines), &t); err != nil {
			return t, err
		}
	}
	old, err := m.oldVersions(ctx)
	if err != nil {
		return t, err
	}
	var left []snapshot.Manifest
	for _, s := range old {
		if p.Snapshots == 0 || s.Created.After(now.Add(-p.Snapshots)) {
			left = append(left, s)
		} else if err := m.retire(ctx, s.Ref(), &t); err != nil {
			return t, err
		}
	}
	if err := m.Sweep(ctx, true); err != nil {
		return t, err
	}
	for t.Free, err = m.free(); err == nil && t.Free < p.KeepFree && len(left) > 0; t.Free, err = m.free() {
		if err := m.retire(ctx, left[0].Ref(), &t); err != nil {
			return t, err
		}
		left = left[1:]
		if err := m.Sweep(ctx, true); err != nil {
			return t, err
		}
	}
	if err == nil && t.Free < p.KeepFree {
		err = fmt.Errorf("%w on %s: %s of the %s asked for; what is left is in use or the latest of its name, see `berth disk`",
			ErrTooFull, m.paths.State, units.BytesSize(float64(t.Free)), units.BytesSize(float64(p.KeepFree)))
	}
	return t, err
}

// oldVersions are all snapshots but the latest of each name, the oldest first.
func (m *Manager) oldVersions(ctx context.Context) ([]snapshot.Manifest, error) {
	all, err := m.Snapshots().List(ctx)
	if err != nil {
		return nil, err
	}
	latest := map[string]int{}
	for _, s := range all {
		latest[s.Name] = max(latest[s.Name], s.Version)
	}
	all = slices.DeleteFunc(all, func(s snapshot.Manifest) bool { return s.Version == latest[s.Name] })
	slices.SortStableFunc(all, func(a, b snapshot.Manifest) int { return a.Created.Compare(b.Created) })
	return all, nil
}

// retire removes a version, unless an engine or somebody who reads it needs it.
func (m *Manager) retire(ctx context.Context, ref snapshot.Ref, t *Trimmed) error {
	err := m.withAllocation(ctx, func() error {
		users, err := m.snapshotUsers(ctx)
		if err != nil {
			return err
		}
		return m.Snapshots().Retire(ctx, ref, users)
	})
	if errors.Is(err, snapshot.ErrInUse) {
		m.log.Info("snapshot stays", "snapshot", ref.String(), "because", err)
		return nil
	}
	if err == nil {
		t.Snapshots = append(t.Snapshots, ref.String())
	}
	return err
}

func (m *Manager) snapshotUsers(ctx context.Context) (func(id string) []string, error) {
	engines, err := m.List(ctx)
	return func(id string) []string { return forksOf(engines, id) }, err
}

func (m *Manager) tidySnapshots(ctx context.Context) error {
	return m.withAllocation(ctx, func() error {
		users, err := m.snapshotUsers(ctx)
		if err != nil {
			return err
		}
		return m.Snapshots().Tidy(ctx, users)
	})
}

// trimEngines removes engines that were stopped before a time.
func (m *Manager) trimEngines(ctx context.Context, before time.Time, t *Trimmed) error {
	all, err := m.List(ctx)
	if err != nil {
		return err
	}
	for _, e := range all {
		if e.Status != StatusStopped {
			continue
		}
		// The record is written for the last time when the engine stops.
		info, err := os.Stat(m.paths.KeptRecord(e.ID))
		if err != nil || info.ModTime().After(before) {
			continue
		}
		if err := m.removeStopped(ctx, &e); err != nil {
			return err
		}
		t.Stopped = append(t.Stopped, e.Name)
	}
	return nil
}

// removeStopped removes an engine, unless somebody has started it meanwhile.
func (m *Manager) removeStopped(ctx context.Context, e *Info) error {
	return m.withAllocation(ctx, func() error {
		if _, err := os.Stat(m.paths.Engine(e.ID)); !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return m.dropData(ctx, e)
	})
}

// free is how many bytes the file system of the state directory has left.
func (m *Manager) free() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(m.paths.State, &st); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: m.paths.State, Err: err}
	}
	return int64(st.Bavail) * st.Bsize, nil
}
