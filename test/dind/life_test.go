package dind

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestKilledContainerStartsAgain(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		for _, isolation := range []string{"userns", "none"} {
			e := h.privileged(t, "killed", nil, "--isolation="+isolation)
			e.docker("run", "-d", "--name", "inner", busyName, "sleep", "1000")
			e.must("sh", "-c", "echo 1 > /var/run/docker.pid") // as docker:dind leaves it
			h.must(t, "kill", e.name)
			h.must(t, "start", e.name)
			e.wait()
			want(t, "containers", e.docker("ps", "-a"), "inner")
			want(t, "images", e.docker("images"), "berth.test/busy")
			e.docker("start", "inner")
			e.remove()
		}
	})
}

func TestStopEndsCleanly(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		e := h.privileged(t, "stopped", nil)
		e.docker("run", "-d", "--init", busyName, "sleep", "1000")
		e.docker("run", "-d", "-v", "said:/said", busyName, "sh", "-c", "trap 'echo asked > /said/so; exit 0' TERM; echo up; while :; do sleep 0.1; done")
		e.must("sh", "-c", "until docker logs $(docker ps -ql) | grep up; do sleep 0.1; done")
		h.must(t, "stop", e.name)
		if got := h.must(t, "inspect", "-f", "{{.State.ExitCode}}", e.name); got != "0" {
			t.Errorf("exit status %s\n%s", got, tail(e.logs()))
		}
		want(t, "log", e.logs(), "Daemon shutdown complete")
		h.must(t, "start", e.name)
		want(t, "containers after a restart", e.wait().docker("ps", "-a"), "sleep 1000")
		want(t, "a container that was asked to end", e.in([]string{"-v", "said:/said"}, "cat /said/so").stdout, "asked")
	})
}

func TestLogsOnStandardOutput(t *testing.T) {
	e := current(t).privileged(t, "logs", nil)
	// Text that people wait for.
	for _, text := range []string{"API listen on /var/run/docker.sock", "Daemon has completed initialization", "API listen on 0.0.0.0:2376"} {
		want(t, "docker logs", e.logs(), text)
	}
}

func TestAPullAfterStartNeedsNoWait(t *testing.T) {
	h := current(t)
	for i := range 3 {
		name := fmt.Sprintf("now%d", i)
		e := h.container(t, name, []string{"--privileged"})
		// The socket is there before the engine: a client that comes early waits.
		if r := e.try("sh", "-c", "until [ -S /var/run/docker.sock ]; do :; done; docker version -f '{{.Server.Version}}'"); r.code != 0 {
			t.Errorf("a client that came early: %s", r)
		}
		e.remove()
	}
}

// docker compose's service_healthy and the like wait no longer than the engine takes.
func TestHealthCheckIsGreenOnceTheEngineIsReady(t *testing.T) {
	h := current(t) // a Docker that knows the interval of the beginning
	e := h.container(t, "healthy", []string{"--privileged"})
	var state struct {
		StartedAt time.Time
		Health    struct {
			Status string
			Log    []struct{ Start time.Time }
		}
	}
	eventually(func() bool {
		text := h.must(t, "inspect", "-f", "{{json .State}}", e.name)
		if err := json.Unmarshal([]byte(text), &state); err != nil {
			t.Fatal(err)
		}
		return state.Health.Status != "starting"
	})
	if state.Health.Status != "healthy" || len(state.Health.Log) == 0 {
		t.Fatalf("not healthy: %+v\n%s", state, tail(e.logs()))
	}
	// The regular one would be after ten seconds.
	if after := state.Health.Log[0].Start.Sub(state.StartedAt); after > 5*time.Second {
		t.Errorf("it was made after %v", after)
	}
}

func TestTerminals(t *testing.T) {
	e := current(t).privileged(t, "terminal", nil)
	want(t, "a container's terminal", e.in([]string{"-t"}, "readlink /proc/self/fd/0").stdout, "/dev/pts/0")
	e.docker("run", "-d", "--name", "still", busyName, "sleep", "1000")
	want(t, "docker exec -t", e.docker("exec", "-t", "still", "readlink", "/proc/self/fd/0"), "/dev/pts/0")
}

// What the scripts around docker:dind prepare, where dockerd is in the container's namespaces.
func TestContainerIsPreparedLikeAMachine(t *testing.T) {
	h := hosts[1].ready(t) // whose root is the machine's, as securityfs demands
	e := h.privileged(t, "prepared", []string{"--tmpfs", "/shared"}, "--isolation=none")
	mounts := e.must("cat", "/proc/self/mountinfo")
	for _, line := range strings.Split(mounts, "\n") {
		if f := strings.Fields(line); f[4] == "/" && !strings.Contains(line, " shared:") {
			t.Errorf("/ is not shared: %s", line)
		}
	}
	want(t, "/tmp", mounts, " /tmp rw")
	if e.try("test", "-d", "/sys/kernel/security").code == 0 {
		want(t, "securityfs", mounts, " /sys/kernel/security ")
	}
	want(t, "dockerd's environment", e.must("sh", "-c", "tr '\\0' '\\n' < /proc/$(pidof dockerd)/environ"), "container=docker")
	// So a container can mount for others to see.
	r := e.in([]string{"--privileged", "-v", "/shared:/shared:rshared"}, "mkdir /shared/in && mount -t tmpfs none /shared/in && echo seen > /shared/in/file")
	if got := e.try("cat", "/shared/in/file"); got.stdout != "seen" {
		t.Errorf("what a container mounted: %s, %s", got, r)
	}
	e.remove()
	// A /tmp of the user's stays, and the engine has it as any other volume.
	e = h.privileged(t, "prepared", []string{"-v", file(t, "note", "mine") + ":/tmp/note"})
	if r := e.in([]string{"-v", "/tmp/note:/note"}, "cat /note"); r.stdout != "mine" {
		t.Error(r)
	}
}
