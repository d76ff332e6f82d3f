package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A command that is not there makes berth extract its payload, to look for the
// command in it, but starts no engine.
var extracts = []string{"run", "--", "no-such-command-berth"}

func freshState(t *testing.T) (dir string, env []string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "state")
	return dir, []string{"BERTH_STATE_DIR=" + dir}
}

// Twenty first uses at once extract the payload once, and all find it whole.
func TestTwentyFirstExtractions(t *testing.T) {
	guard(t)
	dir, env := freshState(t)
	errs := make(chan string)
	for range 20 {
		cmd := command(t, env, extracts...)
		go func() {
			out, _ := cmd.CombinedOutput()
			if code(cmd.ProcessState) != 127 {
				errs <- string(out)
				return
			}
			errs <- ""
		}()
	}
	for range 20 {
		if problem := <-errs; problem != "" {
			t.Error(problem)
		}
	}
	if found := digests(t, dir); len(found) != 1 {
		t.Errorf("in the payload directory: %v", found)
	}
}

// digests lists the directories of the payload directory, temporary ones too.
func digests(t *testing.T, state string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(state, "payload"))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.IsDir() {
			names = append(names, entry.Name())
		}
	}
	return names
}

// An extraction that is killed half way does not stand in the way of the next.
func TestExtractionKilled(t *testing.T) {
	guard(t)
	dir, env := freshState(t)
	cmd := command(t, env, extracts...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "something is extracted", func() bool {
		found, _ := filepath.Glob(filepath.Join(dir, "payload", "*", "*"))
		more, _ := filepath.Glob(filepath.Join(dir, "payload", ".*", "*"))
		return len(found)+len(more) > 0
	})
	cmd.Process.Kill()
	cmd.Wait()
	if r := finish(t, command(t, env, extracts...)); r.code != 127 {
		t.Errorf("the next use: %s", r)
	}
	if found := digests(t, dir); len(found) != 1 {
		t.Errorf("in the payload directory: %v", found)
	}
}

// Files that were tampered with are refused by name.
func TestTamperedPayload(t *testing.T) {
	guard(t)
	dir, env := freshState(t)
	if r := finish(t, command(t, env, extracts...)); r.code != 127 {
		t.Fatal(r)
	}
	found, err := filepath.Glob(filepath.Join(dir, "payload/*/rootfs/usr/bin/runc"))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	file, err := os.OpenFile(found[0], os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = file.WriteAt([]byte("X"), 4096)
	if err := joined(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	r := finish(t, command(t, env, "run", "--", "true"))
	if r.code != 125 {
		t.Errorf("a changed runc was used: %s", r)
	}
	oneLine(t, r, "runc")
}

func joined(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// A disk that is full while the payload is extracted is one clear line, and
// nothing of it stays.
func TestDiskFullWhileExtracting(t *testing.T) {
	guard(t)
	base := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", base).CombinedOutput(); err != nil {
		t.Fatalf("%s", out)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(base, 0); err != nil {
			t.Error(err)
		}
	})
	r := finish(t, command(t, []string{"BERTH_STATE_DIR=" + base}, "run", "--", "true"))
	if r.code != 125 {
		t.Errorf("want status 125, got %s", r)
	}
	oneLine(t, r, "no space")
	if found := digests(t, base); len(found) != 0 {
		t.Errorf("left behind: %v", found)
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(base, &stat); err != nil || stat.Blocks-stat.Bfree > 64 {
		t.Errorf("%d blocks are still taken (%v)", stat.Blocks-stat.Bfree, err)
	}
}

// The version tells which upstream programs are inside.
func TestVersion(t *testing.T) {
	guard(t)
	out := must(t, "version")
	for _, text := range []string{"docker-engine", "29.", "runc", "1.5.2", "containerd", "buildx", "compose"} {
		want(t, "berth version", out, text)
	}
	if strings.Count(must(t, "version", "--json"), "\n") != 0 {
		t.Error("berth version --json is not one line")
	}
}
