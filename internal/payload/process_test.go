package payload

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// envChild makes the test program another berth: its value says what to do in the
// directory that follows.
const envChild = "BERTH_TEST_PAYLOAD_CHILD"

// TestChild is not a test: it is what the processes started below do.
func TestChild(t *testing.T) {
	what, dir, ok := strings.Cut(os.Getenv(envChild), ":")
	if !ok {
		t.Skip("only for the processes that other tests start")
	}
	switch what {
	case "extract":
		_, err := fake(t).Extract(t.Context(), dir, nil)
		report(t, err)
	case "hang": // in the middle, until it is killed
		_, _ = fake(t).Extract(t.Context(), dir, func(int64, int64) {
			fmt.Println("extracting")
			select {}
		})
	case "full":
		must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m,mode=755"))
		_, err := fake(t).Extract(t.Context(), dir, nil)
		wantOnlyLock(t, dir)
		report(t, err)
	case "noexec":
		must(t, unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOEXEC, "mode=755"))
		_, err := fake(t).Extract(t.Context(), dir, nil)
		report(t, err)
	}
}

func report(t *testing.T, err error) {
	if err != nil {
		t.Fatal("error:", err)
	}
}

func must(t *testing.T, err error) {
	if err != nil {
		t.Fatal(err)
	}
}

func child(t *testing.T, what, dir string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), envChild+"="+what+":"+dir)
	return cmd
}

func TestManyProcesses(t *testing.T) {
	dir := t.TempDir()
	var running []*exec.Cmd
	for range 20 {
		cmd := child(t, "extract", dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		running = append(running, cmd)
	}
	for _, cmd := range running {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	if !stampMatches(&Tree{Dir: filepath.Join(dir, fake(t).Digest())}) {
		t.Error("no stamped tree")
	}
}

// A process that is killed while it extracts leaves its unfinished tree; the next one
// neither waits for it nor keeps that.
func TestKilledWhileExtracting(t *testing.T) {
	dir := t.TempDir()
	cmd := child(t, "hang", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the child ended by itself")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, tempPrefix+"*")); len(left) != 1 {
		t.Fatalf("unfinished trees: %v", left)
	}
	if _, err := fake(t).Extract(t.Context(), dir, nil); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, tempPrefix+"*")); len(left) != 0 {
		t.Errorf("still there: %v", left)
	}
}

// Mounts are made in a mount namespace of the child's own, and go with it.
func TestUnsuitableFileSystems(t *testing.T) {
	for what, want := range map[string]string{"full": "no room for the 3 MB", "noexec": "mounted noexec"} {
		t.Run(what, func(t *testing.T) {
			cmd := child(t, what, t.TempDir())
			// With Unshareflags Go makes the mounts private; with Cloneflags it would not.
			cmd.SysProcAttr = &unix.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
			if os.Geteuid() != 0 {
				cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWUSER
				cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
				cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
			}
			out, err := cmd.CombinedOutput()
			if errors.Is(err, unix.EPERM) {
				t.Skip("no mount namespace can be made here")
			}
			if err == nil || !strings.Contains(string(out), want) || strings.Contains(string(out), "is left") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
