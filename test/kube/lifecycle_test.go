package kube

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/test/deadline"
)

// An engine that crashes is started again, with what it had.
func TestAnEngineThatCrashesComesBack(t *testing.T) {
	ns := node.Namespace(t)
	ns.Apply(workload(t, "deployment", "docker pull "+busyRef+" && touch /workspace/pulled; sleep 100000"))
	ns.Wait("deployment/build", "condition=Available")
	ns.Exec("deployment/build", "client", "sh", "-c", "until test -e /workspace/pulled; do sleep 0.1; done")
	uid := ns.Get("pods", "{.items[0].metadata.uid}")
	killed := 0
	for _, p := range processesOf(t, uid) {
		if p.command == "dockerd" {
			killed++
			if err := unix.Kill(p.pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	if killed != 1 {
		t.Fatalf("the pod has %d dockerds", killed)
	}
	ns.Kubectl("wait", "--for=jsonpath={.status.initContainerStatuses[0].restartCount}=1", "pods", "--all", "--timeout=90s")
	ns.Kubectl("wait", "--for=condition=Ready", "pods", "--all", "--timeout=90s")
	if got := ns.Exec("deployment/build", "client", "docker", "run", "--rm", "--pull=never", busyRef, "echo", "again"); got != "again" {
		t.Errorf("after the crash a container says %q", got)
	}
}

// An evicted pod's engine takes everything with it.
func TestNothingIsLeftOfAnEvictedPod(t *testing.T) {
	ns := node.Namespace(t)
	ns.Apply(workload(t, "deployment", "docker run -d "+busyRef+" sleep 54321; sleep 100000"))
	ns.Wait("deployment/build", "condition=Available")
	pod := ns.Get("pods", "{.items[0].metadata.name}")
	uid := ns.Get("pods", "{.items[0].metadata.uid}")
	ns.Exec(pod, "client", "sh", "-c", "until docker ps -q | grep -q .; do sleep 0.1; done")
	eviction := fmt.Sprintf(`{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": %q, "namespace": %q}}`, pod, ns.Name)
	ctx, cancel := context.WithTimeout(t.Context(), deadline.Scaled(time.Minute))
	defer cancel()
	if _, err := node.Kubectl(ctx, eviction, "create", "--raw", fmt.Sprintf("/api/v1/namespaces/%s/pods/%s/eviction", ns.Name, pod), "-f", "-"); err != nil {
		t.Fatal(err)
	}
	ns.Wait("pod/"+pod, "delete")
	if left := processesOf(t, uid); len(left) > 0 {
		t.Errorf("processes of the evicted pod: %v", left)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), uid) {
		t.Error("a mount of the evicted pod is left")
	}
	groups, err := filepath.Glob("/sys/fs/cgroup/*/kubepods/*/pod" + uid)
	if err != nil || len(groups) > 0 {
		t.Errorf("control groups of the evicted pod: %v %v", groups, err)
	}
	ns.Wait("deployment/build", "condition=Available") // the next one
}

// A build that is under way when its pod is replaced ends, because the engine ends after it.
func TestABuildSurvivesARollingUpdate(t *testing.T) {
	// Each pod has a name of its own for what it builds.
	built := companyStore.Host + "/built:"
	script := `trap 'leave=1' TERM
mkdir -p /workspace/b; cd /workspace/b
printf 'FROM ` + busyRef + `\nRUN sleep 8; echo built >/result\n' >Dockerfile
touch /workspace/begun
docker build -t ` + built + `$HOSTNAME . && docker push ` + built + `$HOSTNAME
test -z "$leave" || exit 0
sleep 100000 & wait`
	ns := node.Namespace(t)
	ns.Apply(workload(t, "deployment", script, "--grace=60"))
	ns.Wait("deployment/build", "condition=Available")
	first := ns.Get("pods", "{.items[0].metadata.name}")
	ns.Exec(first, "client", "sh", "-c", "until test -e /workspace/begun; do sleep 0.1; done")
	ns.Kubectl("rollout", "restart", "deployment/build")
	ns.Kubectl("rollout", "status", "deployment/build", "--timeout=90s")
	ns.Wait("pod/"+first, "delete")
	tag, err := name.NewTag(built + first)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := remote.Head(tag, remote.WithTransport(companyStore.Transport())); err != nil {
		t.Errorf("the build that was under way was not pushed: %v", err)
	}
}

// A node that loses its power starts its pods again.
func TestAPodComesBackAfterItsNode(t *testing.T) {
	ns := node.Namespace(t)
	ns.Apply(workload(t, "deployment", "docker pull "+busyRef+" && touch /workspace/pulled; sleep 100000"))
	ns.Wait("deployment/build", "condition=Available")
	ns.Exec("deployment/build", "client", "sh", "-c", "until test -e /workspace/pulled; do sleep 0.1; done")
	started := ns.Get("pods", "{.items[0].status.containerStatuses[0].containerID}")
	ctx, cancel := context.WithTimeout(t.Context(), deadline.Scaled(3*time.Minute))
	defer cancel()
	if err := node.Reboot(ctx); err != nil {
		t.Fatal(err)
	}
	ns.Kubectl("wait", "--for=jsonpath={.status.containerStatuses[0].restartCount}=1", "pods", "--all", "--timeout=90s")
	ns.Kubectl("wait", "--for=condition=Ready", "pods", "--all", "--timeout=90s")
	if now := ns.Get("pods", "{.items[0].status.containerStatuses[0].containerID}"); now == started {
		t.Error("the client is the same container as before")
	}
	if got := ns.Exec("deployment/build", "client", "docker", "run", "--rm", "--pull=never", busyRef, "echo", "again"); got != "again" {
		t.Errorf("after the restart a container says %q", got)
	}
}

// process is one of the node's.
type process struct {
	pid     int
	command string
}

// processesOf lists the processes in the control groups of the pod with this uid.
func processesOf(t *testing.T, uid string) []process {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	var list []process
	for _, file := range found {
		groups, _ := os.ReadFile(file)
		if !strings.Contains(string(groups), uid) {
			continue
		}
		var p process
		if _, err := fmt.Sscanf(file, "/proc/%d/cgroup", &p.pid); err != nil {
			t.Fatal(err)
		}
		comm, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "comm"))
		p.command = strings.TrimSpace(string(comm))
		list = append(list, p)
	}
	return list
}
