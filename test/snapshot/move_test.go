package snapshot

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-dev/berth/test/leak"
	"github.com/berth-dev/berth/test/registry"
)

// elsewhere makes the state directory of what follows that of another machine.
func elsewhere(t *testing.T) (state string) {
	t.Helper()
	state = t.TempDir()
	if err := os.Chmod(state, 0o755); err != nil {
		t.Fatal(err)
	}
	use(t, state)
	return state
}

// cleanly removes a snapshot of the other machine's when the test ends.
func cleanly(t *testing.T, name string) {
	state := os.Getenv("BERTH_STATE_DIR")
	t.Cleanup(func() {
		for _, args := range [][]string{{"snapshot", "rm", "-f", name}, {"gc"}} {
			if r := berthWith(t, []string{"BERTH_STATE_DIR=" + state}, args...); r.code != 0 {
				t.Errorf("berth %s: %s", strings.Join(args, " "), r)
			}
		}
	})
}

// An archive has all that a fork needs, on a machine that has never seen the images; and
// what two versions have in common is in it once.
func TestExportAndImport(t *testing.T) {
	leak.Guard(t, scope)
	create(t, "tmpl")
	must(t, "snapshot", "create", "tmpl", "--update", "--run", "docker tag built:1 more:1; docker run --name xx "+imageName+" touch /made; docker commit xx made:1")
	dir := t.TempDir()
	one, both := filepath.Join(dir, "one.tar"), filepath.Join(dir, "both.tar")
	must(t, "snapshot", "export", "-o", one, "tmpl@1")
	must(t, "snapshot", "export", "-o", both, "tmpl@1", "tmpl@2")
	if a, b := size(t, one), size(t, both); b > a+a/4 {
		t.Errorf("one version takes %d bytes, two %d: they do not share", a, b)
	}
	refused(t, []string{"no such snapshot"}, "snapshot", "export", "-o", filepath.Join(dir, "none.tar"), "tmpl@9")
	if left, _ := os.ReadDir(dir); len(left) != 2 {
		t.Errorf("a failed export left something: %v", left)
	}
	t.Run("import", func(t *testing.T) {
		state := elsewhere(t)
		cleanly(t, "tmpl")
		refused(t, []string{"not a snapshot"}, "snapshot", "import", imageTar)
		refused(t, []string{"no such file"}, "snapshot", "import", filepath.Join(dir, "none.tar"))
		if out := must(t, "snapshot", "import", both); out != "tmpl@1\ntmpl@2" {
			t.Errorf("import printed %q", out)
		}
		must(t, "snapshot", "verify", "tmpl@1", "tmpl@2")
		before := hash(t, filepath.Join(state, "snapshots"))
		docker := up(t, "second", "--from", "tmpl@2")
		ok(t, "what the second version has", docker("run", "--rm", "made:1", "ls", "/made"), "/made")
		must(t, "rm", "second")
		// The first, for it has all that exercise looks for in its own layers.
		must(t, "snapshot", "rm", "tmpl@2")
		for _, driver := range []string{"link", "copy"} {
			exercise(t, driver)
		}
		must(t, "gc")
		after := hash(t, filepath.Join(state, "snapshots"))
		for path := range before {
			if strings.Contains(path, "/tmpl/2") || strings.HasSuffix(path, "/readers") {
				delete(before, path)
			}
		}
		same(t, before, after)
	})
	t.Run("from a pipe, for the other isolation", func(t *testing.T) {
		elsewhere(t)
		cleanly(t, "root")
		cmd := exec.Command("sh", "-c", `cat "$1" | "$0" snapshot import - root --isolation rootful`, berthProgram, one)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		// Marks of layers that were made in a user namespace count for the host's overlayfs.
		docker := up(t, "rootful", "--isolation", "rootful", "--from", "root")
		ok(t, "layers", docker("run", "--rm", "built:1", "sh", "-ec", look), "replaced", "only", "1000:1000", "step")
		must(t, "rm", "rootful")
	})
}

// Who waits for the other end of a pipe can be interrupted.
func TestInterruptedAtAPipe(t *testing.T) {
	leak.Guard(t, scope)
	create(t, "tmpl")
	for _, args := range [][]string{{"snapshot", "import", "-", "copy"}, {"snapshot", "export", "-o", "-", "tmpl"}} {
		theirs, ours := make([]*os.File, 2), make([]*os.File, 2)
		for i := range theirs {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			defer w.Close()
			theirs[i], ours[i] = r, w
			if i == 1 { // its output
				theirs[i], ours[i] = w, r
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		cmd := exec.CommandContext(ctx, berthProgram, args...)
		cmd.Dir, cmd.Stdin, cmd.Stdout = "/", theirs[0], theirs[1]
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if args[1] == "import" {
			spooling(t, ctx, cmd.Process.Pid)
		} else if _, err := ours[1].Read(make([]byte, 1)); err != nil { // it has begun
			t.Fatal(err)
		}
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); ctx.Err() != nil || cmd.ProcessState.ExitCode() != 130 {
			t.Errorf("%v: %v: %s", args, err, stderr.Bytes())
		}
	}
	if out := must(t, "snapshot", "ls", "-q"); out != "tmpl@1" {
		t.Errorf("there is %q", out)
	}
}

// spooling waits until a process has opened the file to which it writes what comes by a pipe.
func spooling(t *testing.T, ctx context.Context, pid int) {
	t.Helper()
	for ; ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		for _, f := range files {
			if target, _ := os.Readlink(f); strings.Contains(target, "/.archive-") {
				return
			}
		}
	}
	t.Fatal("it does not read the pipe")
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// A fleet shares one warm cache: one machine pushes, others pull, and only what is missing
// moves.
func TestPushAndPull(t *testing.T) {
	leak.Guard(t, scope)
	dir := t.TempDir()
	reg, err := registry.Start(t.Context(), registry.Options{Dir: dir, Host: "localhost", User: "ci", Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	defer reg.Close()
	ref, ca := reg.Address()+"/ci/cache:main", "--registry-ca="+reg.Address()+"="+reg.CAFile
	create(t, "tmpl")
	refused(t, []string{"certificate", "--registry-ca"}, "snapshot", "push", "tmpl", ref)
	refused(t, []string{"docker login"}, "snapshot", "push", ca, "tmpl", ref)
	login(t, dir, reg.Address(), "ci:secret")
	refused(t, []string{"no such snapshot"}, "snapshot", "pull", ca, ref)
	var first, second struct{ Digest string }
	decode(t, must(t, "snapshot", "push", "--json", ca, "tmpl", ref), &first)
	decode(t, must(t, "snapshot", "push", "--json", ca, "tmpl", ref), &second)
	if first.Digest == "" || first.Digest != second.Digest {
		t.Errorf("pushed twice: %v and %v", first, second)
	}
	t.Run("elsewhere", func(t *testing.T) {
		elsewhere(t)
		cleanly(t, "cache")
		for _, step := range []string{"fetch", "data", "layer", "blobs", "describe", "note"} {
			if r := berthWith(t, []string{"BERTH_FAULT=import-" + step + ":kill"}, "snapshot", "pull", ca, ref); r.code == 0 || must(t, "snapshot", "ls", "-q") != "" {
				t.Errorf("killed after %s: %s", step, r)
			}
		}
		if out := must(t, "snapshot", "pull", ca, ref); out != "cache@1" {
			t.Errorf("pull printed %q", out)
		}
		begin := reg.Requests()
		if out := must(t, "snapshot", "pull", ca, ref); out != "cache@2" {
			t.Errorf("pull printed %q", out)
		}
		if n := reg.Requests() - begin; n > 6 { // two pings, the manifest, the config, the metadata
			t.Errorf("the second pull made %d requests", n)
		}
		must(t, "snapshot", "verify", "cache@1", "cache@2")
		docker := up(t, "fork", "--from", "cache")
		ok(t, "layers", docker("run", "--rm", "built:1", "sh", "-ec", look), "replaced", "only", "1000:1000", "step")
		ok(t, "volume", docker("run", "--rm", "-v", "keep:/v", imageName, "cat", "/v/f"), "kept")
		must(t, "rm", "fork")
	})
	reg.Close()
	refused(t, []string{"refused"}, "snapshot", "pull", ca, ref)
}

// login writes what docker login does.
func login(t *testing.T, dir, host, userAndPassword string) {
	t.Helper()
	b, err := json.Marshal(map[string]any{"auths": map[string]any{host: map[string]any{"auth": []byte(userAndPassword)}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_CONFIG", dir)
}

func decode(t *testing.T, text string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
}
