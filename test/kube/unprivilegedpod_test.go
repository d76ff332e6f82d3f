package kube

import (
	"strings"
	"testing"
)

// onMachine skips a test that takes cgroup v2 and systemd on the node, and gives the others the
// RuntimeClass of the level unprivileged.
func onMachine(t *testing.T) {
	t.Helper()
	if nodeMachine == nil {
		t.Skip("needs a node with systemd and cgroup v2: make test-kube-vm")
	}
	if _, err := node.Kubectl(t.Context(), written(t, "node-setup", "runtimeclass"), "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
}

// A pod without privileges, in a user namespace of its own, has a whole engine; with berth's
// AppArmor profile as well.
func TestUnprivilegedPod(t *testing.T) {
	onMachine(t)
	for profile, confined := range map[string]string{"Unconfined": "unconfined", "berth-engine": "berth-engine (enforce)"} {
		t.Run(profile, func(t *testing.T) {
			ns := node.Namespace(t)
			ns.Apply(workload(t, "deployment", "docker run -d "+busyRef+" sleep 87654; sleep 100000", "--level", "unprivileged", "--memory", "512Mi", "--apparmor", profile))
			ns.Wait("deployment/build", "condition=Available")
			ns.Exec("deployment/build", "client", "sh", "-c", "until docker ps -q | grep -q .; do sleep 0.5; done")
			if got := ns.Get("pods", "{.items[0].spec.hostUsers} {.items[0].spec.initContainers[0].securityContext.privileged}"); got != "false false" {
				t.Errorf("hostUsers and privileged are %q", got)
			}
			if got := ns.Exec("deployment/build", "engine", "cat", "/proc/1/attr/current"); got != confined {
				t.Errorf("AppArmor: the engine is %q, want %q", got, confined)
			}
			// What every user may read, and the profile forbids.
			if seen := ns.Exec("deployment/build", "engine", "sh", "-c", "find /sys/firmware -mindepth 2 2>/dev/null | head -n 1"); (seen == "") != (profile != "Unconfined") {
				t.Errorf("AppArmor: the engine, which is %q, sees of the node's firmware: %q", confined, seen)
			}
			uid := strings.ReplaceAll(ns.Get("pods", "{.items[0].metadata.uid}"), "-", "_") // systemd's spelling
			for _, line := range groupsOf(t, "sleep", "87654") {
				if !strings.Contains(line, uid) {
					t.Errorf("outside the pod's groups: %s", line)
				}
			}
			tryUnprivileged(t, func(script string) string { return ns.Exec("deployment/build", "client", "sh", "-c", script) })
			if restarts := ns.Get("pods", "{.items[0].status.initContainerStatuses[0].restartCount}"); restarts != "0" {
				t.Errorf("the engine was restarted %s times", restarts)
			}
		})
	}
}

func tryUnprivileged(t *testing.T, client func(string) string) {
	t.Helper()
	const run, privileged = "docker run --rm ", "docker run --rm --privileged "
	for _, try := range []struct{ what, script, want string }{
		{"a privileged container's mount", privileged + busyRef + " sh -c 'mount -t tmpfs none /tmp && echo mounted'", "mounted"},
		{"a setting of the node", privileged + busyRef + " sh -c '(cat /proc/sys/kernel/panic >/proc/sys/kernel/panic) 2>/dev/null && echo written; true'", ""},
		{"the node's disk", privileged + "-v /dev:/d " + busyRef + " sh -c 'dd if=/d/vda bs=512 count=1 2>/dev/null | wc -c'", "0"},
		{"a build", "printf 'FROM " + busyRef + "\\nRUN echo built >/built\\n' | docker build -q -t b - >/dev/null && docker run --rm b cat /built", "built"},
		{"a published port", "docker run -d -p 8080:80 " + busyRef + " httpd -f -p 80 -h /home >/dev/null && wget -q -O- http://127.0.0.1:8080/user/note", "owned by 1000"},
		{"a hog beyond its own limit", "docker run -m 32m " + busyRef + " tail /dev/zero >/dev/null 2>&1; echo $?", "137"},
		{"a hog beyond the pod's limit", "docker run " + busyRef + " tail /dev/zero >/dev/null 2>&1; echo $?", "137"},
		{"a container after that", run + busyRef + " echo again", "again"},
	} {
		if got := client(try.script); got != try.want {
			t.Errorf("%s: got %q, want %q", try.what, got, try.want)
		}
	}
}

// A Job without privileges ends with its client.
func TestUnprivilegedJob(t *testing.T) {
	onMachine(t)
	ns := node.Namespace(t)
	ns.Apply(workload(t, "job", "docker run --rm "+busyRef+" echo done in a container 2>/dev/null", "--level", "unprivileged"))
	ns.Wait("job/build", "condition=Complete")
	if log := ns.Logs("job/build", "client"); log != "done in a container" {
		t.Errorf("the client wrote %q", log)
	}
}

// The doctor starts an engine of the level unprivileged where node-setup's files are.
func TestUnprivilegedDoctor(t *testing.T) {
	onMachine(t)
	ns := node.Namespace(t)
	ns.Apply(written(t, "doctor", "--image", berthImage, "--level", "unprivileged"))
	ns.Wait("job/berth-doctor-unprivileged", "condition=Complete")
	if log := ns.Logs("job/berth-doctor-unprivileged", "doctor"); !strings.Contains(log, "one started in") {
		t.Errorf("the doctor says\n%s", log)
	}
}
