package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// An OCI runtime that is not the bundled runc runs an engine as well: its limits, shares,
// shell and end.
func TestAnotherRuntime(t *testing.T) {
	guard(t)
	if _, err := exec.LookPath("crun"); err != nil {
		t.Skip("crun is not installed")
	}
	if !exists("/sys/fs/cgroup/cgroup.controllers") {
		t.Skip("Debian's crun refuses cgroup v1 beside v2")
	}
	dir := t.TempDir()
	e := up(t, "other", "--runtime", "crun", "--memory", "300m", "--share", dir)
	r := e.in([]string{"--memory", "64m", "-v", dir + ":" + dir}, first+"first memory.max; echo kept >"+dir+"/file")
	want(t, "a container", r.stdout, "67108864")
	if text, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(text) != "kept\n" {
		t.Errorf("the share holds %q, %v", text, err)
	}
	want(t, "berth shell", must(t, "shell", e.ID, "--", "cat", "/proc/1/comm"), "berth-init")
	below(t, e.ID, "/berth")
	must(t, "stop", e.ID)
	must(t, "start", e.ID)
	want(t, "images after a stop", e.docker("images"), "berth.test/busy")
}
