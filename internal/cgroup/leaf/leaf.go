// Package leaf does what the first process of an engine has to do inside its own cgroup
// namespace. It is apart from package cgroup, which works from the host, so that init
// stays small.
package leaf

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const mountPoint = "/sys/fs/cgroup"

// Enter moves every process of the engine's cgroup, the caller among them, to the leaf
// "init" and enables all controllers for the leaf's siblings: on cgroup v2 a cgroup that
// has processes cannot give controllers to children (cgroups(7), "no internal processes"
// rule). On cgroup v1 there is nothing to do.
func Enter() error { return enter(mountPoint) }

func enter(root string) error {
	controllers, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if os.IsNotExist(err) {
		return nil // v1
	}
	if err != nil {
		return fmt.Errorf("read the engine's cgroup controllers: %w", err)
	}
	leaf := filepath.Join(root, "init")
	if err := os.Mkdir(leaf, 0o755); err != nil && !os.IsExist(err) {
		return fmt.Errorf("make init's cgroup: %w", err)
	}
	procs, err := os.ReadFile(filepath.Join(root, "cgroup.procs"))
	if err != nil {
		return fmt.Errorf("list the engine's processes: %w", err)
	}
	for _, pid := range strings.Fields(string(procs)) {
		if err := os.WriteFile(filepath.Join(leaf, "cgroup.procs"), []byte(pid), 0); err != nil {
			return fmt.Errorf("move process %s to init's cgroup: %w", pid, err)
		}
	}
	for _, c := range strings.Fields(string(controllers)) {
		// One by one: a controller that refuses (cpu with realtime processes, say) must
		// not take the others with it; what dockerd then misses, it says itself.
		_ = os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+"+c), 0)
	}
	return nil
}
