package integration

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The command's status is berth's (design: as `docker run` does).
func TestExitStatus(t *testing.T) {
	guard(t)
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte("not a program"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		title string
		args  []string
		code  int
	}{
		{"success", []string{"true"}, 0},
		{"failure", []string{"false"}, 1},
		{"own status", []string{"sh", "-c", "exit 42"}, 42},
		{"largest status", []string{"sh", "-c", "exit 255"}, 255},
		{"status of berth's own kind", []string{"sh", "-c", "exit 125"}, 125},
		{"ended by TERM", []string{"sh", "-c", "kill -TERM $$"}, 143},
		{"ended by KILL", []string{"sh", "-c", "kill -KILL $$"}, 137},
		{"ended by SEGV", []string{"sh", "-c", "kill -SEGV $$"}, 139},
		{"not found", []string{"no-such-command-berth"}, 127},
		{"path not found", []string{"/no/such/command"}, 127},
		{"not executable", []string{plain}, 126},
		{"a directory", []string{dir}, 126},
	} {
		t.Run(test.title, func(t *testing.T) {
			if r := berth(t, append([]string{"run", "--"}, test.args...)...); r.code != test.code {
				t.Errorf("want status %d, got %s", test.code, r)
			}
		})
	}
}

// A signal sent to berth reaches the command, and the command decides.
func TestSignalsReachTheCommand(t *testing.T) {
	guard(t)
	for _, test := range []struct {
		signal syscall.Signal
		name   string
	}{
		{syscall.SIGTERM, "TERM"}, {syscall.SIGINT, "INT"}, {syscall.SIGHUP, "HUP"},
		{syscall.SIGQUIT, "QUIT"}, {syscall.SIGUSR1, "USR1"}, {syscall.SIGUSR2, "USR2"},
	} {
		t.Run(test.name+" handled", func(t *testing.T) {
			r := signalled(t, test.signal, "trap 'echo got "+test.name+"; exit 7' "+test.name+"; echo ready; while :; do sleep 0.05; done")
			if r.code != 7 || !strings.Contains(r.stdout, "got "+test.name) {
				t.Errorf("want the trap's status 7, got %s", r)
			}
		})
	}
	for _, test := range []struct {
		signal syscall.Signal
		code   int
	}{{syscall.SIGTERM, 143}, {syscall.SIGINT, 130}, {syscall.SIGHUP, 129}} {
		t.Run(test.signal.String()+" not handled", func(t *testing.T) {
			if r := signalled(t, test.signal, "echo ready; exec sleep 100"); r.code != test.code {
				t.Errorf("want status %d, got %s", test.code, r)
			}
		})
	}
}

// signalled runs a script with an engine and, when it has said "ready", sends
// the signal to berth.
func signalled(t *testing.T, signal syscall.Signal, text string) result {
	t.Helper()
	cmd := command(t, nil, "run", "--", "sh", "-c", text)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		all.WriteString(lines.Text() + "\n")
		if lines.Text() == "ready" {
			cmd.Process.Signal(signal)
		}
	}
	cmd.Wait()
	return result{stdout: all.String(), stderr: stderr.String(), code: code(cmd.ProcessState)}
}

// A signal that comes while the engine is starting ends berth and leaves
// nothing.
func TestSignalsDuringTheStart(t *testing.T) {
	guard(t)
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		for _, step := range startSteps(t) {
			t.Run(signal.String()+" after "+step, func(t *testing.T) {
				guard(t)
				cmd := stoppedAt(t, step, "run", "--", "sleep", "100")
				cmd.Process.Signal(signal)
				cmd.Process.Signal(syscall.SIGCONT)
				cmd.Wait()
				if got, want := code(cmd.ProcessState), 128+int(signal); got != want {
					t.Errorf("status %d, want %d", got, want)
				}
			})
		}
	}
}

// What the command is given: its streams, its variables, its user, its place.
func TestTheCommandsSurroundings(t *testing.T) {
	guard(t)
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := command(t, []string{
		"SUDO_UID=1234", "SUDO_GID=1234", "SUDO_USER=tester", "DOCKER_CONTEXT=x", "DOCKER_TLS_VERIFY=1", "DOCKER_CERT_PATH=/x", "KEPT=yes",
	}, "run", "--", "sh", "-c", `
		read line; echo "line=$line"; echo problem >&2
		echo "host=$DOCKER_HOST context=$DOCKER_CONTEXT verify=$DOCKER_TLS_VERIFY cert=$DOCKER_CERT_PATH kept=$KEPT"
		echo "id=$(id -u):$(id -g):$(id -G) pwd=$(pwd)"
		echo "docker=$(command -v docker) $(docker info -f '{{.ServerVersion}}')"
		echo "net=$(readlink /proc/self/ns/net) mnt=$(readlink /proc/self/ns/mnt)"
		echo "fds=$(ls /proc/self/fd | tr '\n' ' ')"`)
	cmd.Dir = dir
	cmd.Stdin = strings.NewReader("from stdin\n")
	r := finish(t, cmd)
	if r.code != 0 {
		t.Fatal(r)
	}
	for _, text := range []string{
		"line=from stdin\n", "context= verify= cert= kept=yes\n", "id=1234:1234:1234 pwd=" + dir + "\n",
		"host=unix:///run/berth/engines/", "/host/bin/docker 29.", "fds=0 1 2 3 \n",
	} {
		want(t, "surroundings", r.stdout, text)
	}
	if r.stderr != "problem\n" {
		t.Errorf("stderr %q", r.stderr)
	}
	mnt, _ := os.Readlink("/proc/thread-self/ns/mnt")
	want(t, "mount namespace", r.stdout, "mnt="+mnt)
	net, _ := os.Readlink("/proc/thread-self/ns/net") // the process's first thread may be elsewhere: see sandbox.Internet
	if strings.Contains(r.stdout, net) {
		t.Error("the command runs in the host's network namespace")
	}
	r = script(t, "readlink /proc/self/ns/net; id -u; command -v docker || true", "--net", "host", "--user", "tester", "--no-docker-cli")
	want(t, "--net host", r.stdout, net+"\n1234\n")
	if strings.Contains(r.stdout, "/host/bin/docker") {
		t.Error("--no-docker-cli put docker on PATH")
	}
}

// A caller who hides his files from others gets an engine that works, and the command his mask.
func TestUmask(t *testing.T) {
	guard(t)
	for _, mask := range []string{"0077", "0777", "0000"} {
		cmd := command(t, nil, "run", "--", "sh", "-c", "umask; docker load -q -i "+imageTar+" >/dev/null; docker run --rm "+imageName+" sh -c umask")
		cmd.Args = append([]string{"sh", "-c", "umask " + mask + `; exec "$0" "$@"`}, cmd.Args...)
		cmd.Path = "/bin/sh"
		if r := finish(t, cmd); r.code != 0 || r.stdout != mask+"\n0022\n" {
			t.Errorf("umask %s: %s", mask, r)
		}
	}
}
