package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// first prints the first of the files that exists: v1's name, then v2's.
const first = `first() { for f in "$@"; do [ -e /sys/fs/cgroup/$f ] && { cat /sys/fs/cgroup/$f; return; }; done; echo none of "$@"; }
`

// Limits of a container hold inside an engine, by their files and by effect.
func TestLimitsOfAContainer(t *testing.T) {
	guard(t)
	e := up(t, "limits")
	for _, test := range []struct{ title, flag, files, want string }{
		{"memory", "--memory=64m", "memory/memory.limit_in_bytes memory.max", "67108864"},
		{"cpus", "--cpus=0.5", "cpu/cpu.cfs_quota_us cpu.max", "50000"},
		{"processes", "--pids-limit=20", "pids/pids.max pids.max", "20"},
	} {
		t.Run(test.title+" file", func(t *testing.T) {
			e.t = t
			r := e.in([]string{test.flag}, first+"first "+test.files)
			if value, _, _ := strings.Cut(strings.TrimSpace(r.stdout), " "); value != test.want {
				t.Errorf("want %s, got %s", test.want, r)
			}
		})
	}
	t.Run("memory by effect", func(t *testing.T) {
		e.t = t
		e.docker("run", "-d", "--name", "hog", "--memory=64m", "--memory-swap=64m", imageName, "sh", "-c", "exec tail -c 300m /dev/zero")
		if status := e.docker("wait", "hog"); status != "137" {
			t.Errorf("a container beyond its memory ended with %s, want 137", status)
		}
		if killed := e.docker("inspect", "-f", "{{.State.OOMKilled}}", "hog"); killed != "true" {
			t.Errorf("OOMKilled is %s", killed)
		}
		want(t, "events", e.docker("events", "--since", "60s", "--until", strconv.FormatInt(time.Now().Unix()+1, 10), "--filter", "event=oom"), "oom")
	})
	t.Run("processes by effect", func(t *testing.T) {
		e.t = t
		r := e.in([]string{"--pids-limit=20"}, "i=0; while [ $i -lt 40 ]; do sleep 1000 & i=$((i+1)); done")
		want(t, "the fortieth process", r.stderr, "fork")
	})
}

// Limits of an engine hold for dockerd and all containers together.
func TestLimitsOfAnEngine(t *testing.T) {
	guard(t)
	e := up(t, "bounded", "--memory", "256m", "--cpus", "0.5", "--pids", "150")
	for _, test := range []struct {
		names []string
		want  string
	}{
		{[]string{"memory.limit_in_bytes", "memory.max"}, "268435456"},
		{[]string{"cpu.cfs_quota_us", "cpu.max"}, "50000"},
		{[]string{"pids.max"}, "150"},
	} {
		text, _ := os.ReadFile(engineCgroupFile(t, e.ID, test.names...))
		if value, _, _ := strings.Cut(strings.TrimSpace(string(text)), " "); value != test.want {
			t.Errorf("%v outside is %q, want %s", test.names, text, test.want)
		}
	}
	t.Run("processes by effect", func(t *testing.T) {
		e.t = t
		r := e.in([]string{"--pids-limit=-1"}, "i=0; while [ $i -lt 160 ]; do sleep 1000 & i=$((i+1)); done")
		want(t, "the last process", r.stderr, "fork")
	})
	t.Run("processors by effect", func(t *testing.T) {
		e.t = t
		e.in(nil, "timeout 1 sh -c 'while :; do :; done' & timeout 1 sh -c 'while :; do :; done'; wait")
		text, _ := os.ReadFile(filepath.Join(filepath.Dir(engineCgroupFile(t, e.ID, "cpu.cfs_quota_us", "cpu.max")), "cpu.stat"))
		found := regexp.MustCompile(`nr_throttled (\d+)`).FindSubmatch(text)
		if found == nil || string(found[1]) == "0" {
			t.Errorf("the engine was never throttled: %s", text)
		}
	})
	t.Run("memory by effect, reported", func(t *testing.T) {
		e.t = t
		e.docker("run", "-d", "--name", "bystander", imageName, "sleep", "1000")
		r := e.in([]string{"--memory-swap=-1"}, "exec tail -c 400m /dev/zero")
		if r.code != 137 {
			t.Errorf("beyond the engine's memory: %s", r)
		}
		// Not memory.oom.group: the kernel ends who took most, and nobody else.
		if running := e.docker("inspect", "-f", "{{.State.Running}}", "bystander"); running != "true" {
			t.Errorf("another container is running: %s", running)
		}
		eventually(t, "berth inspect counts the OOM kill", func() bool { return number(t, inspect(t, e.ID), "oom_kills") > 0 })
		want(t, "the engine afterwards", e.docker("version", "-f", "{{.Server.Version}}"), "29.")
	})
}

// `berth run` says that its engine ran out of memory.
func TestRunReportsOOM(t *testing.T) {
	guard(t)
	r := script(t, "docker load -q -i "+imageTar+"; docker run --rm "+imageName+" tail -c 400m /dev/zero", "--memory", "256m")
	if r.code != 137 {
		t.Errorf("want status 137, got %s", r)
	}
	want(t, "the note", strings.ToLower(r.stderr), "memory")
}

// Nothing of an engine ends up in a cgroup outside its own.
func TestEverythingStaysInTheEnginesCgroup(t *testing.T) {
	guard(t)
	e := up(t, "contained")
	for _, flags := range [][]string{nil, {"--privileged"}, {"--cgroupns", "host"}, {"--cgroup-parent", "/x"}, {"--cgroup-parent", "/../../x"}} {
		e.try(append(append([]string{"run", "-d"}, flags...), imageName, "sleep", "100")...)
	}
	init := number(t, inspect(t, e.ID), "init", "pid")
	for _, pid := range append([]int{init}, descendants(t, init)...) {
		for controllers, path := range groupsOf(pid) {
			if !strings.Contains(path, e.ID) {
				t.Errorf("process %d is in cgroup %s of hierarchy %q", pid, path, controllers)
			}
		}
	}
}
