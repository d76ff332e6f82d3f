package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A file has its mode whatever was there, and what was there stays when the new one cannot be made.
func TestWriteWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "secret")
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	failed := errors.New("failed")
	if err := writeWhole(t.Context(), path, 0o600, func(io.Writer) error { return failed }); !errors.Is(err, failed) {
		t.Error(err)
	}
	if got, err := os.ReadFile(path); string(got) != "old" {
		t.Errorf("after a failure: %q (%v)", got, err)
	}
	if err := writeWhole(t.Context(), path, 0o600, whole([]byte("new"))); err != nil {
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

// A link stays a link, whether there is something at its end or not.
func TestWriteWholeByLink(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"link": "data/old", "second": "link", "dangling": "data/new", "absolute": filepath.Join(data, "far")} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(data, "old"), []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"link": "old", "second": "old", "dangling": "new", "absolute": "far"} {
		path := filepath.Join(dir, name)
		if err := writeWhole(t.Context(), path, 0o600, whole([]byte(name))); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if info, err := os.Lstat(path); err != nil || info.Mode().Type() != os.ModeSymlink {
			t.Errorf("%s was replaced: %v (%v)", name, info.Mode(), err)
		}
		if got, err := os.ReadFile(filepath.Join(data, target)); string(got) != name {
			t.Errorf("%s: %s has %q (%v)", name, target, got, err)
		}
	}
	if left, _ := os.ReadDir(data); len(left) != 3 {
		t.Errorf("left are %v", left)
	}
	if left, _ := os.ReadDir(dir); len(left) != 5 {
		t.Errorf("left are %v", left)
	}
	cycle := filepath.Join(dir, "cycle")
	if err := os.Symlink("cycle", cycle); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{cycle, dir, filepath.Join(dir, "none", "file")} {
		if err := writeWhole(t.Context(), path, 0o600, whole(nil)); err == nil {
			t.Errorf("no error for %s", path)
		}
	}
}

// What is no file is written to and stays what it is.
func TestWriteWholeThrough(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(filepath.Dir(path), "link")
	if err := os.Symlink("fifo", link); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{path, link} {
		got := make(chan string)
		go func() {
			b, _ := os.ReadFile(path)
			got <- string(b)
		}()
		if err := writeWhole(t.Context(), to, 0o644, whole([]byte("text"))); err != nil {
			t.Fatal(err)
		}
		if text := <-got; text != "text" {
			t.Errorf("%s: read %q", to, text)
		}
		if info, err := os.Lstat(path); err != nil || info.Mode() != os.ModeNamedPipe|0o600 {
			t.Errorf("%s is %v now (%v)", to, info.Mode(), err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := writeWhole(ctx, path, 0o644, whole(nil)); !errors.Is(err, context.Canceled) {
		t.Errorf("without a reader: %v", err)
	}
	if f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0); err == nil { // lets the writer go
		f.Close()
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
