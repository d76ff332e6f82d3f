package cgroup

import (
	"fmt"
	"os"
	"strings"

	"github.com/moby/sys/mountinfo"
	"github.com/opencontainers/cgroups"

	"github.com/berth-dev/berth/internal/cgroup/leaf"
)

// Own is the caller's group, or the one whose leaf the caller is in, as [Open] and [Prepare]
// take it. It is empty where that is the root of what is mounted, as on v2 in a container
// with a cgroup namespace of its own, and on cgroup v1.
func Own() (string, error) {
	if !cgroups.IsCgroup2UnifiedMode() {
		return "", nil
	}
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	mounts, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(unifiedRoot))
	if err != nil {
		return "", err
	}
	roots := make([]string, len(mounts))
	for i, m := range mounts {
		roots[i] = m.Root
	}
	return ownGroup(string(text), roots)
}

// ownGroup finds the caller's group from what /proc/self/cgroup says and which parts of the
// hierarchy are mounted.
func ownGroup(text string, roots []string) (string, error) {
	_, own, ok := strings.Cut(strings.TrimSpace(text), "0::")
	if !ok {
		return "", fmt.Errorf("/proc/self/cgroup names no group of cgroup v2")
	}
	// After a restart within the same container the process may be in the leaf already.
	own = strings.TrimSuffix(own, "/"+leaf.Name)
	for _, root := range roots {
		if rest, ok := strings.CutPrefix(own+"/", strings.TrimSuffix(root, "/")+"/"); ok {
			own = "/" + rest
			break
		}
	}
	return strings.TrimRight(own, "/"), nil
}
