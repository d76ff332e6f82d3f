package dind

import (
	"fmt"
	"strings"
	"testing"
)

// unprivileged are the fewest options with which dockerd works without --privileged
// (docs/guide/dind.md).
var unprivileged = []string{
	"--cap-add SYS_ADMIN", "--cap-add NET_ADMIN", "--security-opt seccomp=unconfined",
	"--security-opt systempaths=unconfined", "--security-opt writable-cgroups=true", "--cgroupns private",
}

func options(list []string) []string { return strings.Fields(strings.Join(list, " ")) }

func TestUnprivileged(t *testing.T) {
	h := current(t)
	e := h.container(t, "unprivileged", append(options(unprivileged), "-v", busyTar+":/images/busy.tar:ro")).wait()
	want(t, "log", e.logs(), "isolation none")
	if got := e.in([]string{"-m", "64m"}, "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null").stdout; got != "67108864" {
		t.Errorf("memory limit inside: %q", got)
	}
	e.docker("run", "-d", "--name", "web", "-p", "8080:80", busyName, "httpd", "-f", "-p", "80", "-h", "/")
	e.must("wget", "-q", "-O", "-", "http://127.0.0.1:8080/greeting")
	e.docker("rm", "-f", "web")
	h.must(t, "stop", e.name)
	if got := h.must(t, "inspect", "-f", "{{.State.ExitCode}}", e.name); got != "0" {
		t.Errorf("exit status %s", got)
	}
}

func TestMissingOptionIsNamed(t *testing.T) {
	h := current(t)
	for i, missing := range unprivileged {
		if missing == "--cgroupns private" {
			continue // named together with writable-cgroups
		}
		var rest []string
		for j, o := range unprivileged {
			if i != j && !(strings.Contains(missing, "writable") && strings.Contains(o, "cgroupns")) {
				rest = append(rest, o)
			}
		}
		r := h.try(t, append(append([]string{"run", "--rm"}, options(rest)...), imageName)...)
		if r.code == 0 || !strings.Contains(r.stderr, "add to docker run: "+missing) || strings.Contains(r.stderr, "\n") {
			t.Errorf("without %s: %s", missing, r)
		}
	}
	for _, isolation := range []string{"userns", "rootful"} {
		r := h.try(t, append(append([]string{"run", "--rm"}, options(unprivileged)...), imageName, "--isolation", isolation)...)
		want(t, isolation+" without --privileged", r.stderr, "needs docker run --privileged")
	}
	want(t, "nonsense", h.try(t, "run", "--rm", "--privileged", imageName, "--isolation=vm").stderr, "choose userns, rootful or none")
}

func TestIsolationCanBeChosen(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		for _, isolation := range []string{"rootful", "none"} {
			e := h.privileged(t, "chosen", nil, "--isolation="+isolation)
			want(t, "log", e.logs(), "isolation "+isolation)
			if r := e.in(nil, "echo works"); r.stdout != "works" {
				t.Errorf("%s: %s\n%s", isolation, r, tail(e.logs()))
			}
			e.remove()
		}
	})
}

// A privileged container in the engine of a privileged container reaches nothing of the
// machine: berth has given up what --privileged gave.
func TestPrivilegedInsideReachesNothingOutside(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		e := h.privileged(t, "fort", nil)
		e.must("sh", "-c", "echo secret > /secret; chmod 600 /secret")
		try := func(what, script, bad string) {
			t.Helper()
			r := e.in([]string{"--privileged", "--pid=host", "--net=host", "-v", "/:/host"}, script)
			if strings.Contains(r.stdout, bad) {
				t.Errorf("%s: %s", what, r)
			}
		}
		try("a file of the container", "cat /host/secret /proc/1/root/secret; true", "secret")
		try("a disk by its number", "mknod /d b 254 0 && head -c 1 /d | wc -c", "1")
		try("any disk", "for d in /dev/vd* /dev/sd* /host/dev/vd*; do head -c 1 $d; done 2>/dev/null | wc -c | grep -v ^0$ && echo read", "read")
		try("core_pattern", "echo '|/bin/true' > /proc/sys/kernel/core_pattern && echo wrote", "wrote")
		try("the time", "date -s 2020-01-01 >/dev/null 2>&1; date +%Y", "2020")
		try("the container's processes", "ls /proc/*/exe -l 2>/dev/null | grep -c /usr/bin/berth$", "1")
		if got := e.in(nil, "cat /proc/self/uid_map").stdout; h.name != "berth" && strings.Fields(got)[1] == "0" {
			t.Errorf("root inside is root outside: %s", got)
		}
	})
}

func TestZombiesAreReaped(t *testing.T) {
	e := current(t).privileged(t, "zombies", nil)
	for range 5 {
		e.must("sh", "-c", "(sleep 0 &) ; true")
		e.in(nil, "true")
	}
	if got := e.must("sh", "-c", "grep -l '^State:.Z' /proc/[0-9]*/status; true"); got != "" {
		t.Errorf("zombies: %s", got)
	}
}

func TestNoInheritedDescriptors(t *testing.T) {
	e := current(t).privileged(t, "fds", nil)
	e.docker("run", "-d", "--privileged", "--name", "still", busyName, "sleep", "1000")
	got := e.docker("exec", "still", "ls", "/proc/1/fd")
	if got != "0\n1\n2" {
		t.Errorf("descriptors in a container: %s", got)
	}
}

// Engine in engine in engine, on top of the host's own.
func TestNestingThreeDeep(t *testing.T) {
	h := current(t)
	prefix := []string{}
	e := h.privileged(t, "deep", []string{"-v", shared + ":/tars:ro", "-v", shared + "/berth.tar:/images/berth.tar:ro"})
	for depth := 2; depth <= 3; depth++ {
		name := fmt.Sprintf("deep%d", depth)
		inside := func(args ...string) string { return e.must(append(append([]string{}, prefix...), args...)...) }
		inside("docker", "run", "-d", "--privileged", "--name", name, "-v", "/tars:/tars:ro", "-v", "/tars/berth.tar:/images/berth.tar:ro", "-v", "/tars/busy.tar:/images/busy.tar:ro", imageName)
		prefix = append(prefix, "docker", "exec", name)
		inside = func(args ...string) string { return e.must(append(append([]string{}, prefix...), args...)...) }
		inside("berth", "_health")
		inside("sh", "-c", "echo outer > /secret")
		if got := inside("docker", "run", "--rm", "-m", "64m", busyName, "sh", "-c", "echo depth "+name); got != "depth "+name {
			t.Errorf("run at depth %d: %q", depth, got)
		}
		inside("sh", "-c", "docker save "+busyName+" | wc -c")
		reached := e.try(append(append([]string{}, prefix...), "docker", "run", "--rm", "--privileged", "-v", "/:/host", busyName, "sh", "-c", "cat /host/secret /proc/1/root/secret; true")...)
		if strings.Contains(reached.stdout, "outer") {
			t.Errorf("depth %d: the innermost container sees the outer one: %s", depth, reached)
		}
		if depth == 3 {
			inside("docker", "rmi", busyName)
		}
	}
}
