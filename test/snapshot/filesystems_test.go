package snapshot

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/test/image"
	"github.com/berth-dev/berth/test/leak"
	"github.com/berth-dev/berth/test/registry"
)

// Every way of sharing passes the same test on every file system that has it, and on the
// others says why not.
func TestFileSystems(t *testing.T) {
	for _, fs := range []struct {
		kind    string
		mkfs    []string
		reflink bool
	}{
		{"ext4", []string{"mkfs.ext4", "-q", "-F"}, false},
		{"xfs", []string{"mkfs.xfs", "-q", "-f", "-m", "reflink=1"}, true},
		{"btrfs", []string{"mkfs.btrfs", "-q", "-f"}, true},
		{"tmpfs", nil, false},
	} {
		t.Run(fs.kind, func(t *testing.T) {
			leak.Guard(t, scope)
			state := stateOn(t, fs.kind, fs.mkfs)
			if r := berth(t, "run", "--", "sh", "-ec", "docker load -q -i "+imageTar+"; docker run --rm "+imageName+" rm -r /opaque"); r.code != 0 {
				t.Logf("an overlayfs in a user namespace cannot replace directories on this machine's %s, with snapshots or without: %s", fs.kind, r)
				withoutReplacing(t, filepath.Join(state, "snapshots"))
				return
			}
			ok(t, "doctor", result{out: berth(t, "doctor").out}, "layers of snapshots are shared by link")
			create(t, "tmpl")
			dir := filepath.Join(state, "snapshots")
			before := hash(t, dir)
			for _, driver := range []string{"link", "reflink", "copy"} {
				t.Run(driver, func(t *testing.T) {
					if driver == "reflink" && !fs.reflink {
						t.Setenv("BERTH_SNAPSHOT_DRIVER", driver)
						refused(t, []string{"reflinks"}, "run", "--from", "tmpl", "--", "true")
						return
					}
					exercise(t, driver)
					must(t, "gc")
					same(t, before, hash(t, dir))
				})
			}
			must(t, "snapshot", "verify", "tmpl")
			pausedAndForked(t, dir)
		})
	}
}

// withoutReplacing is for a file system on which containerd does without user.overlay.*
// attributes (tmpfs: it does not count on Linux 6.6): no layer has an opaque directory there.
func withoutReplacing(t *testing.T, dir string) {
	t.Helper()
	must(t, "snapshot", "create", "tmpl", "--load", imageTar)
	before := hash(t, dir)
	for _, driver := range []string{"link", "copy"} {
		t.Setenv("BERTH_SNAPSHOT_DRIVER", driver)
		docker := up(t, "fork", "--from", "tmpl")
		ok(t, "a layer", docker("run", "--name", "box", imageName, "sh", "-ec", "test ! -e /doomed; rm /greeting; echo x >/opaque/more; chown 7:7 /opaque/more"))
		ok(t, "a layer", docker("commit", "box", "box:1"))
		ok(t, "a layer", docker("run", "--rm", "box:1", "sh", "-ec", "test ! -e /greeting; stat -c %u /opaque/more"), "7")
		ok(t, "prune", docker("rm", "box"))
		must(t, "snapshot", "create", "paused", "--from", "fork")
		ok(t, "a fork of a fork", berth(t, "run", "--from", "paused", "--", "docker", "run", "--rm", "box:1", "stat", "-c", "%u", "/opaque/more"), "7")
		ok(t, "prune", docker("system", "prune", "-af"))
		must(t, "rm", "fork")
		must(t, "snapshot", "rm", "paused")
		must(t, "gc")
		same(t, before, hash(t, dir))
	}
	must(t, "snapshot", "verify", "tmpl")
	must(t, "snapshot", "rm", "tmpl")
	must(t, "gc")
}

// pausedAndForked makes a snapshot of a running engine with layers of its own, and a fork of it.
func pausedAndForked(t *testing.T, dir string) {
	t.Helper()
	docker := up(t, "live")
	ok(t, "layers", docker("load", "-q", "-i", imageTar))
	ok(t, "layers", docker("build", "-q", "-t", "built:1", buildDir))
	must(t, "snapshot", "create", "paused", "--from", "live")
	before := hash(t, dir)
	fork := up(t, "fork", "--from", "paused")
	ok(t, "a fork", fork("run", "--rm", "built:1", "sh", "-ec", look), "replaced")
	ok(t, "the source", docker("run", "--rm", "built:1", "sh", "-ec", look), "replaced")
	ok(t, "prune", docker("system", "prune", "-af"))
	same(t, before, hash(t, dir))
	must(t, "snapshot", "verify", "paused")
	must(t, "rm", "fork", "live")
	must(t, "snapshot", "rm", "paused")
}

// A full disk makes for an error and for nothing else.
func TestFullDisk(t *testing.T) {
	leak.Guard(t, scope)
	state := stateOn(t, "ext4", []string{"mkfs.ext4", "-q", "-F"})
	create(t, "tmpl")
	reg, _, flags := serve(t, registry.DefaultHost)
	big := reg.Address() + "/big:1"
	push(t, reg, big, image.Options{Label: "big", Ballast: 8 << 20})
	here, _, _ := serve(t, "localhost")
	cache, ca := here.Address()+"/cache:1", "--registry-ca="+here.Address()+"="+here.CAFile
	must(t, "snapshot", "push", ca, "tmpl", cache)
	docker := up(t, "live", append([]string{"--from", "tmpl"}, flags...)...)
	ok(t, "a layer", docker("build", "-q", "--build-arg", "round=9", "-t", "nine", buildDir))
	archive := filepath.Join(t.TempDir(), "tmpl.tar")
	must(t, "snapshot", "export", "-o", archive, "tmpl")
	before := hash(t, filepath.Join(state, "snapshots"))
	filler := filepath.Join(state, "filler")
	fill(t, filler)
	for _, args := range [][]string{
		{"run", "--from", "tmpl", "--", "true"},
		{"snapshot", "create", "more", "--load", imageTar},
		{"snapshot", "import", archive, "more"},
		{"snapshot", "create", "more", "--from", "live"},
		{"snapshot", "pull", ca, cache, "more"},
		{"docker", "--engine", "live", "pull", big},
	} {
		if r := berth(t, args...); r.code == 0 {
			t.Errorf("berth %s on a full disk: %s", strings.Join(args, " "), r)
		}
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	ok(t, "what did not fit", docker("pull", "-q", big))
	ok(t, "what did not fit", docker("run", "--rm", big, "sh", "-c", "test $(stat -c %s /ballast) = 8388608 && cat /greeting"))
	ok(t, "the engine that was paused", docker("run", "--rm", "nine", "cat", "/log"), "step")
	must(t, "rm", "live")
	must(t, "gc")
	same(t, before, hash(t, filepath.Join(state, "snapshots")))
	exercise(t, "link")
}

// fill writes until there is no space left.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err := f.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
}

// stateOn makes the state directory of what follows on a fresh file system.
func stateOn(t *testing.T, kind string, mkfs []string, options ...string) string {
	t.Helper()
	base := t.TempDir()
	state := filepath.Join(base, "state")
	if err := os.MkdirAll(state, 0o755); err != nil {
		t.Fatal(err)
	}
	args := []string{"-t", kind, kind, state}
	if mkfs != nil {
		args = []string{"-t", kind, "-o", strings.Join(append(options, "loop"), ","), makeFileSystem(t, filepath.Join(base, "image"), mkfs), state}
	}
	if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
		t.Skipf("this machine cannot mount %s: %s", kind, strings.TrimSpace(string(out)))
	}
	t.Cleanup(func() { unmount(t, state) })
	use(t, state)
	return state
}

// use makes a directory the state directory of what follows, with the payload in it.
func use(t *testing.T, state string) {
	t.Helper()
	payload := filepath.Join(state, "payload")
	if err := os.Mkdir(payload, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("/var/lib/berth/payload", payload, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unmount(t, payload) })
	t.Setenv("BERTH_STATE_DIR", state)
}

func unmount(t *testing.T, path string) {
	t.Helper()
	if err := unix.Unmount(path, 0); err != nil {
		t.Errorf("%s is still in use: %v", path, err)
		_ = unix.Unmount(path, unix.MNT_DETACH)
	}
}

func makeFileSystem(t *testing.T, file string, mkfs []string) string {
	t.Helper()
	program, err := exec.LookPath(mkfs[0])
	if err != nil {
		t.Skipf("%s is not installed", mkfs[0])
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 600<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(program, append(mkfs[1:], file)...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", mkfs[0], err, out)
	}
	return file
}
