package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berth-dev/berth/test/deadline"
	"github.com/berth-dev/berth/test/leak"
)

// limit is how long one berth command may take before the test gives up on it.
var limit = deadline.Scaled(60 * time.Second)

// scope is what the leak guard compares: everything in the sandbox.
var scope = leak.Scope{
	All:   true,
	Files: []string{"/run", "/tmp", "/var/lib"},
	Skip:  []string{"/var/lib/berth/payload"},
}

// guard fails the test for whatever it leaves. Call it before anything else.
func guard(t *testing.T) {
	t.Helper()
	leak.Guard(t, scope)
}

// result is how a command ended.
type result struct {
	stdout, stderr string
	code           int // exit status; 128+n when signal n ended it
}

func (r result) String() string {
	return fmt.Sprintf("status %d, stdout %q, stderr %q", r.code, r.stdout, r.stderr)
}

// command prepares berth with the arguments; extra variables are KEY=VALUE.
func command(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	cmd := exec.CommandContext(ctx, berthProgram, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = 5 * time.Second
	cmd.Dir = "/" // which berth does not share
	t.Cleanup(func() {
		cancel()
		if cmd.Process != nil && cmd.ProcessState == nil { // the test gave up half way
			cmd.Process.Kill()
			cmd.Wait()
			exec.Command(berthProgram, "gc").Run()
		}
	})
	return cmd
}

// finish runs a prepared command to its end.
func finish(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	r := result{stdout: stdout.String(), stderr: stderr.String()}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	r.code = code(cmd.ProcessState)
	return r
}

func code(state *os.ProcessState) int {
	if ws := state.Sys().(syscall.WaitStatus); ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return state.ExitCode()
}

// berth runs berth to its end, however that is.
func berth(t *testing.T, args ...string) result {
	t.Helper()
	return finish(t, command(t, nil, args...))
}

// must runs berth and fails the test unless it succeeds; it returns the output
// without the last line end.
func must(t *testing.T, args ...string) string {
	t.Helper()
	r := berth(t, args...)
	if r.code != 0 {
		t.Fatalf("berth %s: %s", strings.Join(args, " "), r)
	}
	return strings.TrimRight(r.stdout, "\n")
}

// script runs a shell script with `berth run` and the flags.
func script(t *testing.T, text string, flags ...string) result {
	t.Helper()
	return berth(t, append(append([]string{"run"}, flags...), "--", "sh", "-ec", text)...)
}

// engine is one started with `berth up`.
type engine struct {
	t          *testing.T
	ID         string `json:"id"`
	Name       string `json:"name"`
	Socket     string `json:"socket"`
	DockerHost string `json:"docker_host"`
}

// up starts an engine, with the test's image in it, that is removed when the
// test ends. flags go before the name.
func up(t *testing.T, name string, flags ...string) *engine {
	t.Helper()
	e := bare(t, name, flags...)
	e.docker("load", "-q", "-i", imageTar)
	return e
}

// bare starts an engine without any image.
func bare(t *testing.T, name string, flags ...string) *engine {
	t.Helper()
	out := must(t, append(append([]string{"up", "--json"}, flags...), name)...)
	e := &engine{t: t}
	if err := json.Unmarshal([]byte(out), e); err != nil {
		t.Fatalf("berth up --json printed %q: %v", out, err)
	}
	t.Cleanup(func() { e.remove(t) })
	return e
}

func (e *engine) remove(t *testing.T) {
	if r := berth(t, "rm", "-f", e.ID); r.code != 0 && !strings.Contains(r.stderr, "no engine") {
		t.Errorf("berth rm -f %s: %s", e.ID, r)
	}
}

// try runs the bundled docker CLI against the engine.
func (e *engine) try(args ...string) result {
	e.t.Helper()
	return berth(e.t, append([]string{"docker", "--engine", e.ID}, args...)...)
}

// docker is try that has to succeed; it returns the output.
func (e *engine) docker(args ...string) string {
	e.t.Helper()
	r := e.try(args...)
	if r.code != 0 {
		e.t.Fatalf("docker %s: %s", strings.Join(args, " "), r)
	}
	return strings.TrimRight(r.stdout, "\n")
}

// in runs a shell script in a container that is removed afterwards.
func (e *engine) in(flags []string, text string) result {
	e.t.Helper()
	args := append([]string{"run", "--rm"}, flags...)
	return e.try(append(args, imageName, "sh", "-c", text)...)
}

// inspect decodes `berth inspect --json`.
func inspect(t *testing.T, name string) map[string]any {
	t.Helper()
	var out map[string]any
	text := must(t, "inspect", "--json", name)
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("berth inspect printed %q: %v", text, err)
	}
	return out
}

// want fails the test unless got contains the text.
func want(t *testing.T, what, got, text string) {
	t.Helper()
	if !strings.Contains(got, text) {
		t.Errorf("%s: got %q, want it to contain %q", what, got, text)
	}
}

// oneLine fails unless stderr is one line that starts with "berth: " and says
// each of the things.
func oneLine(t *testing.T, r result, says ...string) {
	t.Helper()
	text := strings.TrimRight(r.stderr, "\n")
	if text == "" || strings.Contains(text, "\n") {
		t.Errorf("want one line on stderr, got %q", r.stderr)
	}
	for _, s := range says {
		if !strings.Contains(strings.ToLower(text), strings.ToLower(s)) {
			t.Errorf("the error %q does not mention %q", text, s)
		}
	}
}

// eventually waits until ok, for what the kernel or dockerd does in its own time.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(deadline.Scaled(10 * time.Second)); ; time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
