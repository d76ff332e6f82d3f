package dind

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// engine is a container of the image on a host.
type engine struct {
	t    *testing.T
	h    *host
	name string
	gone bool
}

// container starts the image with options of docker run and arguments of its own, and
// removes it with its volume at the end of the test.
func (h *host) container(t *testing.T, name string, options []string, args ...string) *engine {
	t.Helper()
	e := &engine{t: t, h: h, name: name}
	t.Cleanup(e.remove)
	h.must(t, append(append(append([]string{"run", "-d", "--name", name}, options...), imageName), args...)...)
	return e
}

// privileged is container with --privileged, the test's image in it, and ready.
func (h *host) privileged(t *testing.T, name string, options []string, args ...string) *engine {
	t.Helper()
	return h.container(t, name, append([]string{"--privileged", "-v", busyTar + ":/images/busy.tar:ro"}, options...), args...).wait()
}

// wait returns when the engine is ready.
func (e *engine) wait() *engine {
	e.t.Helper()
	if r := e.try("berth", "_health"); r.code != 0 {
		e.t.Fatalf("the engine does not become ready: %s\n%s", r, tail(e.logs()))
	}
	return e
}

// remove removes the container. Of a test that has failed it shows first what the container,
// and the host's Docker about it, had to say.
func (e *engine) remove() {
	e.t.Helper()
	if e.t.Failed() && !e.gone {
		state := e.h.try(e.t, "inspect", "-f", "{{json .State}}", e.name)
		e.t.Logf("%s: %s\nit said:\n%s\nthe host's Docker said:\n%s", e.name, state, e.logs(), e.h.log())
	}
	e.gone = true
	e.h.try(e.t, "rm", "-f", "-v", e.name)
}

// logs are what the container said, both streams.
func (e *engine) logs() string {
	r := e.h.try(e.t, "logs", e.name)
	return r.stdout + r.stderr
}

// try runs a command in the container.
func (e *engine) try(args ...string) result {
	e.t.Helper()
	return e.h.try(e.t, append([]string{"exec", e.name}, args...)...)
}

func (e *engine) must(args ...string) string {
	e.t.Helper()
	r := e.try(args...)
	if r.code != 0 {
		e.t.Fatalf("%v in %s: %s\n%s", args, e.name, r, tail(e.logs()))
	}
	return r.stdout
}

// docker runs the container's docker.
func (e *engine) docker(args ...string) string {
	e.t.Helper()
	return e.must(append([]string{"docker"}, args...)...)
}

// in runs a shell script in a container of the engine.
func (e *engine) in(flags []string, script string) result {
	e.t.Helper()
	return e.try(append(append([]string{"docker", "run", "--rm"}, flags...), busyName, "sh", "-c", script)...)
}

func tail(text string) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-8):], "\n")
}

// want fails the test unless got contains the text.
func want(t *testing.T, what, got, text string) {
	t.Helper()
	if !strings.Contains(got, text) {
		t.Errorf("%s: got %q, want it to contain %q", what, got, text)
	}
}

// file writes a file that the hosts see, and returns its path.
func file(t *testing.T, name, text string) string {
	t.Helper()
	dir, err := os.MkdirTemp(shared, "file-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
