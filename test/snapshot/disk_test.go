package snapshot

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/test/leak"
)

// An engine with --disk can store that much and no more, through stops, snapshots and forks.
func TestDiskLimit(t *testing.T) {
	leak.Guard(t, scope)
	create(t, "tmpl")
	t.Run("refused", func(t *testing.T) {
		refused(t, []string{"--disk", "64m"}, "run", "--disk", "1m", "--", "true")
		t.Setenv("PATH", "/nothing")
		refused(t, []string{"mkfs.ext4", "e2fsprogs"}, "run", "--no-docker-cli", "--disk", "100m", "--", "/bin/true")
	})
	limited(t, "/var/lib/berth", "loop")
}

// limited exercises engines with --disk, held by what is named, and the snapshot tmpl.
func limited(t *testing.T, state, by string) {
	t.Helper()
	before := hash(t, state+"/snapshots")
	large := ballastTar(t, "large:1", 40<<20)
	t.Run("a fork that does not fit", func(t *testing.T) {
		must(t, "snapshot", "create", "large", "--load", large, "--run", "docker volume create vol; docker run --rm -v vol:/v large:1 sh -c 'cp /ballast /v/one; cp /ballast /v/two'")
		refused(t, []string{"--disk 64MiB", "give more"}, "run", "--disk", "64m", "--from", "large", "--", "true")
		// Its layer does not count, nor does its blob if a quota holds the limit.
		ok(t, "without volumes it fits", berth(t, "run", "--disk", "64m", "--no-volumes", "--from", "large", "--", "docker", "run", "--rm", "large:1", "true"))
		must(t, "snapshot", "rm", "large")
		must(t, "gc")
	})
	docker := up(t, "small", "--disk", "200m", "--from", "tmpl")
	ok(t, "layers", docker("run", "--rm", "built:1", "sh", "-ec", look), "replaced")
	ok(t, "inspect", result{out: must(t, "inspect", "small")}, `"disk_limit": "`+by+`"`, `"sharing": "link"`)
	if by == "quota" { // a file system needs some of it for itself
		ok(t, "the size of the disk", docker("run", "--rm", imageName, "df", "-k", "/"), fmt.Sprint(200<<10))
	}
	overfill := func() {
		t.Helper()
		if r := docker("run", "--rm", "-v", "big:/v", imageName, "sh", "-c", "dd if=/dev/zero of=/v/f bs=1M count=300"); r.code == 0 || !strings.Contains(r.err, "No space left") && !strings.Contains(r.err, "quota exceeded") {
			t.Errorf("more than the limit was written: %s", r)
		}
	}
	overfill()
	if r := docker("load", "-q", "-i", large); r.code == 0 {
		t.Errorf("an image was loaded onto a full disk: %s", r)
	}
	ok(t, "after the disk was full", docker("volume", "rm", "big"))
	ok(t, "what did not fit before", docker("load", "-q", "-i", large))
	ok(t, "what did not fit before", docker("run", "--rm", "large:1", "sh", "-c", "test $(stat -c %s /ballast) = 41943040"))
	ok(t, "what did not fit before", docker("rmi", "large:1"))
	ok(t, "after the disk was full", docker("run", "--name", "box", imageName, "touch", "/made"))
	ok(t, "after the disk was full", docker("commit", "box", "made:1"))
	if used := onDisk(t, state+"/engines"); used > 100<<20 {
		t.Errorf("what was deleted inside still takes %d bytes of the disk", used)
	}
	if out := must(t, "disk"); !strings.Contains(out, "200MiB ("+by+")") || !strings.Contains(out, "tmpl@1") {
		t.Errorf("berth disk: %s", out)
	}
	must(t, "snapshot", "create", "paused", "--from", "small")
	fork := up(t, "fork", "--from", "paused")
	ok(t, "a fork of it while it ran", fork("run", "--rm", "made:1", "ls", "/made"), "/made")
	must(t, "rm", "fork")
	must(t, "snapshot", "rm", "paused")
	must(t, "stop", "small")
	if mounts := read(t, "/proc/mounts"); strings.Contains(mounts, "/engines/") {
		t.Errorf("the disk of a stopped engine is mounted: %s", mounts)
	}
	must(t, "snapshot", "create", "taken", "--from", "small")
	must(t, "snapshot", "verify", "taken")
	fork = up(t, "fork", "--from", "taken")
	ok(t, "a fork of it", fork("run", "--rm", "made:1", "ls", "/made"), "/made")
	must(t, "rm", "fork")
	must(t, "start", "small")
	ok(t, "the engine itself", docker("run", "--rm", "made:1", "sh", "-ec", "ls /made"), "/made")
	overfill()
	ok(t, "a limited fork of it", berth(t, "run", "--disk", "100m", "--from", "taken", "--", "docker", "run", "--rm", "made:1", "ls", "/made"), "/made")
	must(t, "snapshot", "rm", "taken")
	must(t, "rm", "small")
	// And one whose monitor is killed.
	if r := berth(t, "run", "--disk", "100m", "--", "sh", "-c", "kill -9 $PPID"); r.code != 137 {
		t.Errorf("killed: %s", r)
	}
	for _, step := range []string{"data", "bundle", "ready"} {
		if r := berthWith(t, []string{"BERTH_FAULT=" + step + ":kill"}, "run", "--disk", "100m", "--", "true"); r.code == 0 {
			t.Errorf("killed after %s: %s", step, r)
		}
	}
	must(t, "gc")
	same(t, before, hash(t, state+"/snapshots"))
}

// onDisk is what a tree takes, in bytes.
func onDisk(t *testing.T, dir string) (total int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil && unix.Lstat(path, &st) == nil {
			total += st.Blocks * 512
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return total
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A policy removes what it says, and never what an engine or a job of tomorrow needs.
func TestPolicy(t *testing.T) {
	leak.Guard(t, scope)
	create(t, "tmpl")
	for i := range 3 {
		must(t, "snapshot", "create", "tmpl", "--update", "--run", fmt.Sprintf("docker tag built:1 more:%d", i))
	}
	docker := up(t, "fork", "--from", "tmpl@3")
	up(t, "idle")
	must(t, "stop", "idle")
	refused(t, []string{"--snapshots-older-than", "7d"}, "gc", "--snapshots-older-than", "soon")
	if out := must(t, "gc", "--snapshots-older-than", "1h", "--engines-older-than", "1h"); out != "" {
		t.Errorf("what is new was removed: %s", out)
	}
	refused(t, []string{"too little is free", "berth disk"}, "gc", "--keep-free", "999t")
	// The fork needs the layers of the first and is one of the third; the second is nobody's.
	if out := must(t, "snapshot", "ls", "-q"); out != "tmpl@1\ntmpl@3\ntmpl@4" {
		t.Errorf("under pressure these stayed: %q", out)
	}
	out := must(t, "gc", "--snapshots-older-than", "1ns", "--engines-older-than", "1ns")
	if !strings.Contains(out, "stopped engine idle") || strings.Contains(out, "fork") {
		t.Errorf("gc printed %q", out)
	}
	ok(t, "the running engine", docker("run", "--rm", "built:1", "sh", "-ec", look), "replaced")
	must(t, "rm", "fork")
	if out := must(t, "gc", "--snapshots-older-than", "1ns"); !strings.Contains(out, "tmpl@1") || !strings.Contains(out, "tmpl@3") {
		t.Errorf("gc printed %q", out)
	}
	if out := must(t, "snapshot", "ls", "-q"); out != "tmpl@4" {
		t.Errorf("left: %q", out)
	}
	must(t, "snapshot", "verify", "tmpl")
	exercise(t, "link")
}
