package systemd

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const unified = "/sys/fs/cgroup/cgroup.controllers"

// unitGroup is where the unit's control group is, on cgroup v2.
func unitGroup(t *testing.T, unit string) string {
	t.Helper()
	if _, err := os.Stat(unified); err != nil {
		t.Skip("cgroup v1: units are not delegated there")
	}
	return filepath.Join("/sys/fs/cgroup", property(t, unit, "ControlGroup"))
}

// The engine's group and the monitor's are below the unit's, and so what systemd bounds and
// counts is the engine.
func TestEngineIsInItsUnit(t *testing.T) {
	u := unit(t, "inside", "--memory 500m")
	group := unitGroup(t, u)
	if file := limit(t, "inside", "memory.max"); !strings.HasPrefix(file.path, group+"/") || file.text != "524288000" {
		t.Errorf("the engine's limit is %+v, want it below %s", file, group)
	}
	text, err := os.ReadFile("/proc/" + strconv.Itoa(info(t, "inside").Monitor.PID) + "/cgroup")
	if want := "0::" + strings.TrimPrefix(group, "/sys/fs/cgroup") + "/init\n"; err != nil || string(text) != want {
		t.Errorf("the monitor is in %q (%v), want %q", text, err, want)
	}
	if n, err := strconv.Atoi(property(t, u, "MemoryCurrent")); err != nil || n < 20<<20 {
		t.Errorf("systemd counts %d bytes of memory for the unit (%v)", n, err)
	}
	docker(t, "inside", "load", "-q", "-i", imageTar)
	// A limit of the unit holds for the engine, and one of the slice for all.
	for _, bounded := range []string{u, "berth.slice"} {
		must(t, "systemctl", "set-property", "--runtime", bounded, "MemoryMax=250M", "MemorySwapMax=0")
		if out, err := try("berth", "docker", "--engine", "inside", "run", "--rm", imageName, "tail", "-c", "400m", "/dev/zero"); err == nil {
			t.Errorf("a container had more memory than %s may have: %s", bounded, out)
		}
		must(t, "systemctl", "set-property", "--runtime", bounded, "MemoryMax=infinity", "MemorySwapMax=infinity")
	}
	if state := property(t, u, "ActiveState"); state != "active" {
		t.Errorf("the unit is %s after containers of its engine were killed", state)
	}
	must(t, "systemctl", "stop", u)
	if _, err := os.Stat(group); err == nil {
		t.Errorf("%s is still there", group)
	}
}

// What systemd has not given away, berth does not rearrange.
func TestOwnGroupHasToBeDelegated(t *testing.T) {
	needsSystemd(t)
	run := func(properties ...string) (string, error) {
		args := append([]string{"systemd-run", "--wait", "--collect", "--pipe", "-q"}, properties...)
		return try(append(args, "/usr/local/bin/berth", "run", "--no-share-cwd", "--cgroup-parent", "own", "--", "cat", "/proc/self/cgroup")...)
	}
	out, err := run("-p", "Delegate=yes")
	if _, v1 := os.Stat(unified); v1 != nil {
		if err != nil {
			t.Errorf("cgroup v1: %v %s", err, out)
		}
		return
	}
	if err != nil || !strings.HasSuffix(out, ".service/init") {
		t.Errorf("in a delegated unit: %v %s", err, out)
	}
	if out, err := run(); err == nil || !strings.Contains(out, "Delegate=yes") {
		t.Errorf("in a unit that is not delegated: %v %s", err, out)
	}
}
