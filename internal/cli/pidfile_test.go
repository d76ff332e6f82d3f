package cli

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/berth-dev/berth/internal/engine"
)

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
