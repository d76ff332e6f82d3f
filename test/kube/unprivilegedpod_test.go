package kube

import (
	"strings"
	"testing"
)

// A pod without privileges, in a user namespace of its own, has a whole engine.
func TestUnprivilegedPod(t *testing.T) {
	if nodeMachine == nil {
		t.Skip("needs a node with systemd and cgroup v2: make test-kube-vm")
	}
	ns := node.Namespace(t)
	ns.Apply(written(t, "node-setup", "runtimeclass"))
	ns.Apply(workload(t, "deployment", "docker run -d "+busyRef+" sleep 87654; sleep 100000", "--level", "unprivileged", "--memory", "512Mi"))
	ns.Wait("deployment/build", "condition=Available")
	client := func(script string) string { return ns.Exec("deployment/build", "client", "sh", "-c", script) }
	client("until docker ps -q | grep -q .; do sleep 0.5; done")
	if got := ns.Get("pods", "{.items[0].spec.hostUsers} {.items[0].spec.initContainers[0].securityContext.privileged}"); strings.Contains(got, "true") || !strings.HasPrefix(got, "false") {
		t.Errorf("hostUsers and privileged are %q", got)
	}
	uid := strings.ReplaceAll(ns.Get("pods", "{.items[0].metadata.uid}"), "-", "_") // systemd's spelling
	for _, line := range groupsOf(t, "sleep", "87654") {
		if !strings.Contains(line, uid) {
			t.Errorf("outside the pod's groups: %s", line)
		}
	}
	if got := client("docker run --rm --privileged " + busyRef + " sh -c 'mount -t tmpfs none /tmp && echo mounted'"); got != "mounted" {
		t.Errorf("a privileged container inside: %q", got)
	}
	if got := client("docker run --rm --privileged " + busyRef + " sh -c '(cat /proc/sys/kernel/panic >/proc/sys/kernel/panic) 2>/dev/null && echo written; true'"); got != "" {
		t.Errorf("a privileged container inside wrote a setting of the node: %q", got)
	}
	if status := client("docker run -m 32m --name hog " + busyRef + " tail /dev/zero >/dev/null 2>&1; echo $?"); status != "137" {
		t.Errorf("a memory hog inside ended with status %s", status)
	}
	if got := client("docker run --rm " + busyRef + " echo again"); got != "again" {
		t.Errorf("after that a container says %q", got)
	}
}
