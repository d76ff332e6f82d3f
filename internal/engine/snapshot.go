package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/berth-dev/berth/internal/bundle"
	"github.com/berth-dev/berth/internal/disklimit"
	"github.com/berth-dev/berth/internal/ids"
	"github.com/berth-dev/berth/internal/linux"
	"github.com/berth-dev/berth/internal/pid1"
	"github.com/berth-dev/berth/internal/snapshot"
	"github.com/berth-dev/berth/internal/snapshot/layers"
)

// Snapshots returns the snapshots that engines can be forks of.
func (m *Manager) Snapshots() *snapshot.Store {
	s := snapshot.Open(m.paths, m.log)
	s.After = m.fault.after
	return s
}

func checkFrom(s *Spec) error {
	if s.From == "" {
		if s.NoVolumes {
			return &SpecError{"--no-volumes", "it is for an engine made --from a snapshot"}
		}
		return nil
	}
	if _, err := snapshot.ParseRef(s.From); err != nil {
		return &SpecError{"--from", err.Error()}
	}
	return nil
}

// ownerIDs are the ids of an engine's files on disk.
func (i *Info) ownerIDs() ids.Range {
	if i.IDs != nil {
		return *i.IDs
	}
	return ids.Range{First: 0, Size: math.MaxUint32}
}

// pinSnapshot chooses the version that a new engine is a fork of. From here on its record
// keeps the snapshot, and those it builds on, from being removed.
func (l *launch) pinSnapshot(ctx context.Context) error {
	spec := &l.info.Spec
	if spec.From == "" {
		return nil
	}
	ref, err := snapshot.ParseRef(spec.From)
	if err != nil {
		return err
	}
	store := l.m.Snapshots()
	man, err := store.Find(ref)
	if err != nil {
		return err
	}
	if err := man.Fits(string(spec.Isolation)); err != nil {
		return err
	}
	if man.Payload != l.info.Payload && man.Engine != "" {
		if err := checkVersion(man, engineVersion(l.info.Payload)); err != nil {
			return err
		}
	}
	spec.From = man.Ref().String()
	l.info.Bases, err = store.Bases(ctx, man)
	return err
}

// populate fills the data root of a fork. One that is started again has its data, and needs
// the layers that are not in it.
func (l *launch) populate(ctx context.Context) (err error) {
	store := l.m.Snapshots()
	if l.info.Revived {
		if l.info.Bases, err = store.Locate(ctx, l.info.Bases); err != nil {
			return fmt.Errorf("find the layers of %s: %w", l.info.Name, err)
		}
		return nil
	}
	if l.info.Spec.From == "" {
		return nil
	}
	ref, err := snapshot.ParseRef(l.info.Spec.From)
	if err != nil {
		return err
	}
	man, err := store.Find(ref)
	if err != nil {
		return err
	}
	var forked snapshot.Forked
	err = l.withinDisk(func() (err error) {
		forked, err = store.Fork(ctx, man, snapshot.Forking{
			Data: l.info.Data, IDs: l.info.ownerIDs(), Isolation: string(l.info.Spec.Isolation),
			NoVolumes: l.info.Spec.NoVolumes, Bounded: l.info.DiskLimit == disklimit.Quota, Driver: os.Getenv(EnvDriver),
		})
		return err
	})
	if err != nil {
		return err
	}
	l.info.Bases, l.info.Sharing = forked.Mounts, forked.Driver
	return nil
}

// EnvDriver names the way in which a fork is to share layers: link, reflink or copy. It is
// for tests; the best that works is chosen by itself.
const EnvDriver = "BERTH_SNAPSHOT_DRIVER"

// baseMounts are the layers that the engine shares with others.
func (l *launch) baseMounts(root string) ([]bundle.Share, error) {
	var out []bundle.Share
	to := l.info.ownerIDs()
	for _, b := range l.info.Bases {
		if err := os.MkdirAll(filepath.Join(root, b.Path()), 0o755); err != nil {
			return nil, fmt.Errorf("make the engine's root: %w", err)
		}
		share := bundle.Share{Source: b.Dir, Path: b.Path(), ReadOnly: true}
		if b.IDs != to {
			share.UIDs = []specs.LinuxIDMapping{{ContainerID: b.IDs.First, HostID: to.First, Size: min(b.IDs.Size, to.Size)}}
			share.GIDs = share.UIDs
		}
		out = append(out, share)
	}
	return out, nil
}

// restrictedBases makes sure that no remount inside the engine makes a layer writable: it
// belongs to the engine's root there, and to other engines' as well.
func (l *launch) restrictedBases() []linux.Restricted {
	var out []linux.Restricted
	for _, b := range l.info.Bases {
		out = append(out, linux.Restricted{Path: b.Dir, ReadOnly: true})
	}
	return out
}

// collectSnapshots takes back snapshots whose maker was killed.
func (m *Manager) collectSnapshots(ctx context.Context) error {
	_, err := m.Snapshots().Collect(ctx, func(id, base string) error {
		path := m.paths.KeptRecord(id)
		info, err := readRecord(path)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		info.Bases = slices.DeleteFunc(info.Bases, func(b layers.Base) bool { return b.ID == base })
		return writeRecord(path, info)
	})
	return err
}

// RemoveSnapshot removes a version of a snapshot, or all if ref names none. It returns
// *[snapshot.InUseError] when an engine or another snapshot needs one of them.
func (m *Manager) RemoveSnapshot(ctx context.Context, ref snapshot.Ref) ([]snapshot.Ref, error) {
	if err := m.paths.Prepare(); err != nil {
		return nil, err
	}
	m.collectFirst(ctx)
	var removed []snapshot.Ref
	err := m.withAllocation(ctx, func() error {
		engines, err := m.List(ctx)
		if err != nil {
			return err
		}
		removed, err = m.Snapshots().Remove(ctx, ref, func(id string) []string { return forksOf(engines, id) })
		return err
	})
	if len(removed) > 0 {
		m.warn("delete snapshot", &Info{}, m.sweepDetached())
	}
	return removed, err
}

func forksOf(engines []Info, base string) []string {
	var out []string
	for _, e := range engines {
		if slices.ContainsFunc(e.Bases, func(b layers.Base) bool { return b.ID == base }) {
			out = append(out, e.Name)
		}
	}
	return out
}

// Freezing says what a snapshot of an engine is to be.
type Freezing struct {
	Name       string
	Sources    []string // what it is made of, for people
	Containers bool     // containers travel as well
	Stop       bool     // stop the engine for it if it runs
}

// source is what is frozen of the engine.
func (f Freezing) source(i *Info) snapshot.Source {
	src := i.source()
	src.Containers = f.Containers
	return src
}

// Freeze stops the engine and makes a snapshot of what it holds. The engine is gone
// afterwards, also if there is an error or ctx is cancelled.
func (e *Engine) Freeze(ctx context.Context, f Freezing) (*snapshot.Manifest, error) {
	man, err := e.freeze(ctx, f)
	return man, errors.Join(err, e.end(context.WithoutCancel(ctx), false, nil))
}

func (e *Engine) freeze(ctx context.Context, f Freezing) (*snapshot.Manifest, error) {
	if err := e.monitor.send(pid1.Message{Stop: true}); err != nil {
		return nil, fmt.Errorf("stop the engine: %w", err)
	}
	select {
	case <-e.monitor.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	// Its databases are whole only if it ended of its own accord.
	if !e.monitor.stoppedCleanly() {
		return nil, e.monitor.reason()
	}
	if err := e.m.killContainer(ctx, &e.info); err != nil {
		return nil, err
	}
	return e.m.Snapshots().Freeze(ctx, f.Name, f.Sources, f.source(&e.info))
}

func (mon *monitor) stoppedCleanly() bool {
	mon.mu.Lock()
	defer mon.mu.Unlock()
	return mon.exited != nil && mon.exited.Code == 0 && mon.exited.Reason == ""
}

func (i *Info) source() snapshot.Source {
	return snapshot.Source{
		Data: i.Data, IDs: i.ownerIDs(), Isolation: string(i.Spec.Isolation), Bases: i.Bases, Payload: i.Payload,
		Engine: engineVersion(i.Payload), Apart: i.Spec.Limits.Disk > 0,
	}
}

// stopPatience is how long an engine has to stop for a snapshot. dockerd is done before, unless
// it hangs or a container was given longer (docker run --stop-timeout).
const stopPatience = 5 * time.Minute

// FreezeEngine makes a snapshot of an engine. One that is stopped becomes a fork of it, which
// copies nothing. One that runs stands still for a moment, and what it has made is copied; with
// f.Stop it is stopped for the moment instead and started again, also if no snapshot was made
// or ctx is cancelled. It returns [ErrRunning] for one that is neither.
func (m *Manager) FreezeEngine(ctx context.Context, ref string, f Freezing) (*snapshot.Manifest, error) {
	if err := m.paths.Prepare(); err != nil {
		return nil, err
	}
	m.collectFirst(ctx)
	info, err := m.Find(ctx, ref)
	if err != nil {
		return nil, err
	}
	switch {
	case info.Status == StatusStopped:
		return m.freezeStopped(ctx, info, f)
	case info.Status != StatusRunning:
		return nil, fmt.Errorf("%w: %s is %s; try again when it runs or is stopped", ErrRunning, info.Name, info.Status)
	case f.Stop:
		return m.freezeBetween(ctx, info.ID, f)
	}
	return m.freezeLive(ctx, info, f)
}

// freezeBetween stops an engine, makes the snapshot and starts it again.
func (m *Manager) freezeBetween(ctx context.Context, id string, f Freezing) (*snapshot.Manifest, error) {
	if err := m.Stop(ctx, id, stopPatience); err != nil {
		return nil, err
	}
	info, err := m.Find(ctx, id)
	if err != nil {
		return nil, err
	}
	man, err := m.freezeStopped(ctx, info, f)
	if _, startErr := m.StartStopped(context.WithoutCancel(ctx), id); startErr != nil {
		err = errors.Join(err, fmt.Errorf("start %s again: %w", info.Name, startErr))
	}
	return man, err
}

// freezeLive makes a snapshot of a running engine.
func (m *Manager) freezeLive(ctx context.Context, info Info, f Freezing) (*snapshot.Manifest, error) {
	p, err := m.pauses(ctx, &info)
	if err != nil {
		return nil, err
	}
	defer p.close()
	src := f.source(&info)
	src.Live = p
	return m.Snapshots().Freeze(ctx, f.Name, f.Sources, src)
}

func (m *Manager) freezeStopped(ctx context.Context, info Info, f Freezing) (_ *snapshot.Manifest, err error) {
	l := &launch{m: m, info: info}
	l.info.Status, l.info.Net, l.info.NetNS = StatusStopping, nil, NetNS{}
	if l.info.Monitor, err = self(); err != nil {
		return nil, err
	}
	// Its directory and lock keep everybody else from the engine.
	err = m.withAllocation(ctx, func() error {
		if err := l.takeUp(); err != nil {
			return err
		}
		return l.publish()
	})
	if err != nil {
		return nil, err
	}
	info.Bases = l.info.Bases
	defer func() {
		m.warn("let go of engine", &info, m.release(context.WithoutCancel(ctx), &info))
		l.lock.Close()
	}()
	if info.Spec.Limits.Disk > 0 {
		if err := m.mountDisk(&info); err != nil {
			return nil, err
		}
		defer func() { m.warn("let go of the engine's disk", &info, m.leaveData(&info)) }()
		return m.Snapshots().Freeze(ctx, f.Name, f.Sources, f.source(&info))
	}
	src := f.source(&info)
	src.Owner, src.Adopt = info.ID, func(b layers.Base) (func() error, error) {
		before := slices.Clone(info.Bases)
		info.Bases = append(info.Bases, b)
		undo := func() error { info.Bases = before; return writeRecord(m.paths.KeptRecord(info.ID), &info) }
		return undo, writeRecord(m.paths.KeptRecord(info.ID), &info)
	}
	return m.Snapshots().Freeze(ctx, f.Name, f.Sources, src)
}
