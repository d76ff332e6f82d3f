package pid1

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestIsReady(t *testing.T) {
	for datagram, want := range map[string]bool{
		"READY=1": true, "READY=1\n": true, "STATUS=x\nREADY=1\nMAINPID=2": true,
		"READY=0": false, "NOTREADY=1": false, "STATUS=READY=1": false, "": false,
	} {
		if isReady([]byte(datagram)) != want {
			t.Errorf("%q: want %v", datagram, want)
		}
	}
}

func FuzzIsReady(f *testing.F) {
	f.Add([]byte("STATUS=x\nREADY=1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if isReady(b) && !strings.Contains(string(b), "READY=1") {
			t.Errorf("%q is taken for readiness", b)
		}
	})
}

func TestReadStart(t *testing.T) {
	s, err := readStart(bufio.NewReader(strings.NewReader(`{"start":{"files":[],"args":["/usr/bin/dockerd"],"env":null}}` + "\n")))
	if err != nil || len(s.Args) != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	for _, bad := range []string{"", "{}\n", "{\"stop\":true}\n", "x\n", `{"start":{}}`} {
		if _, err := readStart(bufio.NewReader(strings.NewReader(bad))); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []File{
		{Path: filepath.Join(dir, "a/b/conf"), Mode: 0o600, Data: "x"},
		{Path: filepath.Join(dir, "a/link"), Link: "b/conf"},
	} {
		if err := writeFile(f); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := os.ReadFile(filepath.Join(dir, "a/link")); string(b) != "x" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if info, _ := os.Stat(filepath.Join(dir, "a/b/conf")); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}

func start(t *testing.T, script string) int {
	t.Helper()
	pid, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", script}, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}})
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// supervise gets its signals from a channel, so no process-wide handler is needed here: the
// test plays the kernel's part.
func TestSupervise(t *testing.T) {
	for script, want := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -9 $$": 137, "kill -TERM $$": 143} {
		pid := start(t, script)
		signals := make(chan os.Signal)
		stop := make(chan struct{})
		go func() {
			for {
				select {
				case signals <- unix.SIGCHLD:
				case <-stop:
					return
				}
			}
		}()
		if got := supervise(pid, signals); got != want {
			t.Errorf("%s: status %d, want %d", script, got, want)
		}
		close(stop)
	}
}

func TestSuperviseForwards(t *testing.T) {
	out, outWriter, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in, inWriter, err := os.Pipe() // nothing is ever written: the shell waits in read
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer inWriter.Close()
	pid, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", "trap 'exit 42' TERM; echo up; while :; do read x; done"},
		&syscall.ProcAttr{Files: []uintptr{in.Fd(), outWriter.Fd(), 2}})
	if err != nil {
		t.Fatal(err)
	}
	outWriter.Close()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "up\n" || err != nil {
		t.Fatal(line, err)
	}
	signals := make(chan os.Signal)
	done := make(chan int)
	go func() { done <- supervise(pid, signals) }()
	signals <- unix.SIGTERM
	for {
		select {
		case got := <-done:
			if got != 42 {
				t.Errorf("status %d, want 42", got)
			}
			return
		case signals <- unix.SIGCHLD: // the test plays the kernel's part
		}
	}
}
