// Package cgroup hands an engine its control group, reads it and ends what is in it.
//
// It is the only package that knows cgroup v1 from v2 (its subpackage leaf does so from
// inside an engine). Groups are named by their path below the root of every hierarchy,
// such as /berth/0123456789ab. Sizes are bytes, times are durations.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"
	"golang.org/x/sys/unix"
)

// Group is one engine's control group in all hierarchies.
type Group struct {
	path string
	m    cgroups.Manager
	v    version
}

// version is what differs between cgroup v1 and v2.
type version interface {
	// delegate gives what an engine's root may change in its own group (and nothing that
	// bounds the group itself) to uid and gid.
	delegate(m cgroups.Manager, uid, gid int) error
	// watchOOM reports each time that the group's own memory limit made the kernel kill.
	watchOOM(m cgroups.Manager, f func()) (stop func(), err error)
	// swapLimit reports whether the kernel can bound swap.
	swapLimit() bool
	// parent finds the group that [Parent] is asked for.
	parent(asked string) (string, error)
	// prepare makes the group at parent able to give controllers to groups below.
	prepare(parent string) error
	// kill ends every process of the group and below at once, where the kernel can.
	kill(m cgroups.Manager) error
	// missing lists the controllers that limits need and the machine has not.
	missing() []string
	name() string
}

func current() version {
	if cgroups.IsCgroup2UnifiedMode() {
		return v2{unifiedRoot}
	}
	return v1{}
}

// Open returns the group at path, which need not exist.
func Open(path string) (*Group, error) {
	// Nothing is ever set through this handle, so it needs no resources of its own.
	m, err := manager.New(&cgroups.Cgroup{Path: path, Resources: &cgroups.Resources{SkipDevices: true}})
	if err != nil {
		return nil, fmt.Errorf("open control group %s: %w", path, err)
	}
	return &Group{path: path, m: m, v: current()}, nil
}

// Version says which cgroup version the machine uses: "v1" or "v2".
func Version() string { return current().name() }

// SwapLimit reports whether the kernel can limit the swap of a group.
func SwapLimit() bool { return current().swapLimit() }

// Missing lists the controllers that an engine's limits need and the machine has not.
func Missing() []string { return current().missing() }

// Prepare has to be called before the group of an engine below parent is made; parent is
// empty for the root of what is mounted. At the root of a host there is nothing to do. In a
// container with a cgroup namespace, and in a parent that [Own] found, it moves the processes
// of parent to a leaf, as on cgroup v2 a group with processes cannot have groups with limits.
func Prepare(parent string) error {
	if err := current().prepare(parent); err != nil {
		return fmt.Errorf("make room for engines beside other processes: %w", err)
	}
	return nil
}

// Delegate makes uid and gid owners of what an engine's root may change in its own group:
// it can make groups below and move its processes, and cannot raise its own limits
// (cgroups(7), "Delegation").
func (g *Group) Delegate(uid, gid int) error {
	if err := g.v.delegate(g.m, uid, gid); err != nil {
		return fmt.Errorf("hand control group %s to the engine: %w", g.path, err)
	}
	return nil
}

// WatchOOM calls f for each time the kernel kills because of the group's own memory limit;
// a limit of a container inside does not count. The returned function ends the watch.
func (g *Group) WatchOOM(f func()) (stop func(), err error) { return g.v.watchOOM(g.m, f) }

// Kill ends every process of the group and of the groups below it at once, those included
// that are being made meanwhile, and does not wait for their end. Where the kernel cannot
// (cgroup v1, before Linux 5.14), it does nothing: see [Group.PIDs]. A group that does not
// exist is no error.
func (g *Group) Kill() error {
	if err := g.v.kill(g.m); err != nil {
		return fmt.Errorf("end the processes of control group %s: %w", g.path, err)
	}
	return nil
}

// PIDs lists the processes of the group and of the groups below it, in every hierarchy.
func (g *Group) PIDs() ([]int, error) {
	seen := map[int]bool{}
	var out []int
	for _, dir := range g.m.GetPaths() {
		pids, err := cgroups.GetAllPids(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return out, fmt.Errorf("list processes of control group %s: %w", g.path, err)
		}
		for _, pid := range pids {
			if !seen[pid] {
				seen[pid] = true
				out = append(out, pid)
			}
		}
	}
	return out, nil
}

// Remove removes the group and all groups below it. Their processes must have ended.
// A group that does not exist is no error.
func (g *Group) Remove() error { return g.m.Destroy() }

// RemoveEmpty removes the group at path, which may hold other groups: then it stays.
func RemoveEmpty(path string) error {
	g, err := Open(path)
	if err != nil {
		return err
	}
	for _, dir := range g.m.GetPaths() {
		err := unix.Rmdir(dir)
		if err != nil && err != unix.ENOENT && err != unix.EBUSY && err != unix.ENOTEMPTY {
			return &os.PathError{Op: "rmdir", Path: dir, Err: err}
		}
	}
	return nil
}

// Stats are a group's figures at one moment. What the kernel does not count is left out:
// MemoryPeak before Linux 5.19 on v2, Pressure on v1 and where it is switched off.
type Stats struct {
	Memory      uint64        `json:"memory"`                // bytes in use, page cache included
	MemoryPeak  uint64        `json:"memory_peak,omitempty"` // bytes; 0 if not known
	MemoryLimit uint64        `json:"memory_limit"`          // bytes; 0 for none
	CPU         time.Duration `json:"cpu_ns"`                // processor time used
	Throttled   time.Duration `json:"throttled_ns"`          // time the group waited for its --cpus
	PIDs        uint64        `json:"pids"`
	PIDsLimit   uint64        `json:"pids_limit"` // 0 for none
	Pressure    *Pressure     `json:"pressure,omitempty"`
}

// Pressure is the share of the last ten seconds, in percent, in which some process of the
// group waited for a resource (Documentation/accounting/psi.rst, Linux 4.20).
type Pressure struct {
	CPU    float64 `json:"cpu"`
	Memory float64 `json:"memory"`
	IO     float64 `json:"io"`
}

// Stats reads the group's figures.
func (g *Group) Stats() (Stats, error) {
	s, err := g.m.GetStats()
	if err != nil {
		return Stats{}, fmt.Errorf("read control group %s: %w", g.path, err)
	}
	out := Stats{
		Memory: s.MemoryStats.Usage.Usage, MemoryPeak: s.MemoryStats.Usage.MaxUsage, MemoryLimit: limit(s.MemoryStats.Usage.Limit),
		CPU: time.Duration(s.CpuStats.CpuUsage.TotalUsage), Throttled: time.Duration(s.CpuStats.ThrottlingData.ThrottledTime),
		PIDs: s.PidsStats.Current, PIDsLimit: limit(s.PidsStats.Limit),
	}
	if p := s.CpuStats.PSI; p != nil && s.MemoryStats.PSI != nil && s.BlkioStats.PSI != nil {
		out.Pressure = &Pressure{CPU: p.Some.Avg10, Memory: s.MemoryStats.PSI.Some.Avg10, IO: s.BlkioStats.PSI.Some.Avg10}
	}
	return out, nil
}

// limit turns the kernel's "no limit" (the largest page-aligned number on v1, all ones on v2) into 0.
func limit(n uint64) uint64 {
	if n >= 1<<62 {
		return 0
	}
	return n
}

// chown gives files in dir, and dir itself, to uid and gid. Files that this kernel does not have are left out.
func chown(dir string, files []string, uid, gid int) error {
	for _, f := range append([]string{""}, files...) {
		if err := os.Lchown(filepath.Join(dir, f), uid, gid); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
