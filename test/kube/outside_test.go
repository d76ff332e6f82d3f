package kube

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/berth-dev/berth/test/kube/cluster"
)

// leavesNothing runs the tests, and fails them when the machine outside of the sandbox is not
// as it was. Other users of the machine do not disturb.
func leavesNothing(tests func() int) int {
	before := outside()
	status := tests()
	for _, thing := range outside() {
		if !slices.Contains(before, thing) {
			fmt.Fprintln(os.Stderr, "kube: the tests have left on the machine:", thing)
			status = max(status, 1)
		}
	}
	return status
}

// outside lists what a node leaves on a machine when nothing keeps it from that. Directories that
// other engines on the machine make as well (podman's /etc/cni) do not count.
func outside() []string {
	var all []string
	for _, path := range []string{
		"/etc/cni/net.d/10-pods.conflist", "/opt/cni", "/root/.kube", "/run/containerd", "/run/flexvolume", "/run/netns/cni-*", "/usr/libexec/kubernetes",
		"/var/lib/cni", "/var/lib/containerd", "/var/lib/etcd", "/var/lib/kubelet", "/var/log/containers", "/var/log/pods",
		"/sys/fs/cgroup/*/kubepods", "/sys/fs/cgroup/kubepods",
	} {
		found, _ := filepath.Glob(path)
		all = append(all, found...)
	}
	for _, setting := range cluster.MachineSettings() {
		value, _ := os.ReadFile(filepath.Join("/proc/sys", setting))
		all = append(all, setting+" = "+strings.TrimSpace(string(value)))
	}
	if links, err := net.Interfaces(); err == nil {
		for _, link := range links {
			if link.Name == "cni0" || strings.HasPrefix(link.Name, "kube-") {
				all = append(all, "interface "+link.Name)
			}
		}
	}
	if rules, err := exec.Command("nft", "list", "ruleset").Output(); err == nil && strings.Contains(string(rules), "KUBE-") {
		all = append(all, "kube-proxy's firewall rules")
	}
	return append(all, orphanedGroups()...)
}

// orphanedGroups are the control groups of sandboxes that are over.
func orphanedGroups() []string {
	var orphans []string
	for _, pattern := range []string{"/sys/fs/cgroup/berth-test-*", "/sys/fs/cgroup/*/berth-test-*"} {
		found, _ := filepath.Glob(pattern)
		for _, dir := range found {
			if _, err := os.Stat(filepath.Join("/var/tmp", filepath.Base(dir))); os.IsNotExist(err) {
				if _, err := os.Stat(dir); err == nil { // not on its way out
					orphans = append(orphans, "control group "+dir)
				}
			}
		}
	}
	return orphans
}
