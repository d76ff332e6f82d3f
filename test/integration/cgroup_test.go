package integration

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// groupsOf lists a process's cgroups as /proc/PID/cgroup has them: hierarchy to path. The
// unified hierarchy, which every kernel has, is left out where it is not mounted: nobody
// can make a group there.
func groupsOf(pid int) map[string]string {
	out := map[string]string{}
	text, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	for line := range strings.Lines(string(text)) {
		if f := strings.SplitN(strings.TrimSpace(line), ":", 3); len(f) == 3 {
			out[f[1]] = f[2]
		}
	}
	if !exists("/sys/fs/cgroup/cgroup.procs") && !exists("/sys/fs/cgroup/unified/cgroup.procs") {
		delete(out, "")
	}
	return out
}

// subtree lists the processes of a cgroup and all below it.
func subtree(t *testing.T, dir string) (pids []int) {
	t.Helper()
	filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Name() == "cgroup.procs" {
			text, _ := os.ReadFile(path) // a threaded cgroup has none
			for field := range strings.FieldsSeq(string(text)) {
				if pid, err := strconv.Atoi(field); err == nil {
					pids = append(pids, pid)
				}
			}
		}
		return nil
	})
	return pids
}

// Both ways: each process of an engine is in the engine's subtree of every hierarchy, and
// in the subtrees there is nobody else. Containers try to be elsewhere.
func TestEnginesCgroupIsItsProcesses(t *testing.T) {
	guard(t)
	e := up(t, "walked")
	for _, flags := range [][]string{{"--cgroupns", "private"}, {"--cgroupns", "host", "--privileged"}, {"--cgroup-parent", "/outside"}} {
		e.docker(append(append([]string{"run", "-d", "--init"}, flags...), imageName, "sleep", "1000")...)
	}
	e.docker("run", "-d", "--privileged", "--cgroupns", "host", "--pid", "host", imageName, "sh", "-c",
		"mkdir /sys/fs/cgroup/mine /sys/fs/cgroup/*/mine; for d in /sys/fs/cgroup /sys/fs/cgroup/*; do echo $$ >$d/mine/cgroup.procs; done 2>/dev/null; sleep 1000")
	init := number(t, inspect(t, e.ID), "init", "pid")
	all := append([]int{init}, descendants(t, init)...)
	if len(all) < 10 {
		t.Fatalf("only %d processes; want dockerd, shims and containers", len(all))
	}
	seen := 0
	for _, pid := range all {
		for controllers, path := range groupsOf(pid) {
			seen++
			if !slices.Contains(strings.Split(path, "/"), e.ID) {
				comm, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
				t.Errorf("process %d (%s) is in %q of hierarchy %q", pid, strings.TrimSpace(string(comm)), path, controllers)
			}
		}
	}
	if seen == 0 {
		t.Error("no process has a cgroup")
	}
	dirs := 0
	filepath.WalkDir("/sys/fs/cgroup", func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() || d.Name() != e.ID {
			return nil
		}
		dirs++
		for _, pid := range subtree(t, path) {
			if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); err == nil && !slices.Contains(all, pid) && !slices.Contains(descendants(t, init), pid) {
				t.Errorf("process %d in %s is not the engine's", pid, path)
			}
		}
		return filepath.SkipDir
	})
	if dirs == 0 {
		t.Error("no cgroup is called after the engine")
	}
}

// A container's cgroup namespace is what was asked for.
func TestCgroupNamespaces(t *testing.T) {
	guard(t)
	e := up(t, "cgroupns")
	unified := exists("/sys/fs/cgroup/cgroup.controllers")
	for _, test := range []struct {
		mode, path string
	}{
		{"private", "/"},
		{"host", "/docker/"},
	} {
		// On v1 the hierarchies are many; the one of memory is there on every machine.
		script := "grep memory: /proc/self/cgroup | cut -d: -f3"
		if unified {
			script = "cut -d: -f3 /proc/self/cgroup"
		}
		r := e.in([]string{"--cgroupns", test.mode}, script)
		got := strings.TrimSpace(r.stdout)
		if test.mode == "private" && got != "/" || test.mode == "host" && !strings.Contains(got, test.path) {
			t.Errorf("--cgroupns %s: %s", test.mode, r)
		}
	}
}

// Not even a privileged container that sees the engine's own cgroup raises its limits.
func TestLimitsCannotBeRaised(t *testing.T) {
	guard(t)
	e := up(t, "held", "--memory", "300m", "--cpus", "1.5", "--pids", "300")
	files := map[string]string{"memory.max": "", "memory.limit_in_bytes": "", "cpu.max": "", "cpu.cfs_quota_us": "", "pids.max": ""}
	read := func(name string) string {
		var out []string
		filepath.WalkDir("/sys/fs/cgroup", func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Name() == name && filepath.Base(filepath.Dir(path)) == e.ID {
				text, _ := os.ReadFile(path)
				out = append(out, strings.TrimSpace(string(text)))
			}
			return nil
		})
		return strings.Join(out, " ")
	}
	known := 0
	for name := range files {
		files[name] = read(name)
		known += len(strings.Fields(files[name]))
	}
	if known < 3 {
		t.Fatalf("only these limits were found outside: %v", files)
	}
	// All files in one script: to start a container is dear on an emulated machine.
	names := strings.Join(slices.Sorted(maps.Keys(files)), " ")
	script := "for n in " + names + "; do for f in /sys/fs/cgroup/$n /sys/fs/cgroup/*/$n /sys/fs/cgroup/../$n; do for v in max -1 1073741824; do echo $v >$f; done; done; done 2>/dev/null; echo tried"
	for _, where := range []string{"host", "private"} {
		flags := []string{"--privileged", "--pid", "host", "--cgroupns", where}
		// Init's own mounts show the engine's group as the root.
		for _, text := range []string{script, "nsenter -t 1 -m sh -c '" + script + "'"} {
			if r := e.in(flags, text); !strings.Contains(r.stdout, "tried") {
				t.Errorf("--cgroupns %s: %q did not run to its end: %s", where, text, r)
			}
		}
	}
	for name, before := range files {
		if after := read(name); after != before {
			t.Errorf("%s was %q outside and is %q", name, before, after)
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// `docker stats` has figures, which dockerd reads from its own view of the cgroups.
func TestDockerStats(t *testing.T) {
	guard(t)
	e := up(t, "dockerstats")
	e.docker("run", "-d", "--name", "box", "--memory", "64m", "--pids-limit", "50", imageName, "sh", "-c", "while :; do :; done")
	out := e.docker("stats", "--no-stream", "--format", "{{.CPUPerc}} {{.PIDs}} {{.MemUsage}}", "box")
	cpu, rest, _ := strings.Cut(out, " ")
	if percent, err := strconv.ParseFloat(strings.TrimSuffix(cpu, "%"), 64); err != nil || percent <= 0 {
		t.Errorf("processor use of an endless loop: %q", out)
	}
	if !strings.HasPrefix(rest, "1 ") || !strings.Contains(rest, "64MiB") || strings.Contains(rest, " 0B /") {
		t.Errorf("processes and memory: %q", out)
	}
}

// `berth stats` has an engine's figures.
func TestBerthStats(t *testing.T) {
	guard(t)
	e := bare(t, "stats", "--memory", "300m", "--pids", "300")
	var s struct {
		Memory, PIDs uint64
		MemoryPeak   uint64 `json:"memory_peak"`
		MemoryLimit  uint64 `json:"memory_limit"`
		PIDsLimit    uint64 `json:"pids_limit"`
		CPU          uint64 `json:"cpu_ns"`
		Pressure     *struct{ CPU, Memory, IO float64 }
	}
	text := must(t, "stats", "--json", e.ID)
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatal(text, err)
	}
	if s.Memory == 0 || s.PIDs < 2 || s.CPU == 0 || s.MemoryLimit != 300<<20 || s.PIDsLimit != 300 {
		t.Errorf("figures %s", text)
	}
	dir := filepath.Dir(engineCgroupFile(t, e.ID, "memory.max", "memory.limit_in_bytes"))
	if known := exists(dir+"/memory.peak") || exists(dir+"/memory.max_usage_in_bytes"); known && s.MemoryPeak < 1<<20 {
		t.Errorf("no peak of memory: %s", text)
	}
	if exists("/proc/pressure/cpu") && exists("/sys/fs/cgroup/cgroup.controllers") && s.Pressure == nil {
		t.Errorf("the kernel has pressure figures and they are not shown: %s", text)
	}
}
