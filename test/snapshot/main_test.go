// Package snapshot tests snapshots and forks with real engines: that a fork can do all that
// an engine with images of its own can, that nothing done in one changes its template by a
// bit, and that a crash at any moment leaves nothing half-made.
//
// It needs root and a built berth (BERTH names it, else ../../bin/berth), and runs in a
// sandbox (see package sandbox).
package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berth-dev/berth/test/deadline"
	"github.com/berth-dev/berth/test/image"
	"github.com/berth-dev/berth/test/leak"
	"github.com/berth-dev/berth/test/program"
	"github.com/berth-dev/berth/test/sandbox"
)

const (
	imageName = "berth.test/busy:1"
	store     = "/var/lib/berth/snapshots"
)

// limit is for one berth command.
var limit = deadline.Scaled(180 * time.Second)

// Set once by setUp.
var berthProgram, imageTar, buildDir string

func TestMain(m *testing.M) {
	os.Exit(sandbox.Run(func() int {
		if err := setUp(); err != nil {
			fmt.Fprintln(os.Stderr, "snapshot:", err)
			return 1
		}
		return m.Run()
	}))
}

func setUp() (err error) {
	if berthProgram, err = program.Find(); err != nil {
		return err
	}
	if err := program.WarmUp(berthProgram, []string{"snapshot", "create", "first", "--run", "true"}, []string{"snapshot", "rm", "first"}); err != nil {
		return err
	}
	img, err := image.Build(image.Options{})
	if err != nil {
		return err
	}
	imageTar = filepath.Join(os.TempDir(), "berth-image.tar")
	if err := image.SaveTar(imageTar, imageName, img); err != nil {
		return err
	}
	return writeBuild()
}

// writeBuild makes a build context whose image replaces a directory (an opaque one on
// disk), removes a file (a whiteout), changes owners and has a cache of its own.
func writeBuild() (err error) {
	buildDir = filepath.Join(os.TempDir(), "build")
	if err := os.Mkdir(buildDir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(buildDir, "Dockerfile"), []byte(`FROM `+imageName+`
RUN rm -rf /opaque /greeting && mkdir /opaque && echo replaced >/opaque/only && chown 1000:1000 /opaque/only
ARG round=1
RUN --mount=type=cache,target=/cache echo step $round >>/cache/log && cp /cache/log /log
`), 0o644)
}

var scope = leak.Scope{All: true, Files: []string{"/run", "/tmp", "/var/lib"}, Skip: []string{"/var/lib/berth/payload"}}

type result struct {
	out, err string
	code     int
}

func (r result) String() string {
	return fmt.Sprintf("status %d, stdout %q, stderr %q", r.code, r.out, r.err)
}

// berthWith runs berth with further variables.
func berthWith(t *testing.T, env []string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, berthProgram, args...)
	cmd.Env, cmd.Dir, cmd.WaitDelay = append(os.Environ(), env...), "/", 5*time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v: %v", args, err)
	}
	code := cmd.ProcessState.ExitCode()
	if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
		code = 128 + int(ws.Signal())
	}
	return result{strings.TrimRight(stdout.String(), "\n"), strings.TrimRight(stderr.String(), "\n"), code}
}

func berth(t *testing.T, args ...string) result { t.Helper(); return berthWith(t, nil, args...) }

func must(t *testing.T, args ...string) string {
	t.Helper()
	r := berth(t, args...)
	if r.code != 0 {
		t.Fatalf("berth %s: %s", strings.Join(args, " "), r)
	}
	return r.out
}

// refused fails unless berth fails with one line that says each of the things.
func refused(t *testing.T, says []string, args ...string) {
	t.Helper()
	r := berth(t, args...)
	if r.code == 0 || strings.Contains(r.err, "\n") {
		t.Errorf("berth %s: want an error of one line: %s", strings.Join(args, " "), r)
	}
	for _, s := range says {
		if !strings.Contains(r.err, s) {
			t.Errorf("berth %s: the error %q does not mention %q", strings.Join(args, " "), r.err, s)
		}
	}
}

// create makes a snapshot with the test's image, one built on it, and a volume.
func create(t *testing.T, name string) {
	t.Helper()
	must(t, "snapshot", "create", name, "--load", imageTar, "--run",
		"docker build -q -t built:1 "+buildDir+"; docker volume create keep; "+
			"docker run --name gone -v keep:/v "+imageName+" sh -c 'echo kept >/v/f'")
	t.Cleanup(func() {
		must(t, "snapshot", "rm", "-f", name)
		must(t, "gc")
	})
}

// up starts an engine that is removed when the test ends.
func up(t *testing.T, name string, flags ...string) func(args ...string) result {
	t.Helper()
	must(t, append([]string{"up", name}, flags...)...)
	t.Cleanup(func() { berth(t, "rm", "-f", name) })
	return func(args ...string) result {
		t.Helper()
		return berth(t, append([]string{"docker", "--engine", name}, args...)...)
	}
}

// ok fails the test unless r succeeded and printed the texts.
func ok(t *testing.T, what string, r result, texts ...string) {
	t.Helper()
	if r.code != 0 {
		t.Errorf("%s: %s", what, r)
	}
	for _, text := range texts {
		if !strings.Contains(r.out, text) {
			t.Errorf("%s: got %q, want it to contain %q", what, r.out, text)
		}
	}
}
