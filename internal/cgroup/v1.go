package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"
)

// v1 is the version with a hierarchy for each controller (cgroups(7), "Cgroups version 1").
type v1 struct{}

func (v1) name() string { return "v1" }

func (v1) delegate(m cgroups.Manager, uid, gid int) error {
	for _, dir := range m.GetPaths() {
		if err := chown(dir, []string{"cgroup.procs", "tasks"}, uid, gid); err != nil {
			return err
		}
	}
	return nil
}

func (v1) prepare(string) error { return nil }

func (v1) kill(cgroups.Manager) error { return nil }

func (v1) swapLimit() bool {
	dir, err := cgroups.FindCgroupMountpoint("", "memory")
	if err != nil {
		return false
	}
	_, err = os.Stat(filepath.Join(dir, "memory.memsw.limit_in_bytes"))
	return err == nil
}

func (v1) missing() []string {
	var out []string
	for _, c := range []string{"cpu", "memory", "pids", "devices"} {
		if _, err := cgroups.FindCgroupMountpoint("", c); err != nil {
			out = append(out, c)
		}
	}
	return out
}

// watchOOM registers an eventfd with the memory controller
// (Documentation/admin-guide/cgroup-v1/memory.rst, section 10), which tells only of the group's own
// limit and those above, but not of kills.
func (v1) watchOOM(m cgroups.Manager, f func()) (func(), error) {
	dir := m.Path("memory")
	control, err := os.Open(filepath.Join(dir, "memory.oom_control"))
	if err != nil {
		return nil, fmt.Errorf("watch for lack of memory: %w", err)
	}
	defer control.Close()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	event := os.NewFile(uintptr(fd), "oom event")
	registration := fmt.Sprintf("%d %d", fd, control.Fd())
	if err := os.WriteFile(filepath.Join(dir, "cgroup.event_control"), []byte(registration), 0); err != nil {
		event.Close()
		return nil, fmt.Errorf("watch for lack of memory: %w", err)
	}
	announced := make(chan struct{})
	go countKills(announced, func() map[string]uint64 { return oomKills(dir) }, f)
	go func() {
		defer close(announced)
		var count [8]byte
		for {
			if _, err := event.Read(count[:]); err != nil {
				return
			}
			// The end of the group is an event as well.
			if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
				return
			}
			announced <- struct{}{}
		}
	}()
	return func() { event.Close() }, nil
}
