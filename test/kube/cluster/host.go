package cluster

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// machineSettings belong to the whole machine, whatever the namespace. The kubelet wants
// these values: it is shown files that hold them, so that it writes none.
var machineSettings = map[string]string{
	"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
	"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
}

// MachineSettings are the names, below /proc/sys, of the settings of the whole machine that a
// kubelet changes where it can.
func MachineSettings() []string { return slices.Sorted(maps.Keys(machineSettings)) }

// prepareHost makes the sandbox into what a node expects: mounts that are shared with
// pods, logs of its own, forwarding, and on cgroup v2 a root group without processes.
func (c *Cluster) prepareHost() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share the mounts: %w", err)
	}
	if err := unix.Mount("tmpfs", "/var/log", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("/var/log: %w", err)
	}
	for name, value := range machineSettings {
		source := filepath.Join(c.dir, "sysctl", name)
		err := errors.Join(os.MkdirAll(filepath.Dir(source), 0o755), os.WriteFile(source, []byte(value+"\n"), 0o644))
		if err == nil {
			err = unix.Mount(source, "/proc/sys/"+name, "", unix.MS_BIND, "")
		}
		if err != nil {
			return fmt.Errorf("/proc/sys/%s: %w", name, err)
		}
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		return err
	}
	return emptyRootGroup("/sys/fs/cgroup")
}

// emptyRootGroup moves all processes of a cgroup v2 root into a group below it, because a
// group with processes cannot hand controllers down (cgroups(7), "no internal processes").
func emptyRootGroup(root string) error {
	controllers, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if errors.Is(err, os.ErrNotExist) {
		return nil // cgroup v1
	}
	if err != nil {
		return err
	}
	leaf := filepath.Join(root, "node")
	if err := os.MkdirAll(leaf, 0o755); err != nil {
		return err
	}
	pids, err := os.ReadFile(filepath.Join(root, "cgroup.procs"))
	if err != nil {
		return err
	}
	for _, pid := range strings.Fields(string(pids)) {
		if err := os.WriteFile(filepath.Join(leaf, "cgroup.procs"), []byte(pid), 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	for _, name := range strings.Fields(string(controllers)) {
		if err := os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+"+name), 0); err != nil {
			return fmt.Errorf("hand down %s: %w", name, err)
		}
	}
	return nil
}
