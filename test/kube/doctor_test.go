package kube

import (
	"strings"
	"testing"

	"github.com/berth-dev/berth/test/kube/cluster"
)

// The doctor starts an engine of each level that the cluster allows, and says why not of one
// that it does not. This node has neither cgroup v2 nor a RuntimeClass.
func TestTheDoctorSaysWhatAClusterAllows(t *testing.T) {
	ns := node.Namespace(t)
	ns.Apply(written(t, "doctor", "--image", berthImage))
	for _, level := range []string{"userns", "rootful"} {
		ns.Wait("job/berth-doctor-"+level, "condition=Complete")
		if log := ns.Logs("job/berth-doctor-"+level, "doctor"); !strings.Contains(log, "one started in") || !strings.Contains(log, "→") {
			t.Errorf("%s:\n%s", level, log)
		}
	}
	ns.Wait("job/berth-doctor-unprivileged", "jsonpath={.metadata.name}=berth-doctor-unprivileged")
	if events := ns.Events(); !strings.Contains(events, `RuntimeClass "berth" not found`) {
		t.Errorf("the events do not say what is missing:\n%s", events)
	}
}

// A pod without the privileges says which it lacks, in Kubernetes's words.
func TestAPodThatLacksPrivilegesSaysSo(t *testing.T) {
	ns := node.Namespace(t)
	text := written(t, pod("job", "--", "true")...)
	ns.Apply(strings.Replace(text, "privileged: true", "privileged: false", 1))
	message := lastWords(ns)
	if !strings.Contains(message, "needs securityContext: {privileged: true}") || strings.Contains(message, "docker run") {
		t.Errorf("the engine's last words: %s", message)
	}
}

// An engine whose data would be on the container's own layer says so, instead of copying every
// image. (Without any volume in the manifest, the runtime makes one: the image declares it.)
func TestAPodWithoutAVolumeSaysSo(t *testing.T) {
	ns := node.Namespace(t)
	text := written(t, pod("job", "--", "true")...)
	const engine = "            - dockerd\n"
	if strings.Count(text, engine) != 1 {
		t.Fatalf("not one %q in\n%s", engine, text)
	}
	ns.Apply(strings.Replace(text, engine, engine+"            - --data-root=/data\n", 1))
	if message := lastWords(ns); !strings.Contains(message, "/data is on the container's own overlay file system") || !strings.Contains(message, "an emptyDir") {
		t.Errorf("the engine's last words: %s", message)
	}
}

// lastWords are those of the engine in the namespace's Job, when it has refused to start.
func lastWords(ns *cluster.Namespace) string {
	ns.Kubectl("wait", "--for=create", "pod", "-l", "app.kubernetes.io/name=build", "--timeout=60s")
	name := ns.Get("pods", "{.items[0].metadata.name}")
	ns.Wait("pod/"+name, "jsonpath={.status.initContainerStatuses[0].lastState.terminated.exitCode}=125")
	return ns.Get("pod/"+name, "{.status.initContainerStatuses[0].lastState.terminated.message}")
}
