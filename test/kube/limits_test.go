package kube

import (
	"strings"
	"testing"
)

// A container inside that takes too much memory is killed within the pod's limit, and the
// engine lives on.
func TestTheMemoryOfAContainerInsideIsThePods(t *testing.T) {
	ns := node.Namespace(t)
	ns.Apply(workload(t, "deployment", "sleep 100000", "--memory", "512Mi"))
	ns.Wait("deployment/build", "condition=Available")
	client := func(script string) string { return ns.Exec("deployment/build", "client", "sh", "-c", script) }
	status := client("docker run --name hog " + busyRef + " tail /dev/zero >/dev/null 2>&1; echo $?")
	if status != "137" {
		t.Errorf("the container that took all memory ended with status %s, want 137", status)
	}
	if killed := client("docker inspect -f '{{.State.OOMKilled}}' hog"); killed != "true" {
		t.Errorf("OOMKilled is %s", killed)
	}
	if got := client("docker run --rm " + busyRef); got == "" {
		t.Error("the engine runs no containers any more")
	}
	if restarts := ns.Get("pods", "{.items[0].status.initContainerStatuses[0].restartCount}"); restarts != "0" {
		t.Errorf("the engine was restarted %s times", restarts)
	}
}

// Whatever runs in the engine is below the pod in every hierarchy of control groups.
func TestContainersInsideAreInThePodsControlGroup(t *testing.T) {
	ns := node.Namespace(t)
	ns.Apply(workload(t, "deployment", "docker run -d "+busyRef+" sleep 76543; sleep 100000"))
	ns.Wait("deployment/build", "condition=Available")
	ns.Exec("deployment/build", "client", "sh", "-c", "until docker ps -q | grep -q .; do sleep 0.1; done")
	uid := ns.Get("pods", "{.items[0].metadata.uid}")
	for _, line := range groupsOf(t, "sleep", "76543") {
		if !strings.Contains(strings.ReplaceAll(line, "_", "-"), uid) { // systemd writes it with _
			t.Errorf("outside the pod's groups: %s", line)
		}
	}
}

// groupsOf returns the lines of /proc/PID/cgroup of the process with this command line,
// without hierarchies that have no controllers and are not the unified one.
func groupsOf(t *testing.T, command ...string) []string {
	t.Helper()
	out := onNode(t, `for p in /proc/[0-9]*; do if [ "$(tr '\0' ' ' 2>/dev/null <$p/cmdline)" = "`+strings.Join(command, " ")+` " ]; then cat $p/cgroup; exit; fi; done`)
	if out == "" {
		t.Fatalf("no process %v on the node", command)
	}
	return strings.Split(strings.TrimSpace(out), "\n")
}
