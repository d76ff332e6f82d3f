package kube

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// manifest is what `berth kube` writes, with berth's image for the engine.
func manifest(t testing.TB, args ...string) string {
	t.Helper()
	cmd := exec.Command(berthProgram, append([]string{"kube"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("berth kube %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

// pod adds to the flags those that every pod of these tests has: berth's image for both
// containers, and trust in the private registry.
func pod(kind string, args ...string) []string {
	// A short time to end in: what the tests' clients run does not heed SIGTERM.
	base := []string{kind, "--name", "build", "--image", berthImage, "--client-image", berthImage, "--grace", "6", "--registry-ca", registryHost() + "=" + companyStore.CAFile}
	return append(base, args...)
}

// registryHost is the private registry's, as an image's name has it.
func registryHost() string { return strings.SplitN(busyRef, "/", 2)[0] }

// What berth writes has no field that Kubernetes does not know or would not accept.
func TestEveryManifestIsAccepted(t *testing.T) {
	ns := node.Namespace(t)
	ns.Apply(manifest(t, "node-setup", "runtimeclass", "--runtime-class", ns.Name))
	defer func() {
		if _, err := node.Kubectl(context.Background(), "", "delete", "runtimeclass", ns.Name); err != nil {
			t.Error(err)
		}
	}()
	for name, args := range map[string][]string{
		"job":          pod("job", "--memory", "1Gi", "--cpus", "1", "--ephemeral-storage", "5Gi", "--pids", "500", "--deadline", "60", "--ttl", "60", "--", "true"),
		"unprivileged": pod("job", "--level", "unprivileged", "--data-size", "5Gi", "--", "true"),
		"confined":     pod("job", "--level", "unprivileged", "--apparmor", "berth-engine", "--", "true"),
		"rootful":      pod("job", "--level", "rootful", "--endpoint", "tcp", "--", "true"),
		"trust":        pod("job", "--ca", companyStore.CAFile, "--mirror", "https://m.ci.svc:5443", "--mirror-ca", companyStore.CAFile, "--docker-config-secret", "x", "--pull-secret", "y", "--", "true"),
		"ephemeral":    pod("deployment", "--data", "ephemeral", "--data-size", "5Gi", "--storage-class", "fast", "--service-account", "default", "--replicas", "2"),
		"claim":        pod("deployment", "--data", "pvc", "--data-claim", "images"),
		"cronjob":      pod("cronjob", "--schedule", "30 2 * * *", "--time-zone", "Etc/UTC", "--", "true"),
		"statefulset":  pod("statefulset", "--data-size", "5Gi"),
		"mirror":       {"mirror", "--size", "5Gi", "--docker-config-secret", "x", "--allow-from", "a=b", "--memory", "512Mi"},
		"daemonset":    {"mirror", "--daemonset", "--size", "5Gi"},
		"doctor":       {"doctor"},
		"jenkins":      {"overlay", "jenkins", "--level", "unprivileged", "--runtime-class", ns.Name},
		"runtimeclass": {"node-setup", "runtimeclass", "--node-selector", "a=b"},
	} {
		file := filepath.Join(t.TempDir(), name+".yaml")
		if err := os.WriteFile(file, []byte(manifest(t, args...)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ns.Try("apply", "--dry-run=server", "--validate=strict", "-f", file); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// kubectl applies a Kustomize base as it is.
func TestAKustomizeBaseIsApplied(t *testing.T) {
	dir := t.TempDir()
	manifest(t, pod("job", "--kustomize", dir, "--", "true")...)
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
			ns.Apply(manifest(t, append(args, "--", "sh", "-c", "echo $DOCKER_HOST; docker run --rm "+busyRef+" echo ran")...))
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
	text := manifest(t, pod("deployment", "--pids", "300", "--", "sleep", "100000")...)
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
	ns.Apply(manifest(t, pod("cronjob", "--schedule", "@yearly", "--", "docker", "pull", "-q", busyRef)...))
	ns.Kubectl("create", "job", "now", "--from=cronjob/build")
	ns.Wait("job/now", "condition=Complete")
}

// A StatefulSet's next pod has the images of the one before.
func TestAStatefulSetKeepsItsImages(t *testing.T) {
	dir, err := os.MkdirTemp("/var/lib", "kube-claim-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ns := node.Namespace(t)
	defer func() {
		if _, err := node.Kubectl(t.Context(), "", "delete", "pv", ns.Name, "--wait=false"); err != nil {
			t.Error(err)
		}
	}()
	ns.Apply(`
apiVersion: v1
kind: PersistentVolume
metadata: {name: ` + ns.Name + `}
spec:
  capacity: {storage: 5Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  claimRef: {namespace: ` + ns.Name + `, name: data-build-0}
  hostPath: {path: ` + dir + `}
`)
	ns.Apply(manifest(t, pod("statefulset", "--data-size", "5Gi", "--", "sleep", "100000")...))
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

// An engine that is killed is started again in the same pod, with its images.
func TestAnEngineThatEndsIsStartedAgain(t *testing.T) {
	ns := node.Namespace(t)
	ns.Apply(manifest(t, pod("deployment", "--", "sleep", "100000")...))
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
