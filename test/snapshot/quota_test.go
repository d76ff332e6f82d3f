package snapshot

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/berth-dev/berth/internal/linux"
	"github.com/berth-dev/berth/test/deadline"
	"github.com/berth-dev/berth/test/leak"
)

// What TestDiskLimit is about, where the file system has project quotas: no other is made then.
func TestDiskQuota(t *testing.T) {
	for kind, mkfs := range map[string][]string{
		"ext4": {"mkfs.ext4", "-q", "-F", "-O", "project,quota"}, "xfs": {"mkfs.xfs", "-q", "-f"},
	} {
		t.Run(kind, func(t *testing.T) {
			leak.Guard(t, scope)
			state := stateOn(t, kind, mkfs, "prjquota")
			ok(t, "doctor", result{out: berth(t, "doctor").out}, "--disk works, by project quotas")
			create(t, "tmpl")
			t.Run("rootful engines could go beyond it", func(t *testing.T) {
				ok(t, "a file system", berth(t, "run", "--isolation", "rootful", "--disk", "100m", "--", "sh", "-c", "ls "+state+"/engines/*"), "disk.img")
			})
			ok(t, "no file system", berth(t, "run", "--disk", "100m", "--", "sh", "-ec", "ls "+state+"/engines/*; ! ls "+state+"/engines/*/disk.img"))
			limited(t, state, "quota")
			t.Run("nothing is left of the quota", func(t *testing.T) { unlimited(t, state) })
			t.Run("mounted without quotas", func(t *testing.T) { unenforced(t, kind, state) })
		})
	}
}

// unenforced mounts the file system of the state directory anew, without quotas.
func unenforced(t *testing.T, kind, state string) {
	t.Helper()
	up(t, "kept", "--disk", "100m")
	must(t, "stop", "kept")
	unmount(t, state+"/payload")
	unmount(t, state)
	for _, args := range [][]string{
		{"-t", kind, "-o", "loop", filepath.Join(filepath.Dir(state), "image"), state}, {"--bind", "/var/lib/berth/payload", state + "/payload"},
	} {
		if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	refused(t, []string{"limit the engine's disk", "with prjquota, as it was"}, "start", "kept")
	ok(t, "a file system", berth(t, "run", "--disk", "100m", "--", "sh", "-c", "ls "+state+"/engines/*"), "disk.img")
	must(t, "rm", "kept")
}

// unlimited makes sure that no project stays limited, whenever berth was killed.
func unlimited(t *testing.T, state string) {
	t.Helper()
	var projects []uint32
	for _, step := range []string{"data", "container", "undo-ready"} {
		if r := berthWith(t, []string{"BERTH_FAULT=" + step + ":kill"}, "run", "--disk", "100m", "--", "true"); r.code != 137 {
			t.Errorf("killed after %s: %s", step, r)
		}
		dirs, err := filepath.Glob(state + "/engines/*/data")
		if err != nil || len(dirs) != 1 {
			t.Fatalf("after %s there are %v, %v", step, dirs, err)
		}
		f, err := os.Open(dirs[0])
		if err != nil {
			t.Fatal(err)
		}
		project, err := linux.Project(f)
		f.Close()
		if err != nil || project == 0 {
			t.Fatalf("project %d, %v", project, err)
		}
		projects = append(projects, project)
		must(t, "gc")
	}
	fs, err := os.Open(state)
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Close()
	for _, project := range projects {
		// xfs forgets files in the background.
		for end := time.Now().Add(deadline.Scaled(20 * time.Second)); ; time.Sleep(20 * time.Millisecond) {
			use, err := linux.UseOfProject(fs, project)
			if err == nil && use == (linux.ProjectUse{}) {
				break
			}
			if err != nil || use.MaxBytes != 0 || time.Now().After(end) {
				t.Errorf("project %d has %+v, %v", project, use, err)
				break
			}
		}
	}
}
