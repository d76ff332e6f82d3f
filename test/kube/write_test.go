package kube

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-dev/berth/test/kube/cluster"
)

// pod adds to the flags those that every pod of these tests has: berth's image for both
// containers, and trust in the private registry.
func pod(kind string, args ...string) []string {
	// A short time to end in: what the tests' clients run does not heed SIGTERM.
	base := []string{kind, "--name", "build", "--image", berthImage, "--client-image", berthImage, "--grace", "6", "--registry-ca", registryHost() + "=" + companyStore.CAFile}
	return append(base, args...)
}

// registryHost is the private registry's, as an image's name has it.
func registryHost() string { return strings.SplitN(busyRef, "/", 2)[0] }

// kubectl applies a Kustomize base as it is.
func TestAKustomizeBaseIsApplied(t *testing.T) {
	dir := t.TempDir()
	written(t, pod("job", "--kustomize", dir, "--", "true")...)
	ns := node.Namespace(t)
	ns.Kubectl("apply", "-k", dir)
	ns.Wait("job/build", "condition=Complete")
}

func TestAnEngineOfEachKind(t *testing.T) {
	for name, args := range map[string][]string{
		"rootful over TCP": pod("job", "--level", "rootful", "--endpoint", "tcp"),
		"no workspace":     pod("job", "--workspace", ""),
	} {
		t.Run(name, func(t *testing.T) {
			ns := node.Namespace(t)
			ns.Apply(written(t, append(args, "--", "sh", "-c", "echo $DOCKER_HOST; docker run --rm "+busyRef+" echo ran")...))
			ns.Wait("job/build", "condition=Complete")
			if log := ns.Logs("job/build", "client"); !strings.HasSuffix(log, "ran") {
				t.Errorf("the client wrote %q", log)
			}
		})
	}
}

// The client's directory is the engine's too, published ports are the pod's, and who the
// client is does not matter.
func TestAClientHasWhatAMachineHas(t *testing.T) {
	text := written(t, pod("deployment", "--pids", "300", "--", "sleep", "100000")...)
	text = strings.Replace(text, "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: false\n            runAsUser: 1000", 1)
	ns := node.Namespace(t)
	ns.Apply(text)
	ns.Wait("deployment/build", "condition=Available")
	client := func(script string) string {
		return ns.Exec("deployment/build", "client", "sh", "-c", "export HOME=/tmp; "+script)
	}
	if got := client("id -u"); got != "1000" {
		t.Fatalf("the client is user %s", got)
	}
	if got := client(`echo shared > "$PWD/file" && docker run --rm -v "$PWD:/src" ` + busyRef + " cat /src/file"); got != "shared" {
		t.Errorf("a bind mount of the workspace: %q", got)
	}
	if got := client("docker run -d -p 8080:80 " + busyRef + " httpd -f -p 80 -h / >/dev/null && wget -q -O- http://127.0.0.1:8080/greeting"); got == "" {
		t.Error("a published port is not the pod's")
	}
	if got := ns.Exec("deployment/build", "engine", "sh", "-c", "cat /sys/fs/cgroup/pids/berth/*/pids.max /sys/fs/cgroup/berth/*/pids.max 2>/dev/null; true"); got != "300" {
		t.Errorf("--pids 300 is %q", got)
	}
	ns.Exec("deployment/build", "engine", "berth", "health")
}

// A cron job's pods are a job's.
func TestACronJobRuns(t *testing.T) {
	ns := node.Namespace(t)
	ns.Apply(written(t, pod("cronjob", "--schedule", "@yearly", "--", "docker", "pull", "-q", busyRef)...))
	ns.Kubectl("create", "job", "now", "--from=cronjob/build")
	ns.Wait("job/now", "condition=Complete")
}

// A StatefulSet's next pod has the images of the one before.
func TestAStatefulSetKeepsItsImages(t *testing.T) {
	ns := node.Namespace(t)
	persistentVolume(t, ns, "5Gi")
	ns.Apply(written(t, pod("statefulset", "--data-size", "5Gi", "--", "sleep", "100000")...))
	ns.Wait("pod/build-0", "condition=Ready")
	ns.Exec("build-0", "client", "docker", "pull", "-q", busyRef)
	uid := ns.Get("pod/build-0", "{.metadata.uid}")
	ns.Kubectl("delete", "pod", "build-0", "--grace-period=5")
	ns.Wait("pod/build-0", "condition=Ready")
	if ns.Get("pod/build-0", "{.metadata.uid}") == uid {
		t.Fatal("it is the same pod")
	}
	if got := ns.Exec("build-0", "client", "docker", "run", "--rm", "--pull=never", busyRef, "echo", "kept"); got != "kept" {
		t.Errorf("the second pod says %q", got)
	}
}

// A volume of a storage class, which goes with the pod, and a claim that is there already have
// the engine's data.
func TestAnEnginesDataIsOnItsVolume(t *testing.T) {
	for name, flags := range map[string][]string{
		"ephemeral": {"--data", "ephemeral", "--data-size", "3Gi"},
		"claim":     {"--data", "pvc", "--data-claim", "images"},
	} {
		t.Run(name, func(t *testing.T) {
			ns := node.Namespace(t)
			dir := persistentVolume(t, ns, "3Gi")
			if name == "claim" {
				ns.Apply(`
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: images}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 3Gi}}}
`)
			}
			ns.Apply(written(t, append(pod("job", flags...), "--", "docker", "pull", "-q", busyRef)...))
			ns.Wait("job/build", "condition=Complete")
			if blobs, err := filepath.Glob(dir + "/containerd/daemon/io.containerd.content.v1.content/blobs/sha256/*"); err != nil || len(blobs) == 0 {
				t.Errorf("what was pulled is not on the volume: %v %v", blobs, err)
			}
		})
	}
}

// persistentVolume makes a directory of the node a volume of the cluster's, for a claim of the
// namespace's, and returns it.
func persistentVolume(t *testing.T, ns *cluster.Namespace, size string) (dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("/var/lib", "kube-claim-")
	if err != nil {
		t.Fatal(err)
	}
	ns.Apply(`
apiVersion: v1
kind: PersistentVolume
metadata: {name: ` + ns.Name + `}
spec:
  capacity: {storage: ` + size + `}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  local: {path: ` + dir + `}
  nodeAffinity:
    required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [` + cluster.NodeName + `]}]}]}
`)
	t.Cleanup(func() {
		if _, err := node.Kubectl(context.Background(), "", "delete", "pv", ns.Name, "--wait=false"); err != nil {
			t.Error(err)
		}
		os.RemoveAll(dir)
	})
	return dir
}

// An engine that hangs is started again: the liveness probe asks it.
func TestAnEngineThatHangsIsStartedAgain(t *testing.T) {
	text := written(t, pod("deployment", "--", "sleep", "100000")...)
	const patient = "periodSeconds: 30\n            timeoutSeconds: 10\n            failureThreshold: 4\n"
	if !strings.Contains(text, patient) {
		t.Fatalf("no %q in\n%s", patient, text)
	}
	ns := node.Namespace(t)
	ns.Apply(strings.Replace(text, patient, "periodSeconds: 1\n            timeoutSeconds: 10\n            failureThreshold: 1\n", 1))
	ns.Wait("deployment/build", "condition=Available")
	name := ns.Get("pods", "{.items[0].metadata.name}")
	ns.Exec(name, "engine", "sh", "-c", "kill -STOP $(pidof dockerd)")
	ns.Wait("pod/"+name, "jsonpath={.status.initContainerStatuses[0].restartCount}=1")
	ns.Wait("pod/"+name, "condition=Ready")
	if events := ns.Events(); !strings.Contains(events, "Liveness probe failed: ") || !strings.Contains(events, "the engine does not answer") {
		t.Errorf("the events do not say that it hung:\n%s", events)
	}
	if got := ns.Exec(name, "client", "docker", "run", "--rm", busyRef, "echo", "again"); got != "again" {
		t.Errorf("after the restart: %q", got)
	}
}

// An engine that is killed is started again in the same pod, with its images.
func TestAnEngineThatEndsIsStartedAgain(t *testing.T) {
	ns := node.Namespace(t)
	ns.Apply(written(t, pod("deployment", "--", "sleep", "100000")...))
	ns.Wait("deployment/build", "condition=Available")
	ns.Exec("deployment/build", "client", "docker", "pull", "-q", busyRef)
	name := ns.Get("pods", "{.items[0].metadata.name}")
	ns.Exec(name, "engine", "sh", "-c", "kill -9 $(pidof dockerd)")
	ns.Wait("pod/"+name, "jsonpath={.status.initContainerStatuses[0].restartCount}=1")
	ns.Wait("pod/"+name, "jsonpath={.status.initContainerStatuses[0].ready}=true")
	if got := ns.Exec(name, "client", "docker", "run", "--rm", "--pull=never", busyRef, "echo", "again"); got != "again" {
		t.Errorf("after the restart: %q", got)
	}
	if log := ns.Kubectl("logs", name, "-c", "engine", "--previous"); !strings.Contains(log, "dockerd ended with status 137") {
		t.Errorf("the engine's last words:\n%s", log)
	}
}
