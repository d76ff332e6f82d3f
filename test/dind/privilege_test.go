package dind

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/berth-dev/berth/test/image"
	"github.com/berth-dev/berth/test/sandbox"
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
	reg, ref, ca := privateRegistry(t)
	given := func(tars string) []string {
		authority := tars + strings.TrimPrefix(ca, shared)
		return []string{
			"--add-host", reg.Host + ":" + sandbox.HostAddress, "-v", authority + ":/etc/docker/certs.d/" + reg.Host + "/ca.crt:ro",
			"-v", tars + ":/tars:ro", "-v", tars + "/berth.tar:/images/berth.tar:ro",
		}
	}
	e := h.privileged(t, "deep", given(shared))
	within := []string{}
	for depth := 1; depth <= 3; depth++ {
		if depth > 1 {
			name := fmt.Sprint("deep", depth)
			options := append(given("/tars"), "--privileged", "--name", name, "-v", "/tars/busy.tar:/images/busy.tar:ro")
			e.must(append(append(within, "docker", "run", "-d"), append(options, imageName)...)...)
			within = append(within, "docker", "exec", name)
		}
		t.Run(fmt.Sprint("depth ", depth), func(t *testing.T) { checkNested(t, e, slices.Clip(within), ref) })
	}
}

// checkNested uses the engine in which commands after within are run.
func checkNested(t *testing.T, e *engine, within []string, ref string) {
	inside := func(args ...string) result { return e.try(append(within, args...)...) }
	must := func(args ...string) string {
		t.Helper()
		r := inside(args...)
		if r.code != 0 {
			t.Fatalf("%v: %s", args, r)
		}
		return r.stdout
	}
	must("berth", "health")
	must("docker", "pull", "-q", ref)
	if got := must("docker", "run", "--rm", "-m", "64m", ref); got != image.Greeting {
		t.Errorf("what was pulled says %q", got)
	}
	if n, err := strconv.Atoi(must("sh", "-c", "docker save "+ref+" | wc -c")); n < 100_000 || err != nil {
		t.Errorf("saved %d bytes, %v", n, err)
	}
	must("docker", "rmi", ref)
	must("sh", "-c", "echo outer > /secret; chmod 600 /secret")
	script := "cat /host/secret /proc/1/root/secret; for d in /dev/vd* /dev/sd* /host/dev/vd*; do head -c 1 $d | wc -c | grep 1; done; mknod /d b 254 0 && head -c 1 /d | wc -c; true"
	r := inside("docker", "run", "--rm", "--privileged", "--pid=host", "-v", "/:/host", busyName, "sh", "-c", script)
	if r.code != 0 || strings.Contains(r.stdout, "outer") || strings.Contains(r.stdout, "1") {
		t.Errorf("a privileged container reaches the engine's container or a disk: %s", r)
	}
}
