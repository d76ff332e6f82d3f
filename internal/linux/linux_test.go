package linux

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	if locked, err := Locked(path); locked || err != nil {
		t.Fatalf("a lock that does not exist: %v, %v", locked, err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Fatal("asking made the file")
	}
	f, err := TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := TryLock(path); !errors.Is(err, ErrLocked) {
		t.Fatalf("locked twice: %v", err)
	}
	if locked, err := Locked(path); !locked || err != nil {
		t.Fatalf("Locked: %v, %v", locked, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Lock(ctx, path); !errors.Is(err, context.Canceled) {
		t.Fatalf("a cancelled wait: %v", err)
	}
	got := make(chan error, 1)
	go func() {
		f, err := Lock(t.Context(), path)
		if err == nil {
			f.Close()
		}
		got <- err
	}()
	f.Close()
	if err := <-got; err != nil {
		t.Fatal(err)
	}
}

func TestLockOfARemovedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	f, err := TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	g, err := TryLock(path) // another file: the old lock guards nothing
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	g.Close()
}

func TestLockFollowsNoLink(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), filepath.Join(dir, "lock")); err != nil {
		t.Fatal(err)
	}
	if _, err := TryLock(filepath.Join(dir, "lock")); !errors.Is(err, unix.ELOOP) {
		t.Fatalf("got %v, want ELOOP", err)
	}
}

// child starts a process that lives until its standard input is closed.
func child(t *testing.T) (cmd *exec.Cmd, end func()) {
	t.Helper()
	cmd = exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, func() { in.Close(); _ = cmd.Wait() }
}

func TestPIDFD(t *testing.T) {
	cmd, end := child(t)
	start, err := StartTime(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenPIDFD(cmd.Process.Pid, start+1); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("another process of that pid: %v", err)
	}
	p, err := OpenPIDFD(cmd.Process.Pid, start)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := p.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waited for a process that runs: %v", err)
	}
	go end()
	if err := p.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestOpenPathFollowsNoLink(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	real, link := filepath.Join(dir, "real"), filepath.Join(dir, "link")
	if err := os.MkdirAll(filepath.Join(real, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{real: nil, link: unix.ELOOP, link + "/sub": unix.ELOOP, "/proc/self/cwd": unix.ELOOP, dir + "/none": unix.ENOENT} {
		f, err := OpenPath(path)
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
		if f != nil {
			f.Close()
		}
	}
}

// A walk over a tree that holds links to the outside must not touch the outside. Without
// privilege, ids are "changed" to what they are, and the calls are seen by pick.
func TestReownStaysInside(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	tree, outside := filepath.Join(dir, "tree"), filepath.Join(dir, "outside")
	for _, d := range []string{filepath.Join(tree, "a", "b"), filepath.Join(outside, "x")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, filepath.Join(tree, "a", "link")); err != nil {
		t.Fatal(err)
	}
	f, err := OpenPath(tree)
	if err != nil {
		t.Fatal(err)
	}
	dev, ino, err := Identity(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	count := func(uid, gid int) (int, int) { seen++; return uid, gid }
	if err := Reown(t.Context(), tree, dev, ino, time.Time{}, count); err != nil {
		t.Fatal(err)
	}
	if seen != 4 { // tree, a, b, link
		t.Errorf("visited %d entries, want 4", seen)
	}
	seen = 0
	if err := Reown(t.Context(), tree, dev, ino+1, time.Time{}, count); err != nil || seen != 0 {
		t.Errorf("an exchanged tree was visited: %d entries, %v", seen, err)
	}
	seen = 0
	if err := Reown(t.Context(), tree, dev, ino, time.Now().Add(time.Hour), count); err != nil || seen != 0 {
		t.Errorf("of what has not changed since, %d entries were looked at: %v", seen, err)
	}
	if err := os.RemoveAll(tree); err != nil {
		t.Fatal(err)
	}
	if err := Reown(t.Context(), tree, dev, ino, time.Time{}, count); err != nil {
		t.Errorf("a removed tree: %v", err)
	}
}

// The mode is there when the file is.
func TestListenUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := ListenUnix(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("%v (%v)", info.Mode(), err)
	}
	go func() {
		if c, err := net.Dial("unix", path); err == nil {
			c.Close()
		}
	}()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	l.Close()
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	if _, err := ListenUnix(path, 0o600); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("where there is one: %v", err)
	}
}

func TestSocketPair(t *testing.T) {
	a, b, err := SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = a.WriteString("hello\n"); a.Close() }()
	if line, err := bufio.NewReader(b).ReadString('\n'); line != "hello\n" || err != nil {
		t.Errorf("%q, %v", line, err)
	}
	b.Close()
}

func TestKillInsideSparesOthers(t *testing.T) {
	// A pipe is no process's network: nothing must be hit.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if n, err := KillInside(r); n != 0 || err != nil {
		t.Errorf("KillInside = %d, %v", n, err)
	}
}

func TestFindNetNSKnowsNoOther(t *testing.T) {
	if f, err := FindNetNS(1, 1); f != nil || err != nil {
		t.Errorf("%v, %v", f, err)
	}
}

func TestDoomed(t *testing.T) {
	cmd, end := child(t)
	start, err := StartTime(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if Doomed(cmd.Process.Pid, start) {
		t.Error("a living process is doomed")
	}
	if !Doomed(cmd.Process.Pid, start+1) {
		t.Error("a process that has ended, whose pid is in use again, is not")
	}
	end()
	if !Doomed(cmd.Process.Pid, start) {
		t.Error("a process that has ended is not")
	}
}

func TestOnThreadIsNeverTheMainThread(t *testing.T) {
	for range 200 {
		if err := OnThread(func() error {
			if unix.Gettid() == unix.Getpid() {
				return errors.New("on the main thread")
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCheckUnwritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := CheckUnwritten(f); err != nil {
		t.Errorf("a file that nobody writes to: %v", err)
	}
	w, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckUnwritten(f); !errors.Is(err, ErrWritten) {
		t.Errorf("a file that is open for writing: %v", err)
	}
	mapped, err := unix.Mmap(int(w.Fd()), 0, 4, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	if err := CheckUnwritten(f); !errors.Is(err, ErrWritten) {
		t.Errorf("a file that is mapped for writing: %v", err)
	}
	if err := unix.Munmap(mapped); err != nil {
		t.Fatal(err)
	}
	if err := CheckUnwritten(f); err != nil {
		t.Errorf("after both: %v", err)
	}
	// The lease was given back: opening it again waits for nobody.
	if w, err = os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0); err != nil {
		t.Fatal(err)
	}
	w.Close()
}
