// Package leaf frees the root of a cgroup namespace of processes, so that it can give
// controllers to the cgroups below it. Init does so inside its engine, and package cgroup
// where berth itself runs in a container. It is apart from package cgroup, which works
// from the host, so that init stays small.
package leaf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const mountPoint = "/sys/fs/cgroup"

// Name is the leaf's.
const Name = "init"

// rounds bounds how often processes are looked for that were forked while others moved.
const rounds = 100

// Enter moves every process of the namespace's root, the caller among them, to the leaf
// and enables all controllers for the leaf's siblings: on cgroup v2 a cgroup that has
// processes cannot give controllers to children (cgroups(7), "no internal processes"
// rule). On cgroup v1, and where the leaf is in use already, there is nothing to do.
func Enter() error { return enter(mountPoint) }

// EnterBelow is Enter for a group other than the root of what is mounted.
func EnterBelow(dir string) error { return enter(dir) }

func enter(root string) error {
	controllers, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if os.IsNotExist(err) {
		return nil // v1
	}
	if err != nil {
		return fmt.Errorf("read the cgroup's controllers: %w", err)
	}
	if err := empty(root, filepath.Join(root, Name)); err != nil {
		return err
	}
	for _, c := range strings.Fields(string(controllers)) {
		// One by one: a controller that refuses (cpu with realtime processes, say) must
		// not take the others with it; what dockerd then misses, it says itself.
		_ = os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+"+c), 0)
	}
	return nil
}

// empty moves the processes of root to leaf until none is left.
func empty(root, leaf string) error {
	for range rounds {
		pids, err := processes(root)
		if err != nil || len(pids) == 0 {
			return err
		}
		if err := os.Mkdir(leaf, 0o755); err != nil && !os.IsExist(err) {
			return fmt.Errorf("make the leaf cgroup: %w", err)
		}
		for _, pid := range pids {
			err := os.WriteFile(filepath.Join(leaf, "cgroup.procs"), []byte(pid), 0)
			if err != nil && !errors.Is(err, syscall.ESRCH) { // ended meanwhile
				return fmt.Errorf("move process %s to the leaf cgroup: %w", pid, err)
			}
		}
	}
	return fmt.Errorf("move processes to cgroup %s: new ones keep coming", leaf)
}

// processes lists a cgroup's own. One that the caller's pid namespace does not have
// (listed as 0) cannot be moved and is left out.
func processes(dir string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return nil, fmt.Errorf("list the cgroup's processes: %w", err)
	}
	var out []string
	for pid := range strings.FieldsSeq(string(text)) {
		if pid != "0" {
			out = append(out, pid)
		}
	}
	return out, nil
}
