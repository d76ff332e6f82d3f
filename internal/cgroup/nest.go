package cgroup

import (
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/moby/sys/mountinfo"
	"github.com/opencontainers/cgroups"

	"github.com/berth-dev/berth/internal/cgroup/leaf"
)

// Nest makes the caller's own group one that engines can be below, and returns its path as
// [Open] takes it. In a container on cgroup v1 the container's group is what is mounted, so
// the path is empty. On cgroup v2 the group's processes are moved to a leaf, for the kernel
// has no controllers in a group that has both processes and groups; with a cgroup namespace
// of the container's own the path is empty as well, and else the container's.
func Nest() (string, error) {
	if !cgroups.IsCgroup2UnifiedMode() {
		return "", nil
	}
	own, err := ownGroup()
	if err != nil {
		return "", err
	}
	if err := leaf.EnterBelow(path.Join(unifiedRoot, own)); err != nil {
		return "", err
	}
	return strings.TrimSuffix(own, "/"), nil
}

// ownGroup is the caller's group, relative to what is mounted.
func ownGroup() (string, error) {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	_, own, ok := strings.Cut(strings.TrimSpace(string(b)), "0::")
	if !ok {
		return "", fmt.Errorf("/proc/self/cgroup names no group of cgroup v2")
	}
	mounts, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(unifiedRoot))
	if err != nil {
		return "", err
	}
	// After a restart within the same container the process may be in the leaf already.
	own = strings.TrimSuffix(own, "/"+leaf.Name)
	for _, m := range mounts {
		if rest, ok := strings.CutPrefix(own, strings.TrimSuffix(m.Root, "/")); ok {
			return rest, nil
		}
	}
	return own, nil
}
