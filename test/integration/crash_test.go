package integration

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/test/program"
)

// steps asks berth for the names of an engine's steps, of start and teardown, at
// which BERTH_FAULT can freeze it.
func steps(t *testing.T) (names []string) {
	t.Helper()
	names = strings.Fields(must(t, "_steps"))
	if len(names) < 5 {
		t.Fatalf("berth _steps printed only %v", names)
	}
	return names
}

// startSteps are the steps before the command runs.
func startSteps(t *testing.T) (names []string) {
	t.Helper()
	for _, name := range steps(t) {
		if !strings.HasPrefix(name, "undo-") {
			names = append(names, name)
		}
	}
	return names
}

// stoppedAt starts berth and returns when it has frozen itself after the step.
func stoppedAt(t *testing.T, step string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := command(t, []string{"BERTH_FAULT=" + step + ":stop"}, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var ws unix.WaitStatus
	// The stop is reported without taking the child's end away from cmd.Wait.
	for {
		_, err := unix.Wait4(cmd.Process.Pid, &ws, unix.WUNTRACED, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || !ws.Stopped() {
			t.Fatalf("berth ended instead of stopping after %s: %v %v\n%s", step, ws, err, out.String())
		}
		return cmd
	}
}

// A monitor killed at any step leaves only what the next `berth gc` collects.
func TestMonitorKilledAtEveryStep(t *testing.T) {
	guard(t)
	for _, step := range steps(t) {
		t.Run(step, func(t *testing.T) {
			guard(t)
			cmd := stoppedAt(t, step, "run", "--", "true")
			cmd.Process.Kill()
			cmd.Wait()
			must(t, "gc")
		})
	}
}

// The same for an engine that is kept: gc leaves its data root to `berth rm`.
func TestMonitorOfAKeptEngineKilled(t *testing.T) {
	guard(t)
	e := up(t, "kept")
	kill(t, number(t, inspect(t, e.ID), "monitor", "pid"))
	must(t, "gc")
	want(t, "berth ls", must(t, "ls"), "kept")
	must(t, "start", "kept")
	want(t, "images after a crash and a start", e.docker("images"), "berth.test/busy")
}

// Whatever process of an engine in use is killed, `berth run` ends, says so
// when the engine is lost, and leaves nothing.
func TestProcessesOfAnEngineKilled(t *testing.T) {
	guard(t)
	for _, victim := range []string{"monitor", "berth-init", "dockerd", "containerd-shim"} {
		t.Run(victim, func(t *testing.T) {
			guard(t)
			dir := t.TempDir()
			cmd := command(t, nil, "run", "--", "sh", "-ec", fmt.Sprintf(`
				docker load -q -i %s
				docker run -d --name box %s sleep 1000
				basename $(dirname ${DOCKER_HOST#unix://}) >%s/id
				echo ready
				read wait`, imageTar, imageName, dir))
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			defer stdin.Close()
			var stderr program.Output
			cmd.Stderr = &stderr
			if err := startedSaying(cmd, "ready"); err != nil {
				t.Fatal(err, stderr.String())
			}
			id, err := os.ReadFile(filepath.Join(dir, "id"))
			if err != nil {
				t.Fatal(err)
			}
			pid := cmd.Process.Pid
			if victim != "monitor" {
				pid = processOf(t, strings.TrimSpace(string(id)), victim)
			}
			kill(t, pid)
			if victim == "berth-init" || victim == "dockerd" {
				eventually(t, "berth says that the engine has ended", func() bool { return strings.Contains(stderr.String(), "engine has ended") })
			}
			stdin.Write([]byte("go on\n")) // the command goes on, with or without the engine
			cmd.Wait()
			status := code(cmd.ProcessState)
			if want := map[string]int{"monitor": 137}[victim]; status != want {
				t.Errorf("status %d, want %d; stderr %q", status, want, stderr.String())
			}
			must(t, "gc")
		})
	}
}

// processOf finds the first process of an engine by the name of its program,
// through the engine's init.
func processOf(t *testing.T, id, program string) int {
	t.Helper()
	init := number(t, inspect(t, id), "init", "pid")
	for _, pid := range append([]int{init}, descendants(t, init)...) {
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if strings.HasPrefix(strings.TrimSpace(string(comm)), clipped(program)) {
			return pid
		}
	}
	t.Fatalf("no process %s in engine %s", program, id)
	return 0
}

// clipped is what the kernel keeps of a program's name (proc(5), comm).
func clipped(name string) string { return name[:min(len(name), 15)] }

func descendants(t *testing.T, root int) (out []int) {
	t.Helper()
	for next := []int{root}; len(next) > 0; next = next[1:] {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", next[0]))
		for _, file := range files {
			text, _ := os.ReadFile(file)
			for _, field := range strings.Fields(string(text)) {
				pid, err := strconv.Atoi(field)
				if err != nil {
					t.Fatal(err)
				}
				out, next = append(out, pid), append(next, pid)
			}
		}
	}
	return out
}

// number digs a number out of decoded JSON.
func number(t *testing.T, from map[string]any, keys ...string) int {
	t.Helper()
	var value any = from
	for _, key := range keys {
		object, ok := value.(map[string]any)
		if !ok {
			t.Fatalf("no %s in %v", key, from)
		}
		value = object[key]
	}
	n, ok := value.(float64)
	if !ok {
		t.Fatalf("%v is not a number in %v", keys, from)
	}
	return int(n)
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if pid <= 1 {
		t.Fatalf("refusing to kill process %d", pid)
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// startedSaying starts cmd and returns when its output has a line with the text.
// Later output is thrown away.
func startedSaying(cmd *exec.Cmd, text string) error {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	var seen bytes.Buffer
	buf := make([]byte, 4096)
	for !strings.Contains(seen.String(), text) {
		n, err := out.Read(buf)
		seen.Write(buf[:n])
		if err != nil {
			return fmt.Errorf("it ended before it said %q: %s", text, seen.String())
		}
	}
	return nil
}
