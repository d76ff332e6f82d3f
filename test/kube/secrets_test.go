package kube

import (
	"strings"
	"testing"
)

// A privileged container inside the engine sees nothing of the node.
func TestAPrivilegedContainerInsideCannotReachTheNode(t *testing.T) {
	const secret = "/var/lib/node-secret"
	onNode(t, "echo of the node >"+secret)
	defer onNode(t, "rm "+secret)
	ns := node.Namespace(t)
	ns.Apply(workload(t, "deployment", "sleep 100000"))
	ns.Wait("deployment/build", "condition=Available")
	inside := func(script string) string {
		return ns.Exec("deployment/build", "client", "docker", "run", "--rm", "--privileged", "--pid=host", "-v", "/:/host", busyRef, "sh", "-c", script)
	}
	for what, script := range map[string]string{
		"a file of the node":    "cat /host" + secret + " 2>/dev/null; find /host -xdev -name node-secret 2>/dev/null; cat /proc/1/root" + secret + " 2>/dev/null; true",
		"the kubelet's files":   "ls /host/var/lib/kubelet 2>/dev/null; true",
		"the node's processes":  "for f in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$f; done 2>/dev/null | grep -o '[k]ubelet --config'; true",
		"a disk":                "for d in /dev/vda /dev/sda /dev/nvme0n1; do dd if=$d bs=512 count=1 2>/dev/null | wc -c | grep -v '^0$'; done; true",
		"a disk by its number":  "for n in $(awk 'NR>2 {print $1\":\"$2}' /proc/partitions); do mknod /tmp/d$n b ${n%:*} ${n#*:} && dd if=/tmp/d$n bs=512 count=1 | wc -c; done 2>/dev/null | grep -v '^0$'; true",
		"a setting of the node": "(cat /proc/sys/kernel/panic >/proc/sys/kernel/panic) 2>/dev/null && echo written; true",
	} {
		if got := strings.TrimSpace(inside(script)); got != "" {
			t.Errorf("%s: got %q", what, got)
		}
	}
}
