package snapshot

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/berth-dev/berth/test/deadline"
	"github.com/berth-dev/berth/test/leak"
)

// journal is a container that writes a number to one file and then to the other.
const journal = "i=0; while :; do i=$((i+1)); echo $i >>/v/first; echo $i >>/v/second; done"

// agree is what must be true of the two at every moment.
const agree = `a=$(tail -n 1 /v/first); b=$(tail -n 1 /v/second)
test $(wc -l </v/first) = $a; test $(wc -l </v/second) = $b; test $a -gt 0; test $((a-b)) -le 1; test $((a-b)) -ge 0; echo $a agrees`

// A running engine's snapshot is what it held at one moment, whatever it was at, and the
// engine does not notice.
func TestSnapshotOfARunningEngine(t *testing.T) {
	leak.Guard(t, scope)
	create(t, "tmpl")
	docker := up(t, "live", "--from", "tmpl")
	ok(t, "a layer of its own", docker("run", "--name", "box", "built:1", "touch", "/mine"))
	ok(t, "a layer of its own", docker("commit", "box", "mine:1"))
	ok(t, "a container that writes", docker("run", "-d", "--name", "writer", "--restart", "always", "-v", "log:/v", imageName, "sh", "-c", journal))
	started := docker("inspect", "-f", "{{.State.StartedAt}}", "writer").out
	stop := busy(t, "live")
	var last string
	for range 4 {
		last = must(t, "snapshot", "create", "taken", "--from", "live")
		must(t, "snapshot", "verify", last)
	}
	withContainers := must(t, "snapshot", "create", "taken", "--from", "live", "--containers")
	stop()
	before := hash(t, store)
	for _, from := range []string{"taken@1", last} {
		fork := up(t, "fork", "--from", from)
		ok(t, "its volume", fork("run", "--rm", "-v", "log:/v", imageName, "sh", "-ec", agree), "agrees")
		ok(t, "its layers", fork("run", "--rm", "mine:1", "sh", "-ec", "ls /mine; "+look), "replaced", "/mine")
		for _, id := range strings.Fields(fork("images", "-q").out) {
			ok(t, "image "+id, fork("run", "--rm", id, "true"))
		}
		ok(t, "a build", fork("build", "-q", "--build-arg", "round=3", "-t", "more", buildDir))
		if r := fork("ps", "-aq"); r.out != "" {
			t.Errorf("containers travelled: %s", r)
		}
		ok(t, "prune", fork("system", "prune", "-af", "--volumes"))
		ok(t, "df", fork("system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Size}}"), "Images 0 0B", "Build Cache 0 0B")
		must(t, "rm", "fork")
	}
	fork := up(t, "fork", "--from", withContainers)
	ok(t, "a container that writes", fork("exec", "writer", "sh", "-ec", "tail -n 1 /v/first"))
	ok(t, "a container that ended", fork("start", "-a", "box"))
	ok(t, "an end", fork("rm", "-f", "writer", "box"))
	must(t, "rm", "fork")
	if now := docker("inspect", "-f", "{{.State.StartedAt}}", "writer").out; now != started {
		t.Errorf("the container of the source was started again: %s, before %s", now, started)
	}
	ok(t, "the source", docker("exec", "writer", "sh", "-ec", "a=$(tail -n 1 /v/first); while test $(tail -n 1 /v/first) = $a; do :; done"))
	ok(t, "the source", docker("run", "--rm", "mine:1", "sh", "-ec", "ls /mine; "+look), "replaced")
	ok(t, "prune in the source", docker("rm", "-f", "writer"))
	ok(t, "prune in the source", docker("system", "prune", "-af", "--volumes"))
	same(t, before, hash(t, store))
	must(t, "rm", "live")
	must(t, "snapshot", "rm", "taken")
	must(t, "gc")
}

// busy has an engine load, build and remove images until the returned function is called.
func busy(t *testing.T, name string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			for _, args := range [][]string{
				{"build", "-q", "--build-arg", fmt.Sprintf("round=%d", i), "-t", fmt.Sprintf("busy:%d", i%3), buildDir},
				{"image", "prune", "-f"},
				{"load", "-q", "-i", imageTar},
			} {
				if r := berth(t, append([]string{"docker", "--engine", name}, args...)...); r.code != 0 {
					t.Errorf("%v in the engine that was paused: %s", args, r)
				}
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}

// answers reports whether an engine does, or why not.
func answers(t *testing.T, name string, patience time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return exec.CommandContext(ctx, berthProgram, "docker", "--engine", name, "version").Run()
}

// However the maker of a snapshot ends, the engine goes on, and there is no snapshot.
func TestPauseEnds(t *testing.T) {
	leak.Guard(t, scope)
	create(t, "tmpl")
	docker := up(t, "live", "--from", "tmpl")
	ok(t, "a container", docker("run", "-d", "--init", "-v", "told:/t", imageName, "sh", "-c", "trap 'echo to end >/t/told; exit' TERM; while :; do sleep 1; done"))
	for _, step := range []string{"pause", "copy", "move", "resume", "seal", "sync"} {
		for _, action := range []string{"kill", "fail"} {
			r := berthWith(t, []string{"BERTH_FAULT=freeze-" + step + ":" + action}, "snapshot", "create", "taken", "--from", "live")
			if r.code == 0 {
				t.Errorf("%s after %s: %s", action, step, r)
			}
			if err := answers(t, "live", limit); err != nil {
				t.Fatalf("%s after %s: the engine does not answer: %v", action, step, err)
			}
		}
	}
	t.Run("the guard is killed as well", func(t *testing.T) {
		m := paused(t, "live")
		m.kill(t)
		if answers(t, "live", time.Second) == nil {
			t.Error("the engine did not stand still, so this shows nothing")
		}
		must(t, "gc")
		if err := answers(t, "live", limit); err != nil {
			t.Errorf("after gc: %v", err)
		}
		m = paused(t, "live")
		m.kill(t)
		must(t, "stop", "live")
		must(t, "start", "live")
		ok(t, "a container that was told to end", docker("run", "--rm", "-v", "told:/t", imageName, "cat", "/t/told"), "to end")
	})
	t.Run("nobody can stop the maker by ^Z", func(t *testing.T) {
		m := paused(t, "live")
		_, rest, _ := strings.Cut(read(t, fmt.Sprintf("/proc/%d/status", m.cmd.Process.Pid)), "SigIgn:")
		var ignored uint64
		if _, err := fmt.Sscanf(rest, "%x", &ignored); err != nil || ignored&(1<<(syscall.SIGTSTP-1)) == 0 {
			t.Errorf("ignored signals: %x, %v", ignored, err)
		}
		if out, err := m.goOn(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		must(t, "snapshot", "rm", "taken")
	})
	t.Run("the guard alone is killed", func(t *testing.T) {
		m := paused(t, "live")
		syscall.Kill(m.guard(t), syscall.SIGKILL)
		if out, err := m.goOn(); err != nil || !strings.Contains(out, "taken@") {
			t.Errorf("%v: %s", err, out)
		}
		if err := answers(t, "live", limit); err != nil {
			t.Error(err)
		}
		must(t, "snapshot", "rm", "taken")
	})
	t.Run("a second one waits", func(t *testing.T) {
		m := paused(t, "live")
		second := make(chan result)
		go func() { second <- berth(t, "snapshot", "create", "second", "--from", "live") }()
		if out, err := m.goOn(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		ok(t, "the second", <-second, "second@1")
		must(t, "snapshot", "rm", "taken", "second")
	})
	ok(t, "the engine", docker("run", "--rm", "built:1", "true"))
	t.Run("the engine is removed", func(t *testing.T) {
		m := paused(t, "live")
		must(t, "rm", "live")
		if out, err := m.goOn(); err == nil || !strings.Contains(out, "live was stopped or went on meanwhile") {
			t.Errorf("%v: %s", err, out)
		}
	})
	t.Run("its monitor is killed", func(t *testing.T) {
		up(t, "dying", "--from", "tmpl")
		var info struct{ Monitor struct{ PID int } }
		decode(t, must(t, "inspect", "dying"), &info)
		m := paused(t, "dying")
		syscall.Kill(info.Monitor.PID, syscall.SIGKILL)
		must(t, "rm", "dying")
		if out, err := m.goOn(); err == nil {
			t.Errorf("no error: %s", out)
		}
	})
	if out := must(t, "snapshot", "ls", "-q", "taken"); out != "" {
		t.Errorf("a snapshot was made: %s", out)
	}
	must(t, "gc")
}

// maker is a process that makes a snapshot of an engine and was stopped while that stands still.
type maker struct {
	cmd *exec.Cmd
	out *strings.Builder
}

func paused(t *testing.T, name string) *maker {
	t.Helper()
	m := &maker{exec.Command(berthProgram, "snapshot", "create", "taken", "--from", name), &strings.Builder{}}
	m.cmd.Env = append(os.Environ(), "BERTH_FAULT=freeze-pause:stop")
	m.cmd.Stdout, m.cmd.Stderr = m.out, m.out
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stat := fmt.Sprintf("/proc/%d/stat", m.cmd.Process.Pid)
	for end := time.Now().Add(deadline.Scaled(30 * time.Second)); ; time.Sleep(5 * time.Millisecond) {
		if text := read(t, stat); strings.Contains(text, ") T ") {
			return m
		} else if strings.Contains(text, ") Z ") || time.Now().After(end) {
			_ = m.cmd.Process.Kill()
			_ = m.cmd.Wait()
			t.Fatalf("the engine was not paused: %s: %s", text, m.out)
		}
	}
}

// guard is the process that watches over the maker.
func (m *maker) guard(t *testing.T) int {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", m.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	pid := 0
	for _, path := range tasks {
		if _, err := fmt.Sscan(read(t, path), &pid); err == nil {
			return pid
		}
	}
	t.Fatal("the maker has no guard")
	return 0
}

// kill ends the guard and then the maker.
func (m *maker) kill(t *testing.T) {
	t.Helper()
	for _, pid := range []int{m.guard(t), m.cmd.Process.Pid} {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	}
	_ = m.cmd.Wait()
}

func (m *maker) goOn() (string, error) {
	_ = m.cmd.Process.Signal(syscall.SIGCONT)
	err := m.cmd.Wait()
	return m.out.String(), err
}
