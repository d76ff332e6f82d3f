package mirror

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/berth-dev/berth/test/program"
)

// limit is how long one berth command may take before the test gives up on it.
const limit = 90 * time.Second

// daemon is a running `berth mirror serve`.
type daemon struct {
	cmd    *exec.Cmd
	stderr program.Output
	ready  string // the line that it prints when it listens
	once   sync.Once
}

// serve starts a mirror and waits until it listens. Its content is removed afterwards.
func serve(t *testing.T, args ...string) *daemon {
	t.Helper()
	d := &daemon{cmd: exec.Command(berthProgram, append([]string{"mirror", "serve"}, args...)...)}
	d.cmd.Stderr = &d.stderr
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.end(t)
		if t.Failed() {
			t.Logf("the mirror said: %s", d.stderr.String())
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the mirror did not start: %v %s", err, d.stderr.String())
	}
	d.ready = line
	return d
}

// end stops it and removes what it leaves.
func (d *daemon) end(t *testing.T) {
	d.stop(syscall.SIGTERM)
	forget(t)
}

// forget removes what mirrors leave.
func forget(t *testing.T) {
	t.Helper()
	for _, path := range []string{"/var/lib/berth/mirror", "/run/berth/mirror.sock", "/run/berth/mirror-control.sock"} {
		if err := os.RemoveAll(path); err != nil { // sockets: of a mirror that was killed
			t.Error(err)
		}
	}
}

func (d *daemon) stop(s syscall.Signal) {
	d.once.Do(func() {
		d.cmd.Process.Signal(s)
		d.cmd.Wait()
	})
}

// result is how a command ended.
type result struct {
	stdout, stderr string
	code           int
}

// berth runs berth to its end, however that is.
func berth(t *testing.T, args ...string) result {
	t.Helper()
	return berthNoting(t, nil, args...)
}

// berthNoting calls noted, if any, when berth's command has first written to standard output.
func berthNoting(t *testing.T, noted func(), args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, berthProgram, args...)
	cmd.Dir, cmd.WaitDelay = "/", 5*time.Second
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &noting{to: &stdout, noted: noted}, &stderr
	err := cmd.Run()
	if n := cmd.Stdout.(*noting); n.noted != nil {
		n.noted()
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("berth %s: %v", strings.Join(args, " "), err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// noting passes output on, and reports its begin.
type noting struct {
	to    *bytes.Buffer
	noted func()
}

func (n *noting) Write(p []byte) (int, error) {
	if n.noted != nil {
		n.noted()
		n.noted = nil
	}
	return n.to.Write(p)
}

// must runs berth, which has to succeed.
func must(t *testing.T, args ...string) string {
	t.Helper()
	r := berth(t, args...)
	if r.code != 0 {
		t.Fatalf("berth %s: status %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// script is a shell script with an engine of its own.
func script(text string, flags ...string) []string {
	return append(append([]string{"run"}, flags...), "--", "sh", "-exc", text)
}
