package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/berth-dev/berth/internal/linux"
	"github.com/berth-dev/berth/internal/state"
)

// save writes the record for other processes to find. The file is whole at every moment.
func (m *Manager) save(info *Info) error {
	if err := writeRecord(m.paths.Record(info.ID), info); err != nil {
		return err
	}
	if info.Spec.Keep {
		return writeRecord(m.paths.KeptRecord(info.ID), info)
	}
	return nil
}

// writeRecord does not make the record's directory: an engine that is gone stays so.
func writeRecord(path string, info *Info) error {
	b, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return err
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("record engine %s: %w", info.Name, err)
	}
	return os.Rename(tmp, path)
}

func readRecord(path string) (*Info, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	info := &Info{}
	if err := json.Unmarshal(b, info); err != nil {
		return nil, fmt.Errorf("read %s: %w; remove the engine with `berth gc`", path, err)
	}
	return info, nil
}

// List returns all engines, the dead and the stopped ones among them, oldest first.
func (m *Manager) List(ctx context.Context) ([]Info, error) {
	ids, err := m.ids()
	if err != nil {
		return nil, err
	}
	var out []Info
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		info, err := m.read(id)
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone meanwhile
		}
		if err != nil {
			return nil, err
		}
		out = append(out, *info)
	}
	slices.SortFunc(out, func(a, b Info) int { return a.Created.Compare(b.Created) })
	return out, nil
}

// ids lists the ids of all engines that have a directory in one of the two roots.
func (m *Manager) ids() ([]string, error) {
	seen := map[string]bool{}
	for _, dir := range []string{m.paths.Engines(), m.paths.StateEngines()} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("list engines: %w", err)
		}
		for _, e := range entries {
			if state.IDPattern().MatchString(e.Name()) {
				seen[e.Name()] = true
			}
		}
	}
	ids := make([]string, 0, len(seen))
	for id := range seen {
		ids = append(ids, id)
	}
	return ids, nil
}

// read returns the record of one engine with its present status: what the lock says counts
// for more than what was written. It returns fs.ErrNotExist for an engine that is gone.
func (m *Manager) read(id string) (*Info, error) {
	locked, err := linux.Locked(m.paths.Lock(id))
	if err != nil {
		return nil, err
	}
	info, err := readRecord(m.paths.Record(id))
	switch {
	case err == nil && !locked:
		info.Status = StatusDead
	case errors.Is(err, fs.ErrNotExist):
		if _, statErr := os.Stat(m.paths.Engine(id)); statErr == nil {
			// Killed, or at work, before its record was written.
			info = &Info{ID: id, Name: id, Status: StatusDead, CgroupParent: m.nest.cgroupParent()}
			if locked {
				info.Status = StatusStarting
			}
			return info, nil
		}
		if info, err = readRecord(m.paths.KeptRecord(id)); err == nil {
			info.Status, info.Monitor, info.Init = StatusStopped, Process{}, Process{}
		} else if errors.Is(err, fs.ErrNotExist) {
			if _, statErr := os.Stat(m.paths.StateEngine(id)); statErr == nil {
				return &Info{ID: id, Name: id, Status: StatusDead}, nil // an orphaned data root
			}
		}
	}
	return info, err
}

// Find returns the engine with that name or id, or whose id alone begins with ref. The
// error wraps [ErrNotFound] when there is none, and says so when there are several.
func (m *Manager) Find(ctx context.Context, ref string) (Info, error) {
	all, err := m.List(ctx)
	if err != nil {
		return Info{}, err
	}
	var prefixed []Info
	for _, i := range all {
		if i.Name == ref || i.ID == ref {
			return i, nil
		}
		if ref != "" && strings.HasPrefix(i.ID, ref) {
			prefixed = append(prefixed, i)
		}
	}
	switch len(prefixed) {
	case 1:
		return prefixed[0], nil
	case 0:
		return Info{}, fmt.Errorf("%w: %s; `berth ls` shows those there are", ErrNotFound, ref)
	}
	return Info{}, fmt.Errorf("%w: the id %s… fits %d engines; give more of it", ErrNotFound, ref, len(prefixed))
}

// running is Find for an engine that must be usable.
func (m *Manager) running(ctx context.Context, ref string) (Info, error) {
	info, err := m.Find(ctx, ref)
	if err == nil && info.Status != StatusRunning {
		err = fmt.Errorf("%w: %s is %s; `berth start %s` starts a stopped one", ErrNotRunning, info.Name, info.Status, info.Name)
	}
	return info, err
}
