package cli

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/berth-dev/berth/internal/engine"
)

// These commands stay in the host's network: the fake engine has no other, and what they
// would leave behind is looked for in the network's namespace.
func TestRunStatus(t *testing.T) {
	for script, want := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -TERM $$": 143, "kill -KILL $$": 137} {
		f := fakeRun(t)
		status, _, stderr := invoke(t, f, "run", "--net", "host", "--no-share-cwd", "--", "sh", "-c", script)
		if status != want || stderr != "" {
			t.Errorf("%s: status %d, stderr %q; want %d", script, status, stderr, want)
		}
		if !f.engine.closed {
			t.Errorf("%s: the engine was not taken away", script)
		}
	}
}

func TestRunEnvironment(t *testing.T) {
	t.Setenv("DOCKER_CONTEXT", "elsewhere")
	t.Setenv("DOCKER_TLS_VERIFY", "1")
	f := fakeRun(t)
	_, out, stderr := invoke(t, f, "run", "--net", "host", "--no-share-cwd", "env")
	for _, want := range []string{"DOCKER_HOST=unix:///run/c.sock\n", "BERTH_ENGINE=cccccccccccc\n", "PATH=" + f.tree.HostBin() + ":"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s%s", want, out, stderr)
		}
	}
	for _, no := range []string{"DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "TESTCONTAINERS_HOST_OVERRIDE"} {
		if strings.Contains(out, no) {
			t.Errorf("%s is set:\n%s", no, out)
		}
	}
}

func TestRunTellsOfTheEnginesEnd(t *testing.T) {
	f := fakeRun(t)
	f.engine.notes <- "out of memory"
	close(f.engine.done)
	status, _, stderr := invoke(t, f, "run", "--net", "host", "--no-share-cwd", "--", "sleep", "0.2")
	if status != 0 || !strings.Contains(stderr, "berth: out of memory\n") || !strings.Contains(stderr, "dockerd ended with status 1") {
		t.Errorf("status %d, stderr %q", status, stderr)
	}
}

func TestRunStartErrors(t *testing.T) {
	for _, test := range []struct {
		err    error
		status int
	}{
		{errors.New("no space\nleft"), 125},
		{&engine.SpecError{Field: "--runtime", Problem: "no"}, 2},
		{engine.ErrNameTaken, 125},
	} {
		f := fakeRun(t)
		f.err = test.err
		status, _, stderr := invoke(t, f, "run", "--no-share-cwd", "--", "true")
		if status != test.status || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%v: status %d, stderr %q", test.err, status, stderr)
		}
	}
}

func TestRunLeavesArgumentsAlone(t *testing.T) {
	for _, args := range [][]string{
		{"run", "--net", "host", "--no-share-cwd", "--", "printf", "%s,", "--name", "--", "-x"},
		{"run", "--net", "host", "--no-share-cwd", "printf", "%s,", "--name", "--", "-x"},
	} {
		if _, out, stderr := invoke(t, fakeRun(t), args...); out != "--name,--,-x," {
			t.Errorf("%q printed %q %q", args, out, stderr)
		}
	}
}

// fakeRun is a machine whose engine's network is a pipe: no process is in it.
func fakeRun(t *testing.T) *fakeEngines {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() { r.Close() })
	return &fakeEngines{engine: &fakeEngine{
		info:  engine.Info{ID: "cccccccccccc", Socket: "/run/c.sock"},
		netns: r, notes: make(chan string, 4), done: make(chan struct{}),
	}}
}
