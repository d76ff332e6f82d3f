package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Reboot is a node that loses its power and starts again: every process of its pods, its
// container runtime and its kubelet are killed, what a start empties (mounts, /run, interfaces)
// is emptied, and the daemons are started. The API's side stays up. It returns when the node is
// ready.
func (c *Cluster) Reboot(ctx context.Context) error {
	c.end(unix.SIGKILL, "kubelet", "containerd", "proxy")
	if err := killPods(ctx); err != nil {
		return err
	}
	if err := unmountPods(); err != nil {
		return err
	}
	if bridge, err := netlink.LinkByName("cni0"); err == nil {
		if err := netlink.LinkDel(bridge); err != nil {
			return fmt.Errorf("remove the pods' bridge: %w", err)
		}
	}
	for _, dir := range []string{"/run/containerd", "/run/cni-ipam"} {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	if err := c.startRuntime(ctx); err != nil {
		return err
	}
	if err := c.startNode(); err != nil {
		return err
	}
	return c.AwaitReady(ctx)
}

// killPods kills the pods' shims and all processes in the pods' control groups.
func killPods(ctx context.Context) error {
	for ctx.Err() == nil {
		found, err := filepath.Glob("/proc/[0-9]*/cgroup")
		if err != nil {
			return err
		}
		left := 0
		for _, file := range found {
			dir := filepath.Dir(file)
			groups, _ := os.ReadFile(file)
			command, _ := os.ReadFile(filepath.Join(dir, "comm"))
			state, _ := os.ReadFile(filepath.Join(dir, "stat"))
			if strings.Contains(string(state), ") Z ") ||
				!strings.Contains(string(groups), "/kubepods/") && !strings.HasPrefix(string(command), "containerd-shim") {
				continue
			}
			left++
			if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
		if left == 0 {
			return nil
		}
	}
	return fmt.Errorf("processes of pods do not end: %w", context.Cause(ctx))
}

// unmountPods unmounts what the runtime and the kubelet have mounted for pods.
func unmountPods() error {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var points []string
	for line := range strings.Lines(string(text)) {
		point := strings.Fields(line)[4]
		for _, dir := range []string{"/run/containerd/", "/run/netns/", "/var/run/netns/", "/var/lib/kubelet/pods/"} {
			if strings.HasPrefix(point, dir) {
				points = append(points, point)
			}
		}
	}
	for _, point := range slices.Backward(points) {
		if err := unix.Unmount(point, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", point, err)
		}
	}
	return nil
}
