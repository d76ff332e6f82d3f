package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/berth-dev/berth/internal/cgroup"
	"github.com/berth-dev/berth/internal/command"
	"github.com/berth-dev/berth/internal/engine"
	"github.com/berth-dev/berth/internal/payload"
)

// fakeEngines is a machine with engines that do nothing. It records what is asked of it.
type fakeEngines struct {
	all       []engine.Info
	tree      *payload.Tree
	started   []engine.Spec
	stopped   []string
	removed   []string
	engine    *fakeEngine
	collected engine.Collected
	err       error // of Start
}

func (f *fakeEngines) Start(_ context.Context, spec engine.Spec) (running, error) {
	f.started = append(f.started, spec)
	if f.err != nil {
		return nil, f.err
	}
	return f.engine, nil
}

func (f *fakeEngines) StartDetached(_ context.Context, spec engine.Spec) (engine.Info, error) {
	f.started = append(f.started, spec)
	info := engine.Info{ID: "0123456789ab", Name: spec.Name, Status: engine.StatusRunning, Spec: spec, Socket: "/run/x.sock"}
	return info, f.err
}

func (f *fakeEngines) StartStopped(ctx context.Context, ref string) (engine.Info, error) {
	return f.Find(ctx, ref)
}

func (f *fakeEngines) List(context.Context) ([]engine.Info, error) { return f.all, nil }

func (f *fakeEngines) Find(_ context.Context, ref string) (engine.Info, error) {
	for _, info := range f.all {
		if info.ID == ref || info.Name == ref {
			return info, nil
		}
	}
	return engine.Info{}, fmt.Errorf("%w: %s", engine.ErrNotFound, ref)
}

func (f *fakeEngines) Stop(_ context.Context, ref string, _ time.Duration) error {
	f.stopped = append(f.stopped, ref)
	return nil
}

func (f *fakeEngines) Remove(_ context.Context, ref string) error {
	f.removed = append(f.removed, ref)
	return nil
}

func (f *fakeEngines) GC(context.Context) (engine.Collected, error) {
	return f.collected, nil
}

func (f *fakeEngines) Tree(context.Context) (*payload.Tree, error) { return f.tree, nil }

func (f *fakeEngines) Shell(_ context.Context, _ string, argv []string, _ bool) (int, error) {
	return len(argv), nil
}

func (f *fakeEngines) Stats(context.Context, string) (cgroup.Stats, error) {
	return cgroup.Stats{Memory: 1 << 20, CPU: time.Second, PIDs: 40}, nil
}

func (f *fakeEngines) NetNS(context.Context, string) (*os.File, error) {
	return os.Open("/proc/self/ns/net")
}

// fakeEngine is one that runs.
type fakeEngine struct {
	info   engine.Info
	netns  *os.File
	notes  chan string
	done   chan struct{}
	closed bool
}

func (e *fakeEngine) Info() engine.Info     { return e.info }
func (e *fakeEngine) Done() <-chan struct{} { return e.done }
func (e *fakeEngine) Err() error            { return errors.New("dockerd ended with status 1") }
func (e *fakeEngine) Notes() <-chan string  { return e.notes }
func (e *fakeEngine) NetNS() *os.File       { return e.netns }
func (e *fakeEngine) Close(context.Context) error {
	e.closed = true
	return nil
}

// invoke runs berth against the fake machine and returns what it wrote.
func invoke(t *testing.T, f *fakeEngines, args ...string) (status int, out, errOut string) {
	t.Helper()
	if f.tree == nil {
		f.tree = &payload.Tree{Dir: t.TempDir()}
	}
	outFile, errFile := tempFile(t), tempFile(t)
	in, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	ctx, signals := command.Watch(t.Context())
	defer signals.Stop()
	a := &app{
		Streams: Streams{In: in, Out: outFile, Err: errFile}, signals: signals,
		open: func(*app) (engines, error) { return f, nil },
	}
	status = a.run(ctx, args)
	return status, content(t, outFile), content(t, errFile)
}

func tempFile(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "stream"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func content(t *testing.T, f *os.File) string {
	t.Helper()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
