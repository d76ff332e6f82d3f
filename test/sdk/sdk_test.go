// Package sdk tests package berth with real engines and real registries.
package sdk

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth"
	"github.com/berth-dev/berth/test/deadline"
	"github.com/berth-dev/berth/test/image"
	"github.com/berth-dev/berth/test/leak"
	"github.com/berth-dev/berth/test/registry"
)

// start gives a test an engine with the options, and ends it with the test.
func start(t *testing.T, opts ...berth.Option) *berth.Engine {
	t.Helper()
	guard(t)
	e, err := berth.Start(t.Context(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return e
}

// guarded are the names of tests that have begun to be guarded.
var guarded sync.Map

// guard fails a test for what it leaves. Only the first of a test and its subtests counts: a
// second would see the first engine at work.
func guard(t *testing.T) {
	t.Helper()
	for name := t.Name(); name != "."; name = path.Dir(name) {
		if _, ok := guarded.Load(name); ok {
			return
		}
	}
	guarded.Store(t.Name(), true)
	leak.Guard(t, leak.Scope{All: true, Files: []string{"/run", "/var/lib"}, Skip: []string{"/var/lib/berth/payload"}})
}

// serve starts a registry and returns what an engine needs to use it.
func serve(t *testing.T, o registry.Options) (*registry.Registry, []berth.Option) {
	t.Helper()
	o.Dir = t.TempDir()
	r, err := registry.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	ca, err := os.ReadFile(r.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	return r, []berth.Option{berth.WithHost(r.Host, "host-gateway"), berth.WithRegistryCA(r.Address(), ca)}
}

// push puts a small image into a registry and returns its name there.
func push(t *testing.T, r *registry.Registry, repository string, o image.Options, auth authn.Authenticator) string {
	t.Helper()
	img, err := image.Build(o)
	if err != nil {
		t.Fatal(err)
	}
	ref := r.Address() + "/" + repository
	if err := image.Push(ref, img, r.Transport(), auth); err != nil {
		t.Fatal(err)
	}
	return ref
}

// load gives an engine a small image without a registry.
func load(t *testing.T, e *berth.Engine, ref string, o image.Options) berth.Image {
	t.Helper()
	img, err := image.Build(o)
	if err != nil {
		t.Fatal(err)
	}
	return loadImage(t, e, ref, img)
}

func loadImage(t *testing.T, e *berth.Engine, ref string, img v1.Image) berth.Image {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := image.SaveTar(path, ref, img); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	loaded, err := e.Load(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	if len(loaded) != 1 {
		t.Fatalf("loaded %d images: %+v", len(loaded), loaded)
	}
	return loaded[0]
}

func TestStartUseClose(t *testing.T) {
	e := start(t)
	if _, err := e.Client().Ping(t.Context(), client.PingOptions{}); err != nil {
		t.Error(err)
	}
	if s, err := e.Stats(t.Context()); err != nil || s.Memory == 0 || s.PIDs == 0 {
		t.Errorf("stats: %+v, %v", s, err)
	}
	logs, err := e.Logs(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(logs)
	if err != nil || !strings.Contains(string(text), "level=") {
		t.Errorf("logs: %q, %v", text, err)
	}
	logs.Close()
	list, err := berth.List(t.Context())
	if err != nil || len(list) == 0 {
		t.Errorf("list: %v, %v", list, err)
	}
	if err := e.Close(context.Background()); err != nil {
		t.Error(err)
	}
	for event := range e.Events(t.Context()) {
		if !event.Ended {
			t.Error(event)
		}
	}
	if err := e.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(e.Info().Socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// TestUnpacking is the first start on a machine.
func TestUnpacking(t *testing.T) {
	t.Setenv("BERTH_STATE_DIR", t.TempDir())
	var last, most int64
	e := start(t, berth.WithUnpackProgress(func(done, total int64) {
		if done < last || done > total {
			t.Errorf("%d of %d bytes after %d", done, total, last)
		}
		last, most = done, total
	}))
	if most == 0 || last != most {
		t.Errorf("the last progress was %d of %d bytes", last, most)
	}
	if err := e.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestAttachedAndDetached(t *testing.T) {
	e := start(t, berth.Detached(), berth.WithName("sdk-detached"))
	defer func() {
		if err := e.Remove(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	other, err := berth.Attach(t.Context(), "sdk-detached")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(context.Background())
	if _, err := other.Client().Ping(t.Context(), client.PingOptions{}); err != nil {
		t.Error(err)
	}
	_, err = berth.Start(t.Context(), berth.WithName("sdk-detached"))
	if !errors.Is(err, berth.ErrNameTaken) {
		t.Errorf("a second engine of the name: %v", err)
	}
	closed, err := berth.Attach(t.Context(), e.ID())
	if err != nil {
		t.Fatal(err)
	}
	never := closed.Events(t.Context())
	if err := closed.Close(t.Context()); err != nil {
		t.Error(err)
	}
	for event := range never { // its handle is closed, and the engine goes on
		t.Error(event)
	}
	if err := e.Stop(t.Context(), time.Second); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), deadline.Scaled(20*time.Second))
	defer cancel()
	if err := other.Wait(ctx); err != nil {
		t.Errorf("the other handle did not learn of the engine's end: %v", err)
	}
	n := 0
	for event := range other.Events(ctx) {
		if n++; !event.Ended {
			t.Error(event)
		}
	}
	if n != 1 {
		t.Errorf("%d events of an engine that has ended", n)
	}
	if _, err := berth.Attach(t.Context(), "sdk-detached"); !errors.Is(err, berth.ErrNotRunning) {
		t.Errorf("attach to a stopped engine: %v", err)
	}
}

func TestWrongSettings(t *testing.T) {
	guard(t)
	for _, test := range []struct {
		title string
		opt   berth.Option
		kind  error
	}{
		{"memory", berth.WithMemory(1000), berth.ErrInvalid},
		{"name", berth.WithName("No Name"), berth.ErrInvalid},
		{"network", berth.WithNetwork("carrier pigeon"), berth.ErrInvalid},
		{"share", berth.WithShare("/"), berth.ErrInvalid},
		{"missing share", berth.WithShare("/does/not/exist"), berth.ErrInvalid},
		{"host", berth.WithHost("a b", "1.2.3.4"), berth.ErrInvalid},
		{"daemon config", berth.WithDaemonConfig([]byte("[]")), berth.ErrInvalid},
		{"certificate", berth.WithRegistryCA("registry.test", []byte("none")), berth.ErrInvalid},
		{"authority", berth.WithCA([]byte("none")), berth.ErrInvalid},
		{"mirror", berth.WithMirror("not a URL"), berth.ErrInvalid},
		{"snapshot", berth.WithSnapshot("No Name"), berth.ErrInvalid},
		{"no such snapshot", berth.WithSnapshot("sdk-test-none"), berth.ErrNotFound},
		{"program", berth.WithBinary("/does/not/exist"), berth.ErrNoBinary},
	} {
		t.Run(test.title, func(t *testing.T) {
			e, err := berth.Start(t.Context(), test.opt)
			if err == nil {
				e.Close(context.Background())
			}
			if !errors.Is(err, test.kind) {
				t.Errorf("got %v, want %v", err, test.kind)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
		})
	}
}

// TestCancelledStart cancels at various moments; each time nothing may be left.
func TestCancelledStart(t *testing.T) {
	guard(t)
	before, err := berth.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, after := range []time.Duration{0, 5, 20, 50, 100, 150, 200, 230} {
		ctx, cancel := context.WithTimeout(t.Context(), after*time.Millisecond)
		e, err := berth.Start(ctx)
		cancel()
		if err == nil { // it was ready before
			e.Close(context.Background())
			continue
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %d ms: %v", after, err)
		}
	}
	left, err := berth.List(t.Context())
	if err != nil || len(left) != len(before) {
		t.Errorf("left: %+v, %v", left, err)
	}
}

// TestEngineDiesWithItsProgram kills a program that has an engine with a container in it.
func TestEngineDiesWithItsProgram(t *testing.T) {
	guard(t)
	program := filepath.Join(t.TempDir(), "program")
	if out, err := exec.Command("go", "build", "-o", program, "./testdata/holder").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := exec.Command(program)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 12)
	if _, err := io.ReadFull(out, line); err != nil {
		t.Fatal(err)
	}
	e, err := berth.Attach(t.Context(), string(line))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close(context.Background())
	img := load(t, e, "sdk.test/busy:1", image.Options{})
	if _, err := e.Run(context.Background(), img.ID, []string{"sleep", "1000"}); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(e.Info().Socket)
	lock, err := os.Open(filepath.Join(dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	// Its berth process lets go of the lock when nothing of the engine is left.
	free := make(chan error, 1)
	go func() { free <- flock(lock) }()
	select {
	case err := <-free:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(deadline.Scaled(time.Minute)):
		t.Fatalf("engine %s outlives its program", line)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the engine's directory is still there: %v", err)
	}
}

func flock(f *os.File) error {
	for {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != unix.EINTR {
			return err
		}
	}
}

// TestEngineThatEndsByItself kills its monitor.
func TestEngineThatEndsByItself(t *testing.T) {
	e := start(t)
	// Its dockerd ends by a signal from within.
	img := load(t, e, "sdk.test/busy:1", image.Options{})
	_, err := e.Output(t.Context(), img.Ref, []string{"sh", "-c", "kill -9 $(ps | awk '/[d]ockerd/{print $1; exit}'); sleep 5"},
		berth.WithPrivileged(), berth.WithConfig(hostPIDs))
	if err == nil {
		t.Error("the container ended well")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := e.Wait(ctx); !errors.Is(err, berth.ErrUnavailable) {
		t.Errorf("wait: %v", err)
	}
	if _, err := e.Images(t.Context()); !errors.Is(err, berth.ErrUnavailable) {
		t.Errorf("use of an engine that has ended: %v", err)
	}
}
