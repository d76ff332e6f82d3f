package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// hierarchyRoots are where the cgroup file systems are mounted.
func hierarchyRoots(t *testing.T) []string {
	t.Helper()
	if exists("/sys/fs/cgroup/cgroup.controllers") {
		return []string{"/sys/fs/cgroup"}
	}
	found, err := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	if err != nil || len(found) == 0 {
		t.Fatalf("no cgroup file system: %v", err)
	}
	var roots []string
	for _, file := range found {
		dir := filepath.Dir(file)
		if info, err := os.Lstat(dir); err == nil && info.IsDir() { // two controllers in one have links
			roots = append(roots, dir)
		}
	}
	return roots
}

// makeGroup makes a control group in every hierarchy, which must be empty when the test ends.
func makeGroup(t *testing.T, name string) {
	t.Helper()
	for _, root := range hierarchyRoots(t) {
		dir := filepath.Join(root, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			os.Remove(filepath.Join(dir, "init")) // the leaf is whose the group is
			if err := os.Remove(dir); err != nil {
				t.Errorf("the engine has left something below: %v", err)
			}
		})
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} { // empty in a new group of v1
			if value, err := os.ReadFile(filepath.Join(root, file)); err == nil {
				_ = os.WriteFile(filepath.Join(dir, file), value, 0)
			}
		}
	}
}

// below checks that all of an engine's processes are below the group, and in no other place.
func below(t *testing.T, id, group string) {
	t.Helper()
	init := number(t, inspect(t, id), "init", "pid")
	for _, pid := range append([]int{init}, descendants(t, init)...) {
		for controllers, path := range groupsOf(pid) {
			if !strings.HasPrefix(path, group+"/") || !strings.Contains(path, id) {
				t.Errorf("process %d is in %s of hierarchy %q, want it below %s", pid, path, controllers, group)
			}
		}
	}
}

// An engine in a group that somebody has made and bounded is bounded by it.
func TestCgroupParentAtAPath(t *testing.T) {
	guard(t)
	makeGroup(t, "ci")
	var file string
	for _, root := range hierarchyRoots(t) {
		for _, name := range []string{"memory.max", "memory.limit_in_bytes"} {
			if path := filepath.Join(root, "ci", name); exists(path) {
				file = path
			}
		}
	}
	if err := os.WriteFile(file, []byte("300M"), 0); err != nil {
		t.Fatal(err)
	}
	e := up(t, "placed", "--cgroup-parent", "/ci", "--memory", "2g")
	below(t, e.ID, "/ci")
	if r := e.in(nil, "exec tail -c 600m /dev/zero"); r.code != 137 {
		t.Errorf("beyond the memory of the parent: %s", r)
	}
	want(t, "berth stats", must(t, "stats", e.ID), "2GiB")
	// Another engine's end leaves this one's group alone, and a stopped one has none.
	must(t, "rm", bare(t, "beside", "--cgroup-parent", "/ci").ID)
	must(t, "stop", e.ID)
	for _, root := range hierarchyRoots(t) {
		if left, _ := filepath.Glob(filepath.Join(root, "ci/*/cgroup.procs")); len(left) > 0 {
			t.Errorf("left of a stopped engine: %v", left)
		}
	}
	must(t, "start", e.ID)
	below(t, e.ID, "/ci")
}

// Parents that cannot be used are refused before anything is made.
func TestCgroupParentRefused(t *testing.T) {
	guard(t)
	for parent, says := range map[string]string{"/no/such/group": "make it", "relative": "absolute path", "/": "absolute path"} {
		r := berth(t, "run", "--cgroup-parent", parent, "--", "true")
		if r.code != 125 && r.code != 2 {
			t.Errorf("--cgroup-parent %s: %s", parent, r)
		}
		want(t, "--cgroup-parent "+parent, r.stderr, says)
	}
	if !exists("/sys/fs/cgroup/cgroup.controllers") {
		return // on v1 a group may have both processes and groups with limits
	}
	makeGroup(t, "busy")
	r := inGroup(t, "busy", "berth run --cgroup-parent /busy -- true")
	oneLine(t, r, "/busy", "processes of its own")
}

// inGroup runs a shell script in a group of every hierarchy; berth is on its PATH.
func inGroup(t *testing.T, group, text string) result {
	t.Helper()
	join := fmt.Sprintf("for d in %s; do echo $$ >$d/%s/cgroup.procs; done\n", strings.Join(hierarchyRoots(t), " "), group)
	cmd := command(t, []string{"PATH=" + filepath.Dir(berthProgram) + ":" + os.Getenv("PATH")})
	cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-ec", join + text}
	return finish(t, cmd)
}

// In the group of who starts it, as a service to which systemd has delegated one does, an
// engine is beside the leaf to which cgroup v2 makes the starting processes go. On v1, where
// there is a group in each hierarchy, it is in the usual place.
func TestCgroupParentOwn(t *testing.T) {
	guard(t)
	makeGroup(t, "runner")
	r := inGroup(t, "runner", `
		berth up --cgroup-parent own first >/dev/null
		berth up --cgroup-parent own --pidfile /tmp/second.pid second >/dev/null
		cat /proc/$$/cgroup`)
	t.Cleanup(func() {
		must(t, "rm", "-f", "first", "second")
		os.Remove("/tmp/second.pid")
	})
	if r.code != 0 {
		t.Fatal(r)
	}
	monitor := number(t, inspect(t, "second"), "monitor", "pid")
	if text, err := os.ReadFile("/tmp/second.pid"); err != nil || strings.TrimSpace(string(text)) != strconv.Itoa(monitor) {
		t.Errorf("the monitor is %d, the file says %q (%v)", monitor, text, err)
	}
	if !exists("/sys/fs/cgroup/cgroup.controllers") {
		below(t, inspect(t, "first")["id"].(string), "/berth")
		return
	}
	for _, name := range []string{"first", "second"} {
		info := inspect(t, name)
		below(t, info["id"].(string), "/runner")
		if got := groupsOf(number(t, info, "monitor", "pid"))[""]; got != "/runner/init" {
			t.Errorf("the monitor is in %s", got)
		}
	}
	if got := strings.TrimSpace(r.stdout); got != "0::/runner/init" {
		t.Errorf("the shell that started them is in %q", got)
	}
}

// An engine in a container of an engine, as upstream's dockerd with runc: limits hold on all levels.
func TestAnEngineInAnEngine(t *testing.T) {
	guard(t)
	e := up(t, "outer", "--memory", "1g", "--pids", "1000")
	// The engine's own programs, seen by the container; an image for the engine inside.
	e.docker("volume", "create", "data")
	e.docker("run", "--name", "box", "-v", "data:/data", imageName, "true")
	if r := berth(t, "docker", "--engine", e.ID, "cp", imageTar, "box:/data/image.tar"); r.code != 0 {
		t.Fatal(r)
	}
	r := e.in([]string{"--privileged", "--memory", "600m", "-v", "/usr:/usr:ro", "-v", "data:/var/lib/docker", "-v", "data:/data"}, first+`
		export PATH=/usr/bin:/usr/sbin:/bin DOCKER_HOST=unix:///inner.sock
		ln -s usr/lib /lib; ln -s usr/lib64 /lib64; mkdir -p /run /tmp /etc
		g=/sys/fs/cgroup
		if [ -e $g/cgroup.controllers ]; then
			mkdir $g/init
			for p in $(cat $g/cgroup.procs); do echo $p >$g/init/cgroup.procs; done
			for c in $(cat $g/cgroup.controllers); do echo +$c >$g/cgroup.subtree_control; done
		fi
		dockerd -H $DOCKER_HOST --data-root /var/lib/docker/inner --exec-root /run/inner --pidfile /run/inner.pid \
			--bridge none --iptables=false --ip6tables=false >/run/log 2>&1 &
		i=0; until docker version >/dev/null 2>&1; do i=$((i+1)); [ $i -gt 600 ] && { cat /run/log; exit 1; }; kill -0 $! || { cat /run/log; exit 1; }; sleep 0.1; done
		docker load -q -i /data/image.tar
		docker run --rm --network none --memory 64m --pids-limit 20 `+imageName+` sh -c '`+first+`echo memory $(first memory/memory.limit_in_bytes memory.max); echo pids $(first pids/pids.max pids.max)'
		docker run --rm --network none --memory 64m --memory-swap 64m `+imageName+` tail -c 200m /dev/zero; echo ended $?
		kill $!; wait`)
	for _, text := range []string{"memory 67108864", "pids 20", "ended 137"} {
		want(t, "the engine inside", r.String(), text)
	}
	below(t, e.ID, "")
	if n := number(t, inspect(t, e.ID), "oom_kills"); n != 0 {
		t.Errorf("a limit of the innermost container counted as the engine's own: %d", n)
	}
}
