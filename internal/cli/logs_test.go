package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestSeekTail(t *testing.T) {
	for _, test := range []struct {
		content string
		lines   int
		want    string
	}{
		{"a\nb\nc\n", -1, "a\nb\nc\n"},
		{"a\nb\nc\n", 0, ""},
		{"a\nb\nc\n", 1, "c\n"},
		{"a\nb\nc\n", 2, "b\nc\n"},
		{"a\nb\nc\n", 3, "a\nb\nc\n"},
		{"a\nb\nc\n", 9, "a\nb\nc\n"},
		{"a\nb", 1, "b"},
		{"\n\n", 1, "\n"},
		{"", 5, ""},
	} {
		f := tempFile(t)
		if _, err := f.WriteString(test.content); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if err := seekTail(f, test.lines); err != nil {
			t.Fatal(err)
		}
		at, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			t.Fatal(err)
		}
		if got := test.content[at:]; got != test.want {
			t.Errorf("the last %d lines of %q are %q; want %q", test.lines, test.content, got, test.want)
		}
	}
}

// TestFollow goes through what may happen to a log: it grows, begins anew, and its engine ends.
func TestFollow(t *testing.T) {
	dir := t.TempDir()
	log, alive := filepath.Join(dir, "log"), filepath.Join(dir, "engine")
	if err := os.Mkdir(alive, 0o755); err != nil {
		t.Fatal(err)
	}
	first := create(t, log, "one\n")
	f, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	done := make(chan error, 1)
	l := &follower{out: w, f: f, alive: alive}
	go func() { done <- l.follow(t.Context()) }()
	expect(t, r, "one\n")
	if _, err := first.WriteString("two\n"); err != nil {
		t.Fatal(err)
	}
	expect(t, r, "two\n")
	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	second := create(t, log, "three\n")
	expect(t, r, "three\n")
	if _, err := second.WriteString("four\n"); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(alive); err != nil {
		t.Fatal(err)
	}
	expect(t, r, "four\n")
	if err := <-done; err != nil {
		t.Error(err)
	}
	l.f.Close()
}

func TestFollowIsCancelled(t *testing.T) {
	dir := t.TempDir()
	f := create(t, filepath.Join(dir, "log"), "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (&follower{out: f, f: f, alive: dir}).follow(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("follow returned %v", err)
	}
}

func create(t *testing.T, path, content string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.WriteString(content); err != nil {
		t.Fatal(err)
	}
	return f
}

// expect reads exactly want.
func expect(t *testing.T, r *os.File, want string) {
	t.Helper()
	if err := r.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	got := ""
	for buf := make([]byte, 64); len(got) < len(want); {
		n, err := r.Read(buf)
		if err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
		got += string(buf[:n])
	}
	if got != want {
		t.Fatalf("printed %q; want %q", got, want)
	}
}
