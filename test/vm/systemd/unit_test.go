package systemd

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestUnitStartsAnEngine(t *testing.T) {
	u := unit(t, "web", "--memory 400m --pids 400")
	if got := docker(t, "web", "version", "-f", "{{.Server.Version}}"); got == "" {
		t.Error("no version")
	}
	if got := property(t, u, "ActiveState"); got != "active" {
		t.Errorf("the unit is %s", got)
	}
	if main, monitor := property(t, u, "MainPID"), strconv.Itoa(info(t, "web").Monitor.PID); main != monitor {
		t.Errorf("systemd's main process is %s, the monitor is %s", main, monitor)
	}
	if file := limit(t, "web", "memory.max", "memory.limit_in_bytes"); file.text != "419430400" {
		t.Errorf("%s is %s", file.path, file.text)
	}
}

func TestRestartKeepsImagesAndVolumes(t *testing.T) {
	u := unit(t, "kept", "")
	docker(t, "kept", "load", "-q", "-i", imageTar)
	docker(t, "kept", "run", "--name", "box", "-v", "vol:/v", imageName, "sh", "-c", "echo 1 >/v/file")
	before := info(t, "kept")
	must(t, "systemctl", "restart", u)
	if after := info(t, "kept"); after.Init.PID == before.Init.PID {
		t.Error("the engine is the one of before")
	}
	if got := docker(t, "kept", "run", "--rm", "-v", "vol:/v", imageName, "cat", "/v/file"); got != "1" {
		t.Errorf("the volume holds %q", got)
	}
	if got := docker(t, "kept", "ps", "-a", "--format", "{{.Names}}"); got != "box" {
		t.Errorf("containers %q", got)
	}
}

func TestStopLeavesNoProcess(t *testing.T) {
	u := unit(t, "stopped", "")
	docker(t, "stopped", "load", "-q", "-i", imageTar)
	docker(t, "stopped", "run", "-d", imageName, "sleep", "1000")
	engine := info(t, "stopped")
	must(t, "systemctl", "stop", u)
	for _, pid := range []int{engine.Init.PID, engine.Monitor.PID} {
		if err := unix.Kill(pid, 0); err == nil {
			t.Errorf("process %d is still there", pid)
		}
	}
	filepath.WalkDir("/sys/fs/cgroup", func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(path, engine.ID) {
			t.Errorf("cgroup %s is still there", path)
		}
		return nil
	})
	if state := property(t, u, "ActiveState"); state != "inactive" {
		t.Errorf("the unit is %s", state)
	}
}

// What is killed comes back, with what it had.
func TestSystemdRestartsWhatDied(t *testing.T) {
	u := unit(t, "phoenix", "")
	docker(t, "phoenix", "load", "-q", "-i", imageTar)
	before := info(t, "phoenix")
	if err := unix.Kill(before.Monitor.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another monitor", func() bool {
		main := property(t, u, "MainPID")
		return property(t, u, "ActiveState") == "active" && main != "0" && main != strconv.Itoa(before.Monitor.PID)
	})
	if got := docker(t, "phoenix", "images", "-q"); got == "" {
		t.Error("the image is gone")
	}
}

// systemd writes to the hierarchy's root, beside the engines: their limits stay.
func TestLimitsSurviveSystemd(t *testing.T) {
	unit(t, "bounded", "--memory 300m --pids 300 --cpus 1.5")
	files := [][]string{{"memory.max", "memory.limit_in_bytes"}, {"pids.max"}, {"cpu.max", "cpu.cfs_quota_us"}}
	var before []file
	for _, names := range files {
		before = append(before, limit(t, "bounded", names...))
	}
	must(t, "systemd-run", "--wait", "--collect", "-p", "CPUQuota=50%", "-p", "MemoryMax=100M", "-p", "TasksMax=50", "true")
	must(t, "systemctl", "daemon-reload")
	must(t, "systemctl", "daemon-reexec")
	must(t, "systemd-run", "--wait", "--collect", "true")
	for i, names := range files {
		if after := limit(t, "bounded", names...); after != before[i] {
			t.Errorf("%s was %q and is %q", after.path, before[i].text, after.text)
		}
	}
	docker(t, "bounded", "load", "-q", "-i", imageTar)
	docker(t, "bounded", "run", "--rm", "--memory", "64m", "--cpus", "0.5", imageName, "true")
}

type process struct{ PID int }

type engineInfo struct {
	ID            string
	Monitor, Init process
}

func info(t *testing.T, name string) (out engineInfo) {
	t.Helper()
	text := must(t, "berth", "inspect", "--json", name)
	if err := json.Unmarshal([]byte(text), &out); err != nil || out.Init.PID == 0 {
		t.Fatalf("%v in %s", err, text)
	}
	return out
}

type file struct{ path, text string }

// limit reads the first of the files of the engine's own cgroup.
func limit(t *testing.T, name string, names ...string) (found file) {
	t.Helper()
	id := info(t, name).ID
	filepath.WalkDir("/sys/fs/cgroup", func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() || d.Name() != id {
			return nil
		}
		for _, n := range names {
			if text, err := os.ReadFile(filepath.Join(path, n)); err == nil {
				found = file{filepath.Join(path, n), strings.TrimSpace(string(text))}
			}
		}
		return filepath.SkipDir
	})
	if found.path == "" {
		t.Fatalf("engine %s has no %v", id, names)
	}
	return found
}
