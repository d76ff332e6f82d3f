package sdk

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-dev/berth"
	"github.com/berth-dev/berth/test/image"
	"github.com/berth-dev/berth/test/registry"
	"github.com/berth-dev/berth/test/sandbox"
)

// TestMain finds the berth program: BERTH_BINARY, or BERTH as the other tests have it, or
// what `make build` has made. The tests run in a sandbox (see package sandbox), so that what
// they leave behind shows.
func TestMain(m *testing.M) {
	if os.Getenv(berth.EnvBinary) == "" {
		path := os.Getenv("BERTH")
		if path == "" {
			path = "../../bin/berth"
		}
		path, _ = filepath.Abs(path)
		os.Setenv(berth.EnvBinary, path)
	}
	os.Exit(sandbox.Run(func() int {
		if err := setUp(); err != nil {
			fmt.Fprintln(os.Stderr, "sdk:", err)
			return 1
		}
		return m.Run()
	}))
}

// setUp unpacks the payload and makes berth's directories and locks, which stay.
func setUp() error {
	for _, name := range []string{"BERTH_STATE_DIR", "BERTH_RUN_DIR", "DOCKER_HOST", "SUDO_UID", "SUDO_GID", "SUDO_USER"} {
		os.Unsetenv(name)
	}
	ctx := context.Background()
	e, err := berth.Start(ctx)
	if err != nil {
		return err
	}
	if err := e.Close(ctx); err != nil {
		return err
	}
	return exec.Command(os.Getenv(berth.EnvBinary), "gc").Run()
}

// example builds one of the repository's examples.
func example(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	cmd := exec.Command("go", "build", "-o", path, "./"+name)
	cmd.Dir = "../../examples"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

func TestExamples(t *testing.T) {
	r, opts := serve(t, registry.Options{})
	ref := push(t, r, "app:1", image.Options{}, nil)
	t.Run("docker-sdk", func(t *testing.T) {
		e := start(t, opts...)
		cmd := exec.Command(example(t, "docker-sdk"), ref)
		cmd.Env = append(os.Environ(), e.Env()...)
		expect(t, cmd, image.Greeting+"\n")
	})
	t.Run("berth-sdk", func(t *testing.T) {
		start(t).Close(t.Context()) // skips where engines cannot be had
		expect(t, exec.Command(example(t, "berth-sdk"), "-ca", r.Address()+"="+r.CAFile, "-host", r.Host+"=host-gateway", ref), image.Greeting+"\n")
	})
	t.Run("sync", func(t *testing.T) {
		// The program resolves names as any other: the registries are at loopback addresses.
		near := plain(t)
		cmd := exec.Command(example(t, "sync"), "-from", near+"/a", "-to", near+"/b", "app:1", "missing:1")
		seed(t, near+"/a/app:1")
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "copied app:1") || !strings.Contains(string(out), "missing:1 does not exist") {
			t.Errorf("%v: %s", err, out)
		}
	})
	for _, name := range []string{"suite", "testcontainers"} {
		t.Run(name, func(t *testing.T) {
			start(t).Close(t.Context())
			cmd := exec.Command("go", "test", "-count=1", "./"+name)
			cmd.Dir = "../../examples"
			cmd.Env = append(os.Environ(), "BERTH_TEST_REQUIRED=1")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// plain starts a registry without TLS on the loopback address.
func plain(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(newFaulty())
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func seed(t *testing.T, ref string) {
	t.Helper()
	img, err := image.Build(image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := image.Push(ref, img, http.DefaultTransport, nil); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, cmd *exec.Cmd, want string) {
	t.Helper()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || string(out) != want {
		t.Errorf("%v: %q, want %q; %s", err, out, want, stderr.String())
	}
}
