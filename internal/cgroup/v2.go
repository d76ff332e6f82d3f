package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/fsnotify/fsnotify"
	"github.com/opencontainers/cgroups"

	"github.com/berth-dev/berth/internal/cgroup/leaf"
)

const unifiedRoot = "/sys/fs/cgroup"

// v2 is the version with one hierarchy (Documentation/admin-guide/cgroup-v2.rst).
//
// memory.oom.group stays unset in an engine's group: at the engine's own limit the kernel
// would then end dockerd and all containers for what one of them took.
type v2 struct {
	root string // where it is mounted
}

func (v2) name() string { return "v2" }

// delegate follows the kernel's own list of what may be given away (/sys/kernel/cgroup/delegate, Linux 4.15).
func (v2) delegate(m cgroups.Manager, uid, gid int) error {
	files := []string{"cgroup.procs", "cgroup.subtree_control", "cgroup.threads"}
	if b, err := os.ReadFile("/sys/kernel/cgroup/delegate"); err == nil {
		files = strings.Fields(string(b))
	}
	return chown(m.Path(""), files, uid, gid)
}

// prepare leaves the real root alone, for which the rule is not (it alone has no cgroup.type).
func (v v2) prepare(parent string) error {
	dir := filepath.Join(v.root, parent)
	if _, err := os.Stat(filepath.Join(dir, "cgroup.type")); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return leaf.EnterBelow(dir)
}

// kill writes cgroup.kill (Linux 5.14).
func (v2) kill(m cgroups.Manager) error {
	f, err := os.OpenFile(filepath.Join(m.Path(""), "cgroup.kill"), os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString("1")
	return errors.Join(err, f.Close())
}

// swapLimit looks for the file in any group: the root group has none.
func (v v2) swapLimit() bool {
	found, _ := filepath.Glob(filepath.Join(v.root, "*", "memory.swap.max"))
	return len(found) > 0
}

func (v v2) missing() []string {
	b, err := os.ReadFile(filepath.Join(v.root, "cgroup.controllers"))
	if err != nil {
		return []string{"cpu", "memory", "pids"}
	}
	have := strings.Fields(string(b))
	var out []string
	for _, c := range []string{"cpu", "memory", "pids"} {
		if !slices.Contains(have, c) {
			out = append(out, c)
		}
	}
	return out
}

// watchOOM follows the "oom" count of memory.events.local (Linux 5.2), which counts only
// what the group's own limit did; the kernel announces each change of the file (inotify(7)).
func (v2) watchOOM(m cgroups.Manager, f func()) (func(), error) {
	file := filepath.Join(m.Path(""), "memory.events.local")
	seen, err := oomCount(file)
	if err != nil {
		return nil, fmt.Errorf("watch for lack of memory: %w", err)
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch for lack of memory: %w", err)
	}
	if err := w.Add(file); err != nil {
		w.Close()
		return nil, fmt.Errorf("watch for lack of memory: %w", err)
	}
	go func() {
		for {
			n, err := oomCount(file)
			if err != nil {
				return
			}
			for ; seen < n; seen++ {
				f()
			}
			var ok bool
			select {
			case _, ok = <-w.Events:
			case _, ok = <-w.Errors: // of an event that was lost; the count was not
			}
			if !ok {
				return
			}
		}
	}()
	return func() { w.Close() }, nil
}

func oomCount(file string) (uint64, error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if n, ok := strings.CutPrefix(s.Text(), "oom "); ok {
			return strconv.ParseUint(n, 10, 64)
		}
	}
	return 0, fmt.Errorf("%s has no count of oom events", file)
}
