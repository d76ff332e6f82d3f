package command

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/linux"
)

// shell runs a script and returns its status and what it printed; at tells when the
// script has printed its first line, and may send signals.
func shell(t *testing.T, script string, at func(signals chan<- syscall.Signal)) (int, string) {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := &Command{Path: "/bin/sh", Args: []string{"sh", "-c", script}, Env: os.Environ(), As: Identity{Same: true}, Umask: 0o027, Stdin: os.Stdin, Stdout: out, Stderr: w}
	signals := make(chan syscall.Signal, 4)
	go func() {
		var first [1]byte
		if n, _ := r.Read(first[:]); n == 1 && at != nil {
			at(signals)
		}
	}()
	status, err := c.Run(signals)
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	return status, string(b)
}

func TestSignalsReachTheCommand(t *testing.T) {
	if _, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0); err == nil {
		t.Skip("has a controlling terminal, where the kernel delivers SIGINT; test/integration covers that")
	}
	for _, sig := range []syscall.Signal{unix.SIGTERM, unix.SIGHUP, unix.SIGUSR1, unix.SIGINT, unix.SIGQUIT} {
		name := strings.TrimPrefix(unix.SignalName(sig), "SIG")
		script := `trap "echo got; exit 9" ` + name + `; echo ready >&2; for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.2; done`
		status, out := shell(t, script, func(s chan<- syscall.Signal) { s <- sig })
		if status != 9 || out != "got\n" {
			t.Errorf("%s: status %d, printed %q", name, status, out)
		}
	}
	status, _ := shell(t, `echo ready >&2; exec sleep 5`, func(s chan<- syscall.Signal) { s <- unix.SIGTERM })
	if status != 128+int(unix.SIGTERM) {
		t.Errorf("untrapped SIGTERM: status %d", status)
	}
}

// The command's mask is its own.
func TestUmask(t *testing.T) {
	mask := unix.Umask(0o022)
	defer unix.Umask(mask)
	if status, out := shell(t, "umask", nil); status != 0 || out != "0027\n" {
		t.Errorf("status %d, printed %q", status, out)
	}
	if got := unix.Umask(0o022); got != 0o022 {
		t.Errorf("berth's own has become %#o", got)
	}
}

func TestCommandDiesWithItsThread(t *testing.T) {
	// The parent-death signal must not fire while the command's thread waits: a command
	// that outlives many other threads shows that.
	for range 50 {
		_ = linux.OnThread(func() error { return nil })
	}
	start := time.Now()
	if status, _ := shell(t, "sleep 0.3; exit 3", nil); status != 3 || time.Since(start) < 300*time.Millisecond {
		t.Errorf("status %d after %s", status, time.Since(start))
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tool, text := write("tool", "#!/bin/sh\n", 0o755), write("text", "words", 0o644)
	me := Identity{Same: true}
	for name, want := range map[string]string{"tool": tool, tool: tool} {
		if got, err := Find(me, name, "relative::/nonexistent:"+dir); err != nil || got != want {
			t.Errorf("Find(%q) = %q, %v; want %q", name, got, err, want)
		}
	}
	for name, status := range map[string]int{
		"text": 126, text: 126, dir: 126, "nothing": 127, dir + "/nothing": 127, text + "/below": 127, "": 127,
	} {
		_, err := Find(me, name, dir)
		var lookup *LookupError
		if !errors.As(err, &lookup) || lookup.Status != status {
			t.Errorf("Find(%q): %v; want status %d", name, err, status)
		}
	}
}

func TestStartErrors(t *testing.T) {
	dir := t.TempDir()
	for content, status := range map[string]int{"#!/no/such/interpreter\n": 127, "no program": 126} {
		path := filepath.Join(dir, "file")
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
		c := &Command{Path: path, Args: []string{path}, As: Identity{Same: true}, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
		_, err := c.Run(nil)
		var lookup *LookupError
		if !errors.As(err, &lookup) || lookup.Status != status {
			t.Errorf("%q: %v; want status %d", content, err, status)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to run commands as somebody else")
	}
	id, err := Lookup("65534:65534")
	if err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	var lookup *LookupError
	if _, err := Find(id, secret, ""); !errors.As(err, &lookup) || lookup.Status != StatusNotRunnable {
		t.Errorf("another user may run root's file: %v", err)
	}
	if os.Geteuid() != 0 {
		t.Error("looking up as another user changed this process")
	}
	c := &Command{Path: "/bin/sh", Args: []string{"sh", "-c", "id -u; id -g; id -G; grep CapEff /proc/self/status"}, As: id, Env: []string{"PATH=/usr/bin:/bin"}}
	out, err := c.Output(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := "65534\n65534\n65534\nCapEff:\t0000000000000000\n"; out != want {
		t.Errorf("printed %q; want %q", out, want)
	}
}
