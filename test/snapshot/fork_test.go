package snapshot

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-dev/berth/test/leak"
)

// look is a script that says what a fork of the template must see.
const look = `
cat /opaque/only; ls /opaque; stat -c %u:%g /opaque/only /home/user/note; test ! -e /greeting; test ! -e /doomed
cat /log; chown 5:6 /opaque/only; echo more >>/opaque/only; rm -r /opaque; mkdir /opaque; ls -a /opaque; rm /log; echo new >/log`

// Whatever is done in a fork works, and the template stays as it was to the bit.
func TestFork(t *testing.T) {
	leak.Guard(t, scope)
	create(t, "tmpl")
	before := hash(t, store)
	for _, driver := range []string{"link", "copy"} {
		t.Run(driver, func(t *testing.T) {
			exercise(t, driver)
			same(t, before, hash(t, store))
		})
	}
	must(t, "snapshot", "verify", "tmpl")
}

// exercise does in a fork of the snapshot tmpl all that an engine is there for, and takes
// the fork away again.
func exercise(t *testing.T, driver string) {
	t.Helper()
	t.Setenv("BERTH_SNAPSHOT_DRIVER", driver)
	docker := up(t, "fork", "--from", "tmpl")
	if out := must(t, "inspect", "fork"); !strings.Contains(out, `"sharing": "`+driver+`"`) {
		t.Errorf("not shared by %s: %s", driver, out)
	}
	ok(t, "images", docker("images"), "berth.test/busy", "built")
	if r := docker("ps", "-aq"); r.out != "" {
		t.Errorf("containers travelled: %s", r)
	}
	ok(t, "volume", docker("run", "--rm", "-v", "keep:/v", imageName, "cat", "/v/f"), "kept")
	ok(t, "layers", docker("run", "--name", "box", "built:1", "sh", "-ec", look), "replaced", "only", "1000:1000", "step")
	ok(t, "commit", docker("commit", "box", "box:1"))
	ok(t, "commit", docker("run", "--rm", "box:1", "cat", "/log"), "new")
	ok(t, "cached build", docker("build", "--progress=plain", "-t", "again", buildDir))
	if r := docker("build", "--progress=plain", "-t", "again", buildDir); strings.Count(r.err, "CACHED") < 2 {
		t.Errorf("the build cache did not travel: %s", r)
	}
	ok(t, "a build on top", docker("build", "-q", "--build-arg", "round=2", "-t", "anew", buildDir))
	ok(t, "the cache mount", docker("run", "--rm", "anew", "cat", "/log"), "step 1\nstep 2")
	saved := filepath.Join(t.TempDir(), "saved.tar")
	ok(t, "save", docker("save", "-o", saved, "built:1", imageName))
	ok(t, "df", docker("system", "df"))
	ok(t, "rm", docker("rm", "-f", "box"))
	ok(t, "rmi", docker("rmi", "-f", "built:1", imageName, "box:1", "again", "anew"))
	ok(t, "prune", docker("system", "prune", "-af", "--volumes"))
	ok(t, "volume prune", docker("volume", "prune", "-af"))
	if r := docker("images", "-aq"); r.out != "" {
		t.Errorf("images are left after prune: %s", r)
	}
	ok(t, "load again", docker("load", "-i", saved), "built:1")
	ok(t, "run again", docker("run", "--rm", "built:1", "sh", "-ec", look), "replaced")
	must(t, "stop", "fork")
	must(t, "start", "fork")
	ok(t, "after a restart", docker("run", "--rm", "built:1", "cat", "/log"), "step")
	must(t, "rm", "fork")
}

// A privileged container is root of its engine, and cannot write to what others share.
func TestTemplateIsOutOfReach(t *testing.T) {
	leak.Guard(t, scope)
	create(t, "tmpl")
	before := hash(t, store)
	docker := up(t, "fork", "--from", "tmpl")
	r := docker("run", "--rm", "--privileged", "--pid=host", "-v", "/var/lib/berth:/b", "-v", "/var/lib/docker:/d", imageName, "sh", "-c", `
		for m in /b/layers/*; do
			mount -o remount,rw,bind $m && echo REMOUNTED
			nsenter -t 1 -m mount -o remount,rw,bind /var/lib/berth/layers/$(basename $m) && echo REMOUNTED
			umount $m
			for f in $m/*/fs/etc/passwd; do echo x >>$f && echo WRITTEN; chmod 777 $f && echo CHANGED; rm $f && echo REMOVED; done
		done
		cd /d/containerd/daemon/io.containerd.content.v1.content/blobs/sha256
		for f in *; do echo x >>$f && echo WRITTEN; chmod 777 $f && echo CHANGED; chown 0:0 $f && echo OWNED; done
		echo tried`)
	if r.out != "tried" {
		t.Errorf("a privileged container got at the template: %s", r)
	}
	same(t, before, hash(t, store))
}

func TestVersionsAndRemoval(t *testing.T) {
	leak.Guard(t, scope)
	create(t, "tmpl")
	if out := must(t, "snapshot", "create", "tmpl", "--update", "--run", "docker tag built:1 more:1; docker run --name xx "+imageName+" touch /made; docker commit xx made:1"); out != "tmpl@2" {
		t.Errorf("an update printed %q", out)
	}
	docker := up(t, "fork", "--from", "tmpl")
	ok(t, "a fork of a fork", docker("run", "--rm", "made:1", "ls", "/made"), "/made")
	ok(t, "a fork of a fork", docker("run", "--rm", "more:1", "sh", "-ec", look), "replaced")
	refused(t, []string{"in use", "tmpl@2"}, "snapshot", "rm", "tmpl@1")
	refused(t, []string{"in use", "fork"}, "snapshot", "rm", "tmpl")
	old := up(t, "old", "--from", "tmpl@1")
	if r := old("images", "-q", "made:1"); r.out != "" {
		t.Errorf("version 1 has what version 2 has: %s", r)
	}
	refused(t, []string{"no such snapshot", "tmpl@2"}, "up", "--from", "tmpl@3", "none")
	refused(t, []string{"no such snapshot"}, "run", "--from", "nothing", "--", "true")
	refused(t, []string{"rootful"}, "run", "--isolation", "rootful", "--from", "tmpl", "--", "true")
	if r := berth(t, "snapshot", "rm", "--json", "tmpl@1", "nothing"); r.code != 125 || r.out != "" || !strings.Contains(r.err, "in use") || !strings.Contains(r.err, "no such snapshot") {
		t.Errorf("rm --json of what cannot be removed: %s", r)
	}
	must(t, "rm", "fork", "old")
	if out := must(t, "snapshot", "rm", "--json", "-f", "tmpl", "nothing"); out != `{"snapshot":"tmpl@2"}`+"\n"+`{"snapshot":"tmpl@1"}` {
		t.Errorf("rm --json printed %q", out)
	}
}

// What was changed in a snapshot is found and named, whatever part it is.
func TestVerify(t *testing.T) {
	leak.Guard(t, scope)
	create(t, "tmpl")
	if out := must(t, "snapshot", "verify", "tmpl"); out != "tmpl@1" {
		t.Errorf("verify printed %q", out)
	}
	refused(t, []string{"no such snapshot"}, "snapshot", "verify", "nothing")
	if out := must(t, "snapshot", "verify", "--json", "tmpl"); out != `{"snapshot":"tmpl@1","ok":true,"problems":[]}` {
		t.Errorf("verify --json printed %q", out)
	}
	for what, pattern := range map[string]string{
		"blob":  "data/containerd/daemon/io.containerd.content.v1.content/blobs/sha256/*",
		"layer": "layers/*/fs/bin/busybox", "metadata": "data/containerd/daemon/io.containerd.metadata.v1.bolt/meta.db",
	} {
		t.Run(what, func(t *testing.T) {
			found, err := filepath.Glob(filepath.Join(store, "tmpl/1", pattern))
			if err != nil || len(found) == 0 {
				t.Fatalf("%v, %v", found, err)
			}
			original, info := []byte(read(t, found[0])), stat(t, found[0])
			changed := slices.Clone(original)
			changed[len(changed)/2] ^= 1
			if err := os.WriteFile(found[0], changed, 0); err != nil {
				t.Fatal(err)
			}
			refused(t, []string{"tmpl@1", what, "changed"}, "snapshot", "verify", "tmpl")
			verifiedJSON(t, what)
			if err := errors.Join(os.WriteFile(found[0], original, 0), os.Chtimes(found[0], time.Time{}, info.ModTime())); err != nil {
				t.Fatal(err)
			}
			must(t, "snapshot", "verify", "tmpl")
		})
	}
}

func stat(t *testing.T, path string) os.FileInfo {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// A stopped engine's snapshot takes its layers, and the engine goes on.
func TestSnapshotOfAnEngine(t *testing.T) {
	leak.Guard(t, scope)
	create(t, "tmpl")
	docker := up(t, "source", "--from", "tmpl")
	ok(t, "commit", docker("run", "--name", "box", "built:1", "touch", "/mine"))
	ok(t, "commit", docker("commit", "box", "mine:1"))
	must(t, "stop", "source")
	for _, step := range []string{"copy", "prune", "layer", "move", "seal", "describe", "sync"} {
		for _, action := range []string{"kill", "fail"} {
			r := berthWith(t, []string{"BERTH_FAULT=freeze-" + step + ":" + action}, "snapshot", "create", "taken", "--from", "source")
			if r.code == 0 || must(t, "snapshot", "ls", "-q", "taken") != "" {
				t.Errorf("%s after %s: %s", action, step, r)
			}
			must(t, "gc")
			if left, _ := filepath.Glob(store + "/.new/*"); len(left) > 0 {
				t.Errorf("%s after %s left %v", action, step, left)
			}
		}
		must(t, "start", "source")
		ok(t, "the source after a crash after "+step, docker("run", "--rm", "mine:1", "ls", "/mine", "/opaque/only"))
		must(t, "stop", "source")
	}
	must(t, "snapshot", "create", "taken", "--from", "source")
	must(t, "snapshot", "verify", "taken")
	before := hash(t, store)
	fork := up(t, "fork", "--from", "taken")
	must(t, "start", "source")
	ok(t, "the source", docker("start", "-a", "box"))
	ok(t, "the source", docker("run", "--rm", "mine:1", "ls", "/mine", "/opaque/only"))
	ok(t, "a fork of a fork", fork("run", "--rm", "mine:1", "sh", "-ec", "ls /mine; "+look), "replaced", "/mine")
	ok(t, "prune", docker("system", "prune", "-af"))
	ok(t, "prune", fork("system", "prune", "-af"))
	same(t, before, hash(t, store))
	refused(t, []string{"in use", "source", "fork"}, "snapshot", "rm", "taken")
	must(t, "rm", "fork", "source")
	must(t, "snapshot", "rm", "taken")
}

func TestManyForksAtOnce(t *testing.T) {
	leak.Guard(t, scope)
	create(t, "tmpl")
	before := hash(t, store)
	const n = 50
	answers := make(chan result)
	for i := range n {
		go func() {
			answers <- berth(t, "run", "--from", "tmpl", "--", "sh", "-ec", fmt.Sprintf(
				"docker run --rm built:1 cat /log; docker rmi -f built:1 >/dev/null; if [ %d = 1 ]; then kill -9 $PPID; fi", i%2))
		}()
	}
	for i := range n {
		if r := <-answers; r.code != 0 && r.code != 137 || !strings.Contains(r.out, "step") {
			t.Errorf("fork %d: %s", i, r)
		}
	}
	must(t, "gc")
	same(t, before, hash(t, store))
}

// A snapshot whose maker is killed is never there by half.
func TestKilledWhileCreating(t *testing.T) {
	leak.Guard(t, scope)
	for _, step := range []string{"copy", "layer", "move", "seal", "describe", "sync"} {
		for _, action := range []string{"kill", "fail"} {
			r := berthWith(t, []string{"BERTH_FAULT=freeze-" + step + ":" + action}, "snapshot", "create", "dead", "--load", imageTar)
			if r.code == 0 || must(t, "snapshot", "ls", "-q") != "" {
				t.Errorf("%s after %s: %s", action, step, r)
			}
			must(t, "gc")
		}
	}
	os.RemoveAll(store + "/dead")
}

// Each source does what it says, in the order that is promised; one that fails leaves nothing.
func TestSources(t *testing.T) {
	leak.Guard(t, scope)
	t.Cleanup(func() { must(t, "snapshot", "rm", "-f", "made"); must(t, "gc") })
	var m struct {
		Sources []string
		Engine  string
		Images  []struct{ Name string }
	}
	decode(t, must(t, "snapshot", "create", "made", "--json", "--run", "docker tag build late:1", "--build", buildDir, "--load", imageTar), &m)
	if fmt.Sprint(m.Sources) != fmt.Sprintf("[load %s build %s run docker tag build late:1]", imageTar, buildDir) || m.Engine == "" {
		t.Errorf("%+v", m)
	}
	if text := fmt.Sprint(m.Images); !strings.Contains(text, "berth.test/busy:1") || !strings.Contains(text, "build:latest") || !strings.Contains(text, "late:1") {
		t.Errorf("images: %s", text)
	}
	docker := up(t, "fork", "--from", "made", "--no-volumes")
	ok(t, "what was built", docker("run", "--rm", "late:1", "sh", "-ec", look), "replaced")
	must(t, "rm", "fork")
	for _, args := range [][]string{{"--run", "exit 3"}, {"--load", "/none"}, {"--build", "/none"}, {"--pull", "127.0.0.1:1/none"}} {
		refused := berth(t, append([]string{"snapshot", "create", "failed"}, args...)...)
		if refused.code == 0 || !strings.Contains(refused.err, "no snapshot was made") {
			t.Errorf("%v: %s", args, refused)
		}
	}
	if out := must(t, "snapshot", "ls", "-q", "failed"); out != "" {
		t.Errorf("a failed one is there: %s", out)
	}
}

func TestVolumes(t *testing.T) {
	leak.Guard(t, scope)
	create(t, "tmpl")
	docker := up(t, "with", "--from", "tmpl")
	ok(t, "a volume", docker("run", "--rm", "-v", "keep:/v", imageName, "sh", "-c", "cat /v/f; echo more >/v/f"), "kept")
	without := up(t, "without", "--from", "tmpl", "--no-volumes")
	if r := without("volume", "ls", "-q"); r.code != 0 || r.out != "" {
		t.Errorf("volumes travelled: %s", r)
	}
	ok(t, "a volume of the same name", without("run", "--rm", "-v", "keep:/v", imageName, "ls", "/v"))
	again := up(t, "again", "--from", "tmpl")
	ok(t, "a volume", again("run", "--rm", "-v", "keep:/v", imageName, "cat", "/v/f"), "kept")
	refused(t, []string{"--from"}, "run", "--no-volumes", "--", "true")
	must(t, "rm", "with", "without", "again")
}

// An engine that runs can be stopped for its snapshot, and goes on.
func TestSnapshotOfAnEngineStoppedForIt(t *testing.T) {
	leak.Guard(t, scope)
	docker := up(t, "live")
	ok(t, "load", docker("load", "-q", "-i", imageTar))
	ok(t, "a service", docker("run", "-d", "--restart", "always", "--name", "service", imageName, "sleep", "1000"))
	if out := must(t, "snapshot", "create", "taken", "--from", "live", "--stop"); out != "taken@1" {
		t.Errorf("printed %q", out)
	}
	ok(t, "the engine goes on", docker("ps", "--format", "{{.Names}}"), "service")
	fork := up(t, "fork", "--from", "taken")
	ok(t, "a fork", fork("run", "--rm", imageName))
	if r := fork("ps", "-aq"); r.out != "" {
		t.Errorf("containers travelled: %s", r)
	}
	must(t, "rm", "fork", "live")
	must(t, "snapshot", "rm", "taken")
	must(t, "gc")
}

// Containers travel when they are asked for, with what they wrote and their networks.
func TestContainersTravel(t *testing.T) {
	leak.Guard(t, scope)
	script := "docker network create --subnet 10.98.0.0/24 own; docker run --name box " + imageName + " sh -c 'echo made >/made; rm /greeting'; " +
		"docker create --name service --network own --ip 10.98.0.9 " + imageName + " sh -c 'ip addr | grep 10.98.0.9'"
	var m struct{ Containers []string }
	decode(t, must(t, "snapshot", "create", "with", "--json", "--containers", "--load", imageTar, "--run", script), &m)
	t.Cleanup(func() { must(t, "snapshot", "rm", "-f", "with", "again"); must(t, "gc") })
	if fmt.Sprint(m.Containers) != "[box service]" {
		t.Errorf("containers: %v", m.Containers)
	}
	must(t, "snapshot", "verify", "with")
	before := hash(t, store)
	for _, driver := range []string{"link", "copy"} {
		t.Setenv("BERTH_SNAPSHOT_DRIVER", driver)
		docker := up(t, "fork", "--from", "with")
		ok(t, "what is there", docker("ps", "-a", "--format", "{{.Names}} {{.State}}"), "box exited", "service created")
		ok(t, "what it wrote", docker("cp", "box:/made", "-"), "made")
		ok(t, "what it changed", docker("diff", "box"), "A /made", "D /greeting")
		ok(t, "its network", docker("start", "-a", "service"), "10.98.0.9")
		ok(t, "an end", docker("rm", "-f", "box", "service"))
		ok(t, "an end", docker("network", "rm", "own"))
		ok(t, "an end", docker("system", "prune", "-af"))
		must(t, "rm", "fork")
		same(t, before, hash(t, store))
	}
	must(t, "snapshot", "export", "-o", "/tmp/with.tar", "with")
	must(t, "snapshot", "import", "/tmp/with.tar", "again")
	if err := os.Remove("/tmp/with.tar"); err != nil {
		t.Fatal(err)
	}
	docker := up(t, "fork", "--from", "again")
	ok(t, "after an import", docker("start", "-a", "service"), "10.98.0.9")
	ok(t, "after an import", docker("diff", "box"), "D /greeting")
	must(t, "rm", "fork")
}

// A snapshot of another payload works, as long as its dockerd is not newer.
func TestOtherPayload(t *testing.T) {
	leak.Guard(t, scope)
	create(t, "tmpl")
	path := filepath.Join(store, "tmpl/1/manifest.json")
	original := read(t, path)
	edit := func(engine string) {
		t.Helper()
		var m map[string]any
		decode(t, original, &m)
		m["payload"], m["engine"] = strings.Repeat("0", 32), engine
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	edit("28.0.1")
	exercise(t, "link")
	edit("99.0.1")
	refused(t, []string{"tmpl@1", "99.0.1", "this berth has"}, "run", "--from", "tmpl", "--", "true")
	if err := os.WriteFile(path, []byte(original), 0o600); err != nil {
		t.Fatal(err)
	}
}

// verifiedJSON makes sure that programs are told what of tmpl was changed.
func verifiedJSON(t *testing.T, what string) {
	t.Helper()
	r := berth(t, "snapshot", "verify", "--json", "tmpl")
	var got struct {
		Snapshot string
		OK       bool
		Problems []string
	}
	decode(t, r.out, &got)
	if r.code != 125 || !strings.Contains(r.err, "snapshot is damaged") || got.OK || got.Snapshot != "tmpl@1" || !strings.Contains(strings.Join(got.Problems, "\n"), what) {
		t.Errorf("verify --json: %s", r)
	}
}
