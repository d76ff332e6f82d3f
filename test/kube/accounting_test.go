package kube

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/berth-dev/berth/test/deadline"
	"github.com/berth-dev/berth/test/kube/cluster"
)

// What a container inside uses shows where `kubectl top` looks: at the kubelet.
func TestWhatAContainerInsideUsesShowsAsThePods(t *testing.T) {
	const mebibytes, millicores = 150, 100
	ns := node.Namespace(t)
	ns.Apply(workload(t, "deployment", "docker run -d --shm-size 256m "+busyRef+" sh -c 'dd if=/dev/zero of=/dev/shm/x bs=1M count=150; while :; do :; done' && sleep 100000",
		"--cpus", "500m"))
	ns.Wait("deployment/build", "condition=Available")
	pod := ns.Get("pods", "{.items[0].metadata.name}")
	var seen usage
	for end := time.Now().Add(deadline.Scaled(90 * time.Second)); time.Now().Before(end); time.Sleep(time.Second) {
		if seen = usageOf(t, ns.Name, pod); seen.memory >= mebibytes<<20 && seen.cpu >= millicores {
			return
		}
	}
	t.Errorf("a container inside holds %d MiB and is never idle; the pod shows %d MiB and %d thousandths of a processor", mebibytes, seen.memory>>20, seen.cpu)
}

type usage struct {
	memory uint64 // bytes
	cpu    uint64 // thousandths of a processor
}

// usageOf is what the kubelet says of a pod; nothing when it has no figures yet.
func usageOf(t *testing.T, namespace, name string) usage {
	t.Helper()
	raw, err := node.Kubectl(t.Context(), "", "get", "--raw", "/api/v1/nodes/"+cluster.NodeName+"/proxy/stats/summary")
	if err != nil {
		t.Fatal(err)
	}
	var summary struct {
		Pods []struct {
			PodRef struct{ Name, Namespace string }
			Memory struct{ WorkingSetBytes uint64 }
			CPU    struct{ UsageNanoCores uint64 }
		}
	}
	if err := json.Unmarshal([]byte(raw), &summary); err != nil {
		t.Fatal(err)
	}
	for _, pod := range summary.Pods {
		if pod.PodRef.Name == name && pod.PodRef.Namespace == namespace {
			return usage{pod.Memory.WorkingSetBytes, pod.CPU.UsageNanoCores / 1e6}
		}
	}
	return usage{}
}

// What is stored in the engine counts against the pod's disk, and the kubelet says so when it
// is too much.
func TestAPodIsEvictedForWhatIsStoredInItsEngine(t *testing.T) {
	ns := node.Namespace(t)
	ns.Apply(workload(t, "job", "docker run --rm "+busyRef+" sh -c 'dd if=/dev/zero of=/fill bs=1M count=200; sleep 100000'", "--ephemeral-storage", "100Mi"))
	ns.Wait("job/build", "condition=Failed")
	if events := ns.Events(); !strings.Contains(events, "Evicted") || !strings.Contains(events, "ephemeral") {
		t.Errorf("no event says that the pod stored too much:\n%s", events)
	}
}

// More processes than --pids allows cannot be started inside; the engine and the node go on.
func TestTooManyProcessesInsideAreRefused(t *testing.T) {
	ns := node.Namespace(t)
	ns.Apply(workload(t, "deployment", "sleep 100000", "--pids", "64"))
	ns.Wait("deployment/build", "condition=Available")
	client := func(script string) string { return ns.Exec("deployment/build", "client", "sh", "-c", script) }
	out := client("docker run --rm " + busyRef + " sh -c 'for i in $(seq 200); do sleep 100 & done; echo all' 2>&1; true")
	if !strings.Contains(out, "can't fork") {
		t.Errorf("200 processes could be started where 64 are allowed: %q", out)
	}
	if got := client("docker run --rm " + busyRef + " echo again"); got != "again" {
		t.Errorf("after that a container says %q", got)
	}
}
