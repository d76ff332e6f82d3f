// Package ids decides which user and group ids on the host stand for the ids inside an
// engine. It only reads /etc/subuid, /etc/subgid and the caller's own id map.
package ids

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/moby/sys/user"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Each engine has 65,536 ids from the range that systemd reserves for containers
// (systemd's "Users, Groups, UIDs and GIDs" document), aligned to 65,536.
const (
	Size  = 1 << 16
	First = 524288
	Slots = (1879048191 + 1 - First) / Size
)

// Range is a run of ids on the host.
type Range struct {
	First uint32 `json:"first"`
	Size  uint32 `json:"size"`
}

func (r Range) end() int64 { return int64(r.First) + int64(r.Size) }

func (r Range) overlaps(o Range) bool {
	return int64(r.First) < o.end() && int64(o.First) < r.end()
}

// Host is what of the machine decides about ids.
type Host struct {
	SubUIDs, SubGIDs []user.SubID
	Map              []user.IDMap // of the namespace that the caller is in
}

// ReadHost reads the machine's files. Files that do not exist are as good as empty.
func ReadHost() (Host, error) {
	var h Host
	var err error
	if h.SubUIDs, err = user.ParseSubIDFile("/etc/subuid"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return h, fmt.Errorf("read subordinate ids: %w", err)
	}
	if h.SubGIDs, err = user.ParseSubIDFile("/etc/subgid"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return h, fmt.Errorf("read subordinate ids: %w", err)
	}
	if h.Map, err = user.ParseIDMapFile("/proc/self/uid_map"); err != nil {
		return h, fmt.Errorf("read this process's id map: %w", err)
	}
	return h, nil
}

// Slot returns the range of the engine with that slot, and false when it cannot be had:
// somebody's subordinate ids overlap it.
//
// In a user namespace that lacks the reserved range, as inside another engine, all engines
// share the one range that the namespace has: each is still a user namespace of its own.
func (h Host) Slot(slot int) (Range, bool) {
	r := Range{First: First + uint32(slot)*Size, Size: Size}
	if !h.mapped(r) {
		return h.whole(), true
	}
	for _, subs := range [][]user.SubID{h.SubUIDs, h.SubGIDs} {
		for _, s := range subs {
			if r.overlaps(Range{First: uint32(s.SubID), Size: uint32(s.Count)}) {
				return Range{}, false
			}
		}
	}
	return r, true
}

// mapped reports whether one extent of the caller's id map holds all of r.
func (h Host) mapped(r Range) bool {
	for _, m := range h.Map {
		if int64(r.First) >= m.ID && r.end() <= m.ID+m.Count {
			return true
		}
	}
	return false
}

// whole is the range from 0 that the caller's namespace has.
func (h Host) whole() Range {
	for _, m := range h.Map {
		if m.ID == 0 {
			return Range{First: 0, Size: uint32(min(m.Count, Size))}
		}
	}
	return Range{First: 0, Size: 1}
}

// Subordinate returns the user's (or, from gids, the user's group) range of 65,536
// subordinate ids (subuid(5)), and false when there is none so large.
func Subordinate(subs []user.SubID, name string, uid int) (Range, bool) {
	for _, s := range subs {
		if (s.Name == name || s.Name == fmt.Sprint(uid)) && s.Count >= Size {
			return Range{First: uint32(s.SubID), Size: Size}, true
		}
	}
	return Range{}, false
}

// ShareMap maps the ids on a shared directory's disk to those of an engine, as a mount's
// id map in an OCI configuration has it: ContainerID is on disk, HostID is what the host's
// kernel takes it for.
//
// The owner is the engine's id as (0, or the owner's own id). Every other id k inside is
// the k-th of rest on disk, so that chown works inside and touches nobody's files outside.
// Files of anybody else on that disk belong to nobody inside.
func ShareMap(engine Range, owner, as uint32, rest Range) ([]specs.LinuxIDMapping, error) {
	if as >= engine.Size {
		return nil, fmt.Errorf("id %d does not fit an engine's %d ids; share as root instead", as, engine.Size)
	}
	if owner >= rest.First && int64(owner) < rest.end() {
		return nil, fmt.Errorf("id %d lies within its own subordinate range %d-%d; mend /etc/subuid and /etc/subgid", owner, rest.First, rest.end()-1)
	}
	size := min(engine.Size, rest.Size)
	m := []specs.LinuxIDMapping{{ContainerID: owner, HostID: engine.First + as, Size: 1}}
	if as > 0 {
		m = append(m, specs.LinuxIDMapping{ContainerID: rest.First, HostID: engine.First, Size: min(as, size)})
	}
	if as+1 < size {
		m = append(m, specs.LinuxIDMapping{ContainerID: rest.First + as + 1, HostID: engine.First + as + 1, Size: size - as - 1})
	}
	return m, nil
}

// Contains reports whether id is in the range.
func (r Range) Contains(id int) bool { return int64(id) >= int64(r.First) && int64(id) < r.end() }
