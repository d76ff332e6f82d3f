package cli

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A file has its mode whatever was there, and what was there stays when the new one cannot be made.
func TestWriteWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "secret")
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	failed := errors.New("failed")
	if err := writeWhole(path, 0o600, func(io.Writer) error { return failed }); !errors.Is(err, failed) {
		t.Error(err)
	}
	if got, err := os.ReadFile(path); string(got) != "old" {
		t.Errorf("after a failure: %q (%v)", got, err)
	}
	if err := writeWhole(path, 0o600, whole([]byte("new"))); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 || info.Size() != 3 {
		t.Errorf("%v, %d bytes (%v)", info.Mode(), info.Size(), err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left are %v (%v)", left, err)
	}
}

func TestParseAge(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 0, "90m": 90 * time.Minute, "7d": 7 * 24 * time.Hour, "100000d": 100000 * 24 * time.Hour} {
		if got, err := parseAge(text); got != want || err != nil {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"0d", "-1d", "1.5d", "d", "7", "213504d", "99999999999999999999d"} {
		if got, err := parseAge(text); err == nil {
			t.Errorf("%q was taken for %v", text, got)
		}
	}
}
