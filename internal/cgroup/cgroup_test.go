package cgroup

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/cgroups"
)

// fake makes a directory that looks like cgroup v2's, with files by path.
func fake(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestMissingControllers(t *testing.T) {
	for _, test := range []struct {
		controllers string
		want        []string
	}{
		{"cpuset cpu io memory hugetlb pids rdma misc\n", nil},
		{"cpuset cpu io pids\n", []string{"memory"}},
		{"cpuset\n", []string{"cpu", "memory", "pids"}}, // cpuset is not cpu
		{"", []string{"cpu", "memory", "pids"}},
	} {
		v := v2{fake(t, map[string]string{"cgroup.controllers": test.controllers})}
		if got := v.missing(); !slices.Equal(got, test.want) {
			t.Errorf("with %q: missing %v, want %v", test.controllers, got, test.want)
		}
	}
	if got := (v2{t.TempDir()}).missing(); len(got) != 3 {
		t.Errorf("without a file: missing %v", got)
	}
}

func TestSwapLimit(t *testing.T) {
	if !(v2{fake(t, map[string]string{"system.slice/memory.swap.max": "max"})}).swapLimit() {
		t.Error("not found in a group")
	}
	if (v2{fake(t, map[string]string{"system.slice/memory.max": "max"})}).swapLimit() {
		t.Error("found where there is none")
	}
}

// The machine's real root is left alone, and so is a namespace's without processes.
func TestPrepare(t *testing.T) {
	real := fake(t, map[string]string{"cgroup.controllers": "cpu", "cgroup.procs": "1\n2\n"})
	if err := (v2{real}).prepare(""); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(real, "init")); err == nil {
		t.Error("processes were moved out of the real root")
	}
}

// A container's group gets its controllers switched on, wherever it is.
func TestPrepareBelow(t *testing.T) {
	for _, parent := range []string{"", "/docker/abc"} {
		root := fake(t, map[string]string{parent + "/cgroup.type": "domain", parent + "/cgroup.controllers": "memory", parent + "/cgroup.procs": "", parent + "/cgroup.subtree_control": ""})
		if err := (v2{root}).prepare(parent); err != nil {
			t.Error(err)
		}
		if b, err := os.ReadFile(filepath.Join(root, parent, "cgroup.subtree_control")); string(b) != "+memory" {
			t.Errorf("%q: switched on: %q, %v", parent, b, err)
		}
	}
}

func TestOwnGroup(t *testing.T) {
	for _, test := range []struct {
		text, root, want string
	}{
		{"0::/\n", "/", ""},                                               // a namespace of the container's own
		{"0::/init\n", "/", ""},                                           // started again
		{"0::/docker/abc\n", "/", "/docker/abc"},                          // the host's namespace, all mounted
		{"0::/docker/abc/init\n", "/", "/docker/abc"},                     //
		{"0::/docker/abc\n", "/docker/abc", ""},                           // the host's namespace, the container's part mounted
		{"0::/docker/abc\n", "/docker/a", "/docker/abc"},                  // another's
		{"0::/system.slice/d.scope\n", "/../..", "/system.slice/d.scope"}, // what is mounted is not above
	} {
		if got, err := ownGroup(test.text, []string{test.root}); got != test.want || err != nil {
			t.Errorf("%q, mounted %s: %q, %v; want %q", test.text, test.root, got, err, test.want)
		}
	}
	if _, err := ownGroup("4:memory:/\n", nil); err == nil {
		t.Error("cgroup v1 was taken for v2")
	}
}

func TestOOMCount(t *testing.T) {
	root := fake(t, map[string]string{"events": "low 0\nhigh 3\nmax 12\noom 2\noom_kill 5\noom_group_kill 0\n", "none": "low 0\n"})
	if n, err := oomCount(filepath.Join(root, "events")); n != 2 || err != nil {
		t.Errorf("got %d, %v; want 2", n, err)
	}
	for _, name := range []string{"none", "missing"} {
		if _, err := oomCount(filepath.Join(root, name)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestLimitOfNone(t *testing.T) {
	for n, want := range map[uint64]uint64{math.MaxUint64: 0, math.MaxInt64 &^ 4095: 0, 1 << 30: 1 << 30, 0: 0} {
		if got := limit(n); got != want {
			t.Errorf("limit(%d) = %d, want %d", n, got, want)
		}
	}
}

// A kernel that lacks one of the files to be given away does not stand in the way.
func TestChown(t *testing.T) {
	dir := fake(t, map[string]string{"cgroup.procs": "", "memory.max": ""})
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 {
		uid, gid = 4711, 4712
	}
	if err := chown(dir, []string{"cgroup.procs", "memory.reclaim"}, uid, gid); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"": uid, "cgroup.procs": uid, "memory.max": os.Getuid()} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := int(info.Sys().(*syscall.Stat_t).Uid); got != want {
			t.Errorf("%q belongs to %d, want %d", name, got, want)
		}
	}
}

// placed is a manager that only knows where its group is.
type placed struct {
	cgroups.Manager
	dir string
}

func (p placed) Path(string) string { return p.dir }

func TestKillGroup(t *testing.T) {
	group := fake(t, map[string]string{"cgroup.kill": ""})
	if err := (v2{}).kill(placed{dir: group}); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(filepath.Join(group, "cgroup.kill")); string(b) != "1" {
		t.Errorf("cgroup.kill was given %q, not 1", b)
	}
	old := fake(t, map[string]string{"cgroup.procs": ""})
	if err := (v2{}).kill(placed{dir: old}); err != nil {
		t.Errorf("a kernel without it: %v", err)
	}
	if _, err := os.Stat(filepath.Join(old, "cgroup.kill")); err == nil {
		t.Error("the file was made where the kernel has none")
	}
}

// Processes that fork as fast as they can do not get away, from a group of the kernel's own
// wherever cgroup2 is mounted.
func TestKillGroupOfForkers(t *testing.T) {
	dir := ""
	for _, root := range []string{unifiedRoot, filepath.Join(unifiedRoot, "unified")} {
		if _, err := os.Stat(filepath.Join(root, "cgroup.subtree_control")); err == nil {
			dir = filepath.Join(root, fmt.Sprintf("berth-kill-%d", os.Getpid()))
		}
	}
	if dir == "" {
		t.Skip("no cgroup2 is mounted")
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("no control group can be made here: %v", err)
	}
	defer os.Remove(dir)
	if _, err := os.Stat(filepath.Join(dir, "cgroup.kill")); err != nil {
		t.Skip("this kernel has no cgroup.kill (Linux 5.14)")
	}
	group, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer group.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", "echo; i=0; while [ $i -lt 500 ]; do i=$((i+1)); while :; do :; done & done; wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd()), Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // should all else fail
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
	if err := (v2{}).kill(placed{dir: dir}); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err == nil || ctx.Err() != nil {
		t.Errorf("the first process was not killed: %v", err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		pids, err := cgroups.GetAllPids(dir)
		if err == nil && len(pids) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d processes are left: %v", len(pids), err)
		}
	}
}
