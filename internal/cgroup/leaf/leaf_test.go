package leaf

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tree makes files that look like a cgroup; what is written to them replaces what was there.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestNothingToDoOnV1(t *testing.T) {
	root := tree(t, nil)
	if err := enter(root); err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(root); len(entries) != 0 {
		t.Errorf("made %v", entries)
	}
}

func TestControllersAreEnabledOneByOne(t *testing.T) {
	root := tree(t, map[string]string{"cgroup.controllers": "cpu memory pids\n", "cgroup.procs": "", "cgroup.subtree_control": ""})
	if err := enter(root); err != nil {
		t.Fatal(err)
	}
	if got := read(t, root, "cgroup.subtree_control"); got != "+pids" {
		t.Errorf("last written %q, want +pids alone", got)
	}
	if _, err := os.Stat(filepath.Join(root, Name)); err == nil {
		t.Error("a leaf was made for no process")
	}
}

// Files do not lose processes when they are moved, so that the moving never ends here;
// it must give up, and have moved.
func TestProcessesAreMoved(t *testing.T) {
	root := tree(t, map[string]string{"cgroup.controllers": "cpu", "cgroup.procs": "0\n41\n42\n", "cgroup.subtree_control": ""})
	if err := os.Mkdir(filepath.Join(root, Name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, Name, "cgroup.procs"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	err := enter(root)
	if err == nil || !strings.Contains(err.Error(), "keep coming") {
		t.Errorf("got %v", err)
	}
	if got := read(t, root, Name, "cgroup.procs"); got != "42" {
		t.Errorf("last moved %q, want 42", got)
	}
}

func TestProcessesOfOtherNamespacesStay(t *testing.T) {
	root := tree(t, map[string]string{"cgroup.controllers": "", "cgroup.procs": "0\n0\n", "cgroup.subtree_control": ""})
	if err := enter(root); err != nil {
		t.Errorf("got %v", err)
	}
}
