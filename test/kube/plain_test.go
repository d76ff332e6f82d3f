package kube

import (
	"strings"
	"testing"
)

// The way it was, upstream's dockerd in a privileged pod, gives the node away. Every check of
// TestAPrivilegedContainerInsideCannotReachTheNode and of
// TestContainersInsideAreInThePodsControlGroup has to be able to fail.
func TestWhatAPlainPrivilegedPodGivesAway(t *testing.T) {
	ns := node.Namespace(t)
	ns.Apply(render(t, "plain.yaml", nil))
	ns.Wait("pod/plain", "condition=Ready")
	inside := func(script string) string { return ns.Exec("plain", "dockerd", "sh", "-c", script) }
	inside("docker run -d " + busyRef + " sleep 65432")
	run := func(script string) string {
		return inside("docker run --rm --privileged " + busyRef + " sh -c '" + script + "'")
	}
	if onNode(t, "dd if=/dev/vda bs=512 count=1 2>/dev/null | wc -c") == "512" { // where the node itself may
		if got := run("dd if=/dev/vda bs=512 count=1 2>/dev/null | wc -c"); got != "512" {
			t.Errorf("read %s bytes of the node's disk", got)
		}
	}
	// The value that it has: nothing changes.
	if got := run("cat /proc/sys/kernel/panic >/proc/sys/kernel/panic && echo written"); got != "written" {
		t.Errorf("setting of the node: %q", got)
	}
	if nodeMachine == nil {
		return // cgroup v1: the runtime mounts the pod's own groups alone
	}
	uid := ns.Get("pod/plain", "{.metadata.uid}")
	for _, line := range groupsOf(t, "sleep", "65432") {
		if strings.Contains(strings.ReplaceAll(line, "_", "-"), uid) {
			t.Errorf("on cgroup v2 a privileged pod's containers used to be outside of its groups: %s", line)
		}
	}
}
