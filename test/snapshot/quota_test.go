package snapshot

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/docker/go-units"

	"github.com/berth-dev/berth/internal/linux"
	"github.com/berth-dev/berth/test/deadline"
	"github.com/berth-dev/berth/test/image"
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
			t.Run("smaller than what is shared", func(t *testing.T) { smallFork(t, state) })
			t.Run("nothing is left of the quota", func(t *testing.T) { unlimited(t, state) })
			t.Run("mounted without quotas", func(t *testing.T) { unenforced(t, kind, state) })
		})
	}
}

// smallFork exercises forks whose limit is smaller than what they share with a snapshot, and
// snapshots of them.
func smallFork(t *testing.T, state string) {
	t.Helper()
	const ballast, least = 100 << 20, 64 << 20
	must(t, "snapshot", "create", "large", "--load", ballastTar(t, "large:1", ballast))
	t.Cleanup(func() { must(t, "snapshot", "rm", "-f", "large", "small"); must(t, "gc") })
	template := state + "/snapshots/large/1"
	before := hash(t, template)
	docker := up(t, "small", "--disk", "64m", "--from", "large@1")
	data := dataOf(t, state)
	project, err := projectOf(data)
	if err != nil || project == 0 {
		t.Fatalf("project %d, %v", project, err)
	}
	shared := blobsOf(t, template+"/data")
	linked(t, "a fork", blobsOf(t, data), shared, ballast)
	unchangedProjects(t, state+"/snapshots")
	smallUse(t, state, project, docker, least, ballast)
	ok(t, "an image", docker("run", "--rm", "large:1", "sh", "-c", "test $(stat -c %s /ballast) = 104857600"))
	tooMuch := func() {
		t.Helper()
		notStored(t, docker("run", "--rm", "-v", "vol:/v", "large:1", "cp", "/ballast", "/v"))
		ok(t, "what did not fit", docker("volume", "rm", "vol"))
	}
	tooMuch()
	// What is new, and only that, counts, for blobs as well.
	ok(t, "an image of its own", docker("load", "-q", "-i", ballastTar(t, "own:1", 8<<20)))
	if use := useOf(t, state, project); use.Bytes < 16<<20 || use.Bytes > 32<<20 {
		t.Errorf("after an image of 8 MiB, twice: %+v", use)
	}
	notStored(t, docker("load", "-i", ballastTar(t, "more:1", 40<<20))) // twice, packed and unpacked
	docker("rmi", "more:1")                                             // its name is there, or is not
	same(t, before, hash(t, template))
	smallSnapshots(t, state, data, shared, ballast)
	tooMuch()
	ok(t, "prune", docker("system", "prune", "-af"))
	must(t, "rm", "small")
	must(t, "gc")
	freed(t, state, project)
	after := hash(t, template)
	for _, name := range []string{"readers", "packed.json"} { // an export is to blame
		delete(after, filepath.Join(template, name))
	}
	same(t, before, after)
}

// smallSnapshots makes snapshots of the engine small, which runs: they share what it shares, and
// nothing in them counts for it.
func smallSnapshots(t *testing.T, state, data string, shared map[string]fs.FileInfo, ballast int64) {
	t.Helper()
	for _, flags := range [][]string{nil, {"--stop"}} {
		must(t, append([]string{"snapshot", "create", "small", "--from", "small"}, flags...)...)
	}
	for _, made := range []string{"small/1", "small/2"} {
		blobs := blobsOf(t, state+"/snapshots/"+made+"/data")
		linked(t, made, blobs, shared, ballast)
		if own := sameFiles(blobs, blobsOf(t, data)) - sameFiles(blobs, shared); own != 0 {
			t.Errorf("%d blobs that count for the engine are in %s", own, made)
		}
	}
	unchangedProjects(t, state+"/snapshots")
	must(t, "snapshot", "verify", "small@1", "small@2")
	for _, flags := range [][]string{{"--disk", "64m"}, {"--disk", "128m"}, {}} {
		args := append(append([]string{"run"}, flags...), "--from", "small", "--", "sh", "-ec", "docker run --rm own:1; docker run --rm large:1")
		ok(t, "a fork of a fork", berth(t, args...), image.Greeting+"\n"+image.Greeting)
	}
	// A limited update shares what it began with.
	must(t, "snapshot", "create", "large", "--update", "--disk", "64m", "--run", "docker tag large:1 large:2")
	linked(t, "the next version", blobsOf(t, state+"/snapshots/large/2/data"), shared, ballast)
	archive := filepath.Join(t.TempDir(), "small.tar")
	must(t, "snapshot", "export", "-o", archive, "small@2")
	must(t, "snapshot", "import", archive, "small")
	must(t, "snapshot", "verify", "large@1", "large@2", "small@3")
	unchangedProjects(t, state+"/snapshots")
}

// notStored makes sure that the reason why something failed is a full disk, and that it is told.
func notStored(t *testing.T, r result) {
	t.Helper()
	if text := strings.ToLower(r.out + r.err); !strings.Contains(text, "no space left") && !strings.Contains(text, "quota exceeded") {
		t.Errorf("more than the limit was written: %s", r)
	}
}

// smallUse makes sure that what the engine small shares is told, and does not count.
func smallUse(t *testing.T, state string, project uint32, docker func(...string) result, limit, ballast int64) {
	t.Helper()
	if use := useOf(t, state, project); use.Bytes > 8<<20 || use.MaxBytes != limit {
		t.Errorf("a fork takes %+v of its limit", use)
	}
	if own, shared, there := disk(t).of("engine", "small"); !there || own > 8<<20 || shared < 2*ballast {
		t.Errorf("berth disk: %d of its own and %d shared", own, shared)
	}
	r := docker("run", "--rm", "large:1", "df", "-k", "/")
	fields := strings.Fields(r.out[strings.LastIndexByte(r.out, '\n')+1:])
	if r.code != 0 || len(fields) < 4 || fields[1] != fmt.Sprint(limit>>10) {
		t.Fatalf("df: %s", r)
	}
	if used, err := strconv.Atoi(fields[2]); err != nil || used > 8<<10 {
		t.Errorf("df: %d KiB are used, %v", used, err)
	}
	var image struct{ Size string }
	decode(t, docker("system", "df", "--format", `{{if eq .Type "Images"}}{{json .}}{{end}}`).out, &image)
	if size, err := units.FromHumanSize(image.Size); err != nil || size < ballast {
		t.Errorf("docker system df: images take %q, %v", image.Size, err)
	}
}

func useOf(t *testing.T, state string, project uint32) linux.ProjectUse {
	t.Helper()
	fs, err := os.Open(state)
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Close()
	use, err := linux.UseOfProject(fs, project)
	if err != nil {
		t.Fatal(err)
	}
	return use
}

func projectOf(path string) (uint32, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return linux.ProjectOf(f)
}

// unchangedProjects makes sure that nothing below dir counts for a project.
func unchangedProjects(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() && !d.Type().IsRegular() {
			return err
		}
		if project, err := projectOf(path); err != nil || project != 0 {
			t.Errorf("%s is in project %d, %v", path, project, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// dataOf is the data root of the only engine there is.
func dataOf(t *testing.T, state string) string {
	t.Helper()
	dirs, err := filepath.Glob(state + "/engines/*/data")
	if err != nil || len(dirs) != 1 {
		t.Fatalf("there are %v, %v", dirs, err)
	}
	return dirs[0]
}

// blobsOf returns the files of a data root's content store, by name.
func blobsOf(t *testing.T, data string) map[string]fs.FileInfo {
	t.Helper()
	found, err := os.ReadDir(data + "/containerd/daemon/io.containerd.content.v1.content/blobs/sha256")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]fs.FileInfo{}
	for _, e := range found {
		if out[e.Name()], err = e.Info(); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// linked makes sure that blobs are those of a snapshot, not copies, and that the large one is
// among them. A blob that no image needs may be gone.
func linked(t *testing.T, what string, got, shared map[string]fs.FileInfo, ballast int64) {
	t.Helper()
	large := false
	for name, info := range got {
		if shared[name] != nil && !os.SameFile(info, shared[name]) {
			t.Errorf("%s has a copy of blob %s", what, name)
		}
		large = large || shared[name] != nil && info.Size() >= ballast
	}
	if !large {
		t.Errorf("%s lacks the large blob", what)
	}
}

// sameFiles counts the files that are the same in both, not only equal.
func sameFiles(a, b map[string]fs.FileInfo) (n int) {
	for name, info := range a {
		if b[name] != nil && os.SameFile(info, b[name]) {
			n++
		}
	}
	return n
}

func ballastTar(t *testing.T, name string, ballast int64) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image.tar")
	img, err := image.Build(image.Options{Ballast: ballast})
	if err == nil {
		err = image.SaveTar(file, name, img)
	}
	if err != nil {
		t.Fatal(err)
	}
	return file
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
		project, err := projectOf(dataOf(t, state))
		if err != nil || project == 0 {
			t.Fatalf("project %d, %v", project, err)
		}
		projects = append(projects, project)
		must(t, "gc")
	}
	for _, project := range projects {
		freed(t, state, project)
	}
}

// freed waits until nothing counts for a project and it has no limit.
func freed(t *testing.T, state string, project uint32) {
	t.Helper()
	fs, err := os.Open(state)
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Close()
	// xfs forgets files in the background.
	for end := time.Now().Add(deadline.Scaled(20 * time.Second)); ; time.Sleep(20 * time.Millisecond) {
		use, err := linux.UseOfProject(fs, project)
		if err == nil && use == (linux.ProjectUse{}) {
			return
		}
		if err != nil || use.MaxBytes != 0 || time.Now().After(end) {
			t.Errorf("project %d has %+v, %v", project, use, err)
			return
		}
	}
}
