package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/test/vm/job"
)

const cgroupRoot = "/sys/fs/cgroup"

// controllers are what a distribution's init mounts on cgroup v1, a hierarchy each.
var controllers = []string{"cpuset", "cpu,cpuacct", "blkio", "memory", "devices", "freezer", "net_cls,net_prio", "perf_event", "hugetlb", "pids", "rdma"}

// boot does what a distribution's scripts do before the first service.
func boot(order job.Job) error {
	for _, m := range []struct {
		dir, kind, options string
		flags              uintptr
	}{
		{"/run", "tmpfs", "mode=755", unix.MS_NOSUID | unix.MS_NODEV},
		{"/tmp", "tmpfs", "mode=1777", unix.MS_NOSUID | unix.MS_NODEV},
		{"/dev/pts", "devpts", "gid=5,mode=620,ptmxmode=000", unix.MS_NOSUID | unix.MS_NOEXEC},
		{"/dev/shm", "tmpfs", "mode=1777", unix.MS_NOSUID | unix.MS_NODEV},
		{"/dev/mqueue", "mqueue", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
	} {
		if err := mount(m.kind, m.dir, m.flags, m.options); err != nil {
			return err
		}
	}
	if err := mountCgroups(order.Cgroup); err != nil {
		return err
	}
	// What opening a device file would load, where udev or kmod has made that.
	if out, err := exec.Command("/usr/sbin/modprobe", "-a", "loop", "fuse", "tun").CombinedOutput(); err != nil {
		return fmt.Errorf("modprobe: %w: %s", err, out)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

func mountCgroups(version string) error {
	if version == "v2" {
		return mount("cgroup2", cgroupRoot, secure, "nsdelegate")
	}
	if err := mount("tmpfs", cgroupRoot, unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return err
	}
	for _, c := range controllers {
		if err := mount("cgroup", filepath.Join(cgroupRoot, c), secure, c); err != nil {
			fmt.Fprintln(os.Stderr, "guest:", err) // this kernel has no such controller
			os.Remove(filepath.Join(cgroupRoot, c))
		}
	}
	// Each controller is found by its own name too.
	for _, pair := range []string{"cpu,cpuacct", "net_cls,net_prio"} {
		for c := range strings.SplitSeq(pair, ",") {
			_ = os.Symlink(pair, filepath.Join(cgroupRoot, c))
		}
	}
	if version == "hybrid" {
		return mount("cgroup2", filepath.Join(cgroupRoot, "unified"), secure, "nsdelegate")
	}
	return nil
}

// joinRoot moves this process to the root of the unified hierarchy and has it give all
// controllers to its children, among which the tests make their own.
func joinRoot() error {
	root := cgroupRoot
	text, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if os.IsNotExist(err) {
		return nil // v1 has a hierarchy for each
	}
	if err != nil {
		return err
	}
	for c := range strings.FieldsSeq(string(text)) {
		if err := os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+"+c), 0); err != nil {
			return fmt.Errorf("enable controller %s: %w", c, err)
		}
	}
	return os.WriteFile(filepath.Join(root, "cgroup.procs"), []byte("0"), 0)
}

const secure = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

func mount(kind, dir string, flags uintptr, options string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(kind, dir, kind, flags, options); err != nil {
		return fmt.Errorf("mount %s at %s: %w", kind, dir, err)
	}
	return nil
}
