package cli

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/engine"
)

// A pid file takes no other thing's place, and the engine is not started.
func TestPIDFileReplacesOnlyFiles(t *testing.T) {
	dir := t.TempDir()
	fifo, link := filepath.Join(dir, "fifo"), filepath.Join(dir, "link")
	if err := errors.Join(unix.Mkfifo(fifo, 0o600), os.Symlink("nothing", link)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, link, dir} {
		before, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = withPIDFile(path, func() (engine.Info, error) {
			t.Errorf("%s: the engine was started", path)
			return engine.Info{}, nil
		})
		if err == nil {
			t.Errorf("%s: no error", path)
		}
		if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
			t.Errorf("%s was replaced (%v)", path, err)
		}
	}
}

func TestPIDFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web.pid")
	failed := errors.New("no engine")
	if _, err := withPIDFile(path, func() (engine.Info, error) { return engine.Info{}, failed }); err != failed {
		t.Errorf("got %v", err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) > 0 {
		t.Errorf("left after a failure: %v", left)
	}
	start := func() (engine.Info, error) { return engine.Info{Monitor: engine.Process{PID: 4711}}, nil }
	for range 2 { // the second replaces the first
		if _, err := withPIDFile(path, start); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "4711\n" {
		t.Errorf("%q, %v", text, err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}
