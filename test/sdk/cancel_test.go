package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth"
	"github.com/berth-dev/berth/test/deadline"
	"github.com/berth-dev/berth/test/image"
	"github.com/berth-dev/berth/test/registry"
)

// TestStartCancelledAtEachStep: the guard finds what a step had made and nobody took away.
func TestStartCancelledAtEachStep(t *testing.T) {
	guard(t)
	t.Setenv("BERTH_TRACE", "1")
	steps := stepsOf(t)
	if !slices.Contains(steps, "container") {
		t.Fatalf("steps of a start: %v", steps)
	}
	for _, step := range steps {
		ctx, cancel := context.WithCancel(t.Context())
		e, err := berth.Start(ctx, berth.WithLog(traced(func(seen string) {
			if seen == step {
				cancel()
			}
		})))
		cancel()
		switch {
		case err == nil: // it was ready before the end of its last step was told
			if err := e.Close(context.Background()); err != nil {
				t.Error(err)
			}
		case !errors.Is(err, context.Canceled):
			t.Errorf("cancelled after %s: %v", step, err)
		}
	}
	if left, err := berth.List(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("left: %+v, %v", left, err)
	}
}

// stepsOf starts an engine and returns the steps of that.
func stepsOf(t *testing.T) (steps []string) {
	t.Helper()
	var mu sync.Mutex
	e, err := berth.Start(t.Context(), berth.WithLog(traced(func(step string) {
		mu.Lock()
		defer mu.Unlock()
		steps = append(steps, step)
	})))
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(context.Background()); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	return steps[:slices.Index(steps, "ready")+1] // those of the end follow
}

// traced is a log that hands on the steps which BERTH_TRACE has told.
func traced(step func(string)) *slog.Logger { return slog.New(stepHandler{slog.DiscardHandler, step}) }

type stepHandler struct {
	slog.Handler
	step func(string)
}

func (h stepHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h stepHandler) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		var line struct{ Step string }
		if json.Unmarshal([]byte(a.Value.String()), &line) == nil && line.Step != "" {
			h.step(line.Step)
		}
		return true
	})
	return nil
}

// TestCancelledTransfers begins what takes for ever, ends it, and uses the engine again.
func TestCancelledTransfers(t *testing.T) {
	f := newFaulty()
	r, opts := serve(t, registry.Options{Handler: f})
	ref := push(t, r, "app:1", image.Options{}, nil)
	e := start(t, opts...)
	img := load(t, e, ref, image.Options{})
	fresh := load(t, e, r.Address()+"/fresh:1", image.Options{Label: "not in the registry"})
	push(t, r, "other:1", image.Options{Label: "other"}, nil)
	direct := berth.WithTransport(r.Transport())
	for _, test := range []struct {
		title string
		spoil spoiler
		do    func(ctx context.Context) error
	}{
		{"push", hang("blobs"), func(ctx context.Context) error { return e.Push(ctx, fresh.Ref) }},
		{"copy", hang("manifests"), func(ctx context.Context) error {
			return berth.Copy(ctx, ref, r.Address()+"/copied:1", direct)
		}},
		{"retry", status(503, -1, "manifests"), func(ctx context.Context) error {
			_, err := e.Pull(ctx, r.Address()+"/other:1", berth.WithTries(1000))
			return err
		}},
		{"load", nil, func(ctx context.Context) error { _, err := e.Load(ctx, silent(t)); return err }},
		{"import", nil, func(ctx context.Context) error { _, err := e.Import(ctx, silent(t), "sdk.test/never:1"); return err }},
		{"build of an archive", nil, func(ctx context.Context) error {
			_, err := e.Build(ctx, "-", berth.WithContextTar(silent(t)))
			return err
		}},
		{"logs", nil, func(ctx context.Context) error { return followLogs(ctx, e, img) }},
	} {
		t.Run(test.title, func(t *testing.T) {
			f.set(test.spoil)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			time.AfterFunc(300*time.Millisecond, cancel)
			done := make(chan error, 1)
			go func() { done <- test.do(ctx) }()
			select {
			case err := <-done:
				if !errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
			case <-time.After(deadline.Scaled(20 * time.Second)):
				t.Fatal("it did not end")
			}
		})
	}
	f.set(nil)
	if _, err := e.Pull(t.Context(), ref); err != nil {
		t.Error(err)
	}
}

// silent is a reader that never says anything.
func silent(t *testing.T) io.Reader {
	r, w := io.Pipe()
	t.Cleanup(func() { w.Close() })
	return r
}

func followLogs(ctx context.Context, e *berth.Engine, img berth.Image) error {
	c, err := e.Run(context.WithoutCancel(ctx), img.ID, []string{"sleep", "1000"})
	if err != nil {
		return err
	}
	defer c.Remove(context.Background())
	return c.Logs(ctx, io.Discard, io.Discard, true)
}

// TestCancelledBuild ends builds before, at and in the middle of a step: its process ends as
// well, and so do the client's.
func TestCancelledBuild(t *testing.T) {
	e := start(t)
	base := load(t, e, "sdk.test/busy:1", image.Options{})
	dir := t.TempDir()
	write(t, dir, "Dockerfile", "FROM "+base.Ref+"\nRUN echo begun; sleep 1234\n")
	for _, after := range []time.Duration{0, 10, 50, 100, 150, 200, 300, 500} {
		ctx, cancel := context.WithTimeout(t.Context(), after*time.Millisecond)
		if _, err := e.Build(ctx, dir); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %d ms: %v", after, err)
		}
		cancel()
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := e.Build(ctx, dir, berth.WithTransfer(berth.WithProgress(func(p berth.Progress) {
		if strings.Contains(p.Text, "begun") {
			cancel()
		}
	})))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	// BuildKit kills what a step runs after it has told its client.
	out, err := e.Output(t.Context(), base.ID, []string{"sh", "-c", "for i in $(seq 100); do ps | grep -q '[s]leep 1234' || exit 0; sleep 0.1; done; ps; exit 1"}, berth.WithConfig(hostPIDs))
	if err != nil {
		t.Errorf("the step goes on: %v: %s", err, out.Stdout)
	}
	images, err := e.Client().ImageList(t.Context(), client.ImageListOptions{All: true})
	if err != nil || len(images.Items) != 1 {
		t.Errorf("images: %+v, %v", images.Items, err)
	}
	if _, err := e.Build(t.Context(), dir, berth.WithTarget("none")); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("a build after that: %v", err)
	}
}

// TestSaveThatFails leaves nothing behind.
func TestSaveThatFails(t *testing.T) {
	e := start(t)
	img := load(t, e, "sdk.test/busy:1", image.Options{})
	full := errors.New("the tape is full")
	if err := e.Save(t.Context(), writerFunc(func([]byte) (int, error) { return 0, full }), img.Ref); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := e.Save(ctx, writerFunc(func(b []byte) (int, error) { cancel(); return len(b), nil }), img.Ref)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	dir := t.TempDir()
	for _, where := range []string{dir, filepath.Join(dir, "new")} {
		if err := e.SaveDir(ctx, where, img.Ref); !errors.Is(err, context.Canceled) {
			t.Errorf("to a directory, cancelled: %v", err)
		}
	}
	small := smallDisk(t, 256<<10)
	if err := e.SaveDir(t.Context(), small, img.Ref); !errors.Is(err, berth.ErrNoSpace) {
		t.Errorf("to a directory without space: %v", err)
	}
	for _, where := range []string{dir, small} {
		if left, err := os.ReadDir(where); err != nil || len(left) != 0 {
			t.Errorf("%s holds %v, %v", where, left, err)
		}
	}
	if _, err := e.LoadDir(t.Context(), dir+"/none"); !errors.Is(err, berth.ErrNotFound) {
		t.Errorf("load of no directory: %v", err)
	}
}

// smallDisk is a file system of so many bytes.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
