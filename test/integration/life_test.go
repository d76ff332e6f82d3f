package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/test/sandbox"
)

// An engine that is kept: every verb, in the order of a life.
func TestLifeOfAnEngine(t *testing.T) {
	guard(t)
	e := up(t, "life")
	if !strings.HasPrefix(e.DockerHost, "unix://") || e.DockerHost != "unix://"+e.Socket || len(e.ID) != 12 || e.Name != "life" {
		t.Errorf("berth up --json gave %+v", e)
	}
	want(t, "ls", must(t, "ls"), "life")
	if got := must(t, "ls", "-q"); got != e.ID {
		t.Errorf("ls -q printed %q", got)
	}
	if got := inspect(t, "life")["status"]; got != "running" {
		t.Errorf("inspect says %v", got)
	}
	want(t, "inspect by part of the id", must(t, "inspect", e.ID[:6]), e.ID)
	want(t, "exec", must(t, "exec", "life", "--", "sh", "-c", "docker images; echo $DOCKER_HOST"), e.DockerHost)
	if r := berth(t, "exec", "life", "--", "sh", "-c", "exit 9"); r.code != 9 {
		t.Errorf("exec: %s", r)
	}
	want(t, "shell", must(t, "shell", "life", "--", "cat", "/proc/1/comm"), "berth-init")
	for program, status := range map[string]int{"false": 1, "nothing": 127, "/etc": 126, "/etc/passwd": 126} {
		if r := berth(t, "shell", "life", "--", program); r.code != status {
			t.Errorf("shell %s: %s, want status %d", program, r, status)
		}
	}
	want(t, "env", must(t, "env", "life"), "DOCKER_HOST='"+e.DockerHost+"'")
	want(t, "logs", must(t, "logs", "life"), "level=warning")
	want(t, "stats", must(t, "stats", "--json", "life"), `"memory`)
	e.docker("run", "-d", "--name", "kept", imageName, "sh", "-c", "echo kept >/file; exec sleep 1000")

	must(t, "stop", "life")
	if got := inspect(t, "life")["status"]; got != "stopped" {
		t.Errorf("after stop it is %v", got)
	}
	if r := e.try("ps"); r.code != 125 {
		t.Errorf("docker against a stopped engine: %s", r)
	}
	must(t, "start", "life")
	want(t, "containers after start", e.docker("ps", "-a"), "kept")
	e.docker("start", "kept")
	want(t, "files after start", e.docker("exec", "kept", "cat", "/file"), "kept")
	must(t, "rm", "life")
	if got := must(t, "ls", "-q"); got != "" {
		t.Errorf("after rm there is %q", got)
	}
}

// The environment that `berth env` prints works for a program on the host.
func TestEnvAndContext(t *testing.T) {
	guard(t)
	home := workspace(t)
	bare(t, "envy")
	cli, err := filepath.Glob("/var/lib/berth/payload/*/host/bin/docker")
	if err != nil || len(cli) != 1 {
		t.Fatal(cli, err)
	}
	out, err := exec.Command("sh", "-ec", fmt.Sprintf(`eval "$(%s env envy)"; %s version -f '{{.Server.Version}}'`, berthProgram, cli[0])).CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "29.") {
		t.Errorf("env: %v %s", err, out)
	}
	env := []string{"HOME=" + home, "DOCKER_CONFIG=" + filepath.Join(home, ".docker")}
	if r := finish(t, command(t, env, "context", "envy")); r.code != 0 || r.stdout != "berth-envy\n" {
		t.Fatal(r)
	}
	docker := exec.Command(cli[0], "--context", "berth-envy", "version", "-f", "{{.Server.Version}}")
	docker.Env = append(os.Environ(), env...)
	if out, err := docker.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "29.") {
		t.Errorf("context: %v %s", err, out)
	}
	if r := finish(t, command(t, env, "context", "--rm", "envy")); r.code != 0 {
		t.Error(r)
	}
}

// Engines in a list, one JSON object a line.
func TestListAsJSON(t *testing.T) {
	guard(t)
	bare(t, "alpha")
	bare(t, "beta", "--memory", "512m")
	lines := strings.Split(must(t, "ls", "--json"), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines: %q", len(lines), lines)
	}
	for _, line := range lines {
		var object struct{ ID, Name, Status, Socket string }
		if err := json.Unmarshal([]byte(line), &object); err != nil || object.Status != "running" || object.Socket == "" {
			t.Errorf("%q: %v", line, err)
		}
	}
}

// The socket belongs to the user the engine is for, and to nobody else.
func TestSocketOwner(t *testing.T) {
	guard(t)
	cmd := command(t, asUser, "up", "--json", "owned")
	r := finish(t, cmd)
	var e engine
	if err := json.Unmarshal([]byte(r.stdout), &e); err != nil {
		t.Fatalf("%s: %v", r, err)
	}
	t.Cleanup(func() { must(t, "rm", "-f", "owned") })
	if got := owner(t, e.Socket); got != fmt.Sprintf("%d:%d 660", sandbox.UserID, sandbox.UserID) && got != fmt.Sprintf("%d:%d 600", sandbox.UserID, sandbox.UserID) {
		t.Errorf("the socket is %s", got)
	}
}

// An engine can be removed in the very moment in which `berth up` hands it over to its monitor.
func TestRemoveAtOnce(t *testing.T) {
	guard(t)
	for _, verb := range []string{"rm", "stop"} {
		t.Run(verb, func(t *testing.T) {
			if r := finish(t, command(t, []string{"BERTH_FAULT=detach:stop"}, "up", "brief")); r.code != 0 {
				t.Fatal(r)
			}
			t.Cleanup(func() { must(t, "rm", "-f", "brief") })
			endFrozen(t, verb, "brief")
		})
	}
}

// Who waits for an engine that somebody else removes meanwhile is told so.
func TestRemoveWhileStarting(t *testing.T) {
	guard(t)
	starting := command(t, []string{"BERTH_FAULT=data:stop"}, "up", "brief")
	var stderr bytes.Buffer
	starting.Stderr = &stderr
	if err := starting.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, "rm", "-f", "brief") })
	eventually(t, "the engine is there", func() bool { return berth(t, "inspect", "brief").code == 0 })
	endFrozen(t, "rm", "brief")
	if err := starting.Wait(); err == nil || stderr.String() != "berth: engine is not running: it was stopped or removed while it started\n" {
		t.Errorf("berth up: %v: %q", err, stderr.String())
	}
}

// endFrozen has berth stop or rm end an engine whose monitor a fault makes stand still, and go on
// when it has been told.
func endFrozen(t *testing.T, verb, name string) {
	t.Helper()
	monitor := number(t, inspect(t, name), "monitor", "pid")
	eventually(t, "the monitor stands still", func() bool { return strings.HasPrefix(status(monitor, "State"), "T") })
	ending := command(t, nil, verb, name)
	if err := ending.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the monitor has a signal", func() bool { return strings.Trim(status(monitor, "ShdPnd"), "0") != "" })
	if err := unix.Kill(monitor, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := ending.Wait(); err != nil {
		t.Errorf("berth %s: %v", verb, err)
	}
}

// status is a field of proc_pid_status(5), empty when the process has ended.
func status(pid int, field string) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, after, _ := strings.Cut("\n"+string(text), "\n"+field+":")
	value, _, _ := strings.Cut(after, "\n")
	return strings.TrimSpace(value)
}

// Images, containers, volumes and many files go with berth run (how soon is `make bench`'s to say).
func TestLargeDataRootGoes(t *testing.T) {
	guard(t)
	r := script(t, fmt.Sprintf(`docker load -q -i %s
		docker run -d %s sleep 1000
		docker volume create vol
		docker run --rm -v vol:/v %s sh -c 'for i in $(seq 2000); do echo $i >/v/$i; done'`, imageTar, imageName, imageName))
	if r.code != 0 {
		t.Fatal(r)
	}
}

// Programs that the command leaves in the background do not outlive the engine.
func TestBackgroundProcesses(t *testing.T) {
	guard(t)
	if r := script(t, "sleep 1000 & setsid sleep 1001 & echo done"); r.code != 0 {
		t.Error(r)
	}
}

// Zombies of the engine are reaped by its init.
func TestInitReaps(t *testing.T) {
	guard(t)
	e := up(t, "reaper")
	for range 3 {
		e.docker("run", "-d", imageName, "sh", "-c", "sleep 0.1 & sleep 0.1 & true")
	}
	init := number(t, inspect(t, e.ID), "init", "pid")
	eventually(t, "no zombies in the engine", func() bool {
		for _, pid := range descendants(t, init) {
			stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if strings.Contains(string(stat), ") Z ") {
				return false
			}
		}
		return true
	})
}

// Builds work, with the bundled buildx, from a context of the user's.
func TestBuild(t *testing.T) {
	guard(t)
	dir := workspace(t)
	text := "FROM " + imageName + "\nCOPY note /note\nRUN cat /note >/seen && chown 1000 /seen\n"
	for name, data := range map[string]string{"Dockerfile": text, "note": "a note\n", "compose.yaml": "services:\n  one:\n    image: " + imageName + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r := inWorkspace(t, dir, `
		docker build -q -t built . >/dev/null
		docker run --rm built sh -c 'cat /seen; stat -c %u /seen'
		docker compose up --quiet-pull --abort-on-container-exit 2>&1 | grep hello
		docker compose down -t 0 2>/dev/null`)
	if r.code != 0 {
		t.Fatal(r)
	}
	want(t, "build and compose", r.stdout, "a note\n1000\n")
	want(t, "compose", r.stdout, "hello from five layers")
}

// What a private registry serves can be pulled, run and built upon.
func TestPrivateRegistry(t *testing.T) {
	guard(t)
	reg, ref := privateRegistry(t)
	flags := []string{"--registry-ca", reg.Address() + "=" + reg.CAFile, "--add-host", reg.Host + ":host-gateway"}
	r := script(t, fmt.Sprintf(`docker pull -q %[1]s; docker run --rm %[1]s
		printf 'FROM %[1]s\nRUN true\n' | docker build -q --pull -t %[1]s-two -
		docker push -q %[1]s-two`, ref), flags...)
	if r.code != 0 {
		t.Fatal(r)
	}
	want(t, "pulled and run", r.stdout, "hello from five layers")
	r = script(t, "docker pull -q "+ref, "--add-host", reg.Host+":host-gateway")
	if r.code == 0 {
		t.Errorf("the registry was trusted without its authority: %s", r)
	}
	want(t, "the error", r.stderr, "certificate")
}
