package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

const patch = `Why it is so.

--- a/sub/file
+++ b/sub/file
@@ -1,2 +1,2 @@
 one
-two
+three
`

// A patch changes a copy within a repository, whose files git would change instead if left
// to itself, and a copy that it does not fit fails the build.
func TestApply(t *testing.T) {
	repository := t.TempDir()
	if out, err := exec.Command("git", "init", "-q", repository).CombinedOutput(); err != nil {
		t.Fatalf("git init: %v: %s", err, out)
	}
	file := filepath.Join(t.TempDir(), "a.patch")
	if err := os.WriteFile(file, []byte(patch), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ before, after string }{
		{"one\ntwo\n", "one\nthree\n"},
		{"one\nfour\n", ""},
	} {
		source := filepath.Join(repository, "stage", "src")
		target := filepath.Join(source, "sub", "file")
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(target, []byte(test.before), 0o600); err != nil {
			t.Fatal(err)
		}
		err := apply(t.Context(), source, file)
		got, readErr := os.ReadFile(target)
		if readErr != nil {
			t.Fatal(readErr)
		}
		if test.after == "" {
			if err == nil || string(got) != test.before {
				t.Errorf("%q: error %v, now %q", test.before, err, got)
			}
		} else if err != nil || string(got) != test.after {
			t.Errorf("%q: error %v, now %q", test.before, err, got)
		}
	}
}

func TestChanges(t *testing.T) {
	t.Chdir("../..")
	p := goProgram{name: "dockerd", module: "github.com/moby/moby/v2"}
	changes, err := p.changes()
	if err != nil {
		t.Fatal(err)
	}
	if changes[p.module].added == "" || len(changes["github.com/moby/buildkit"].patches) == 0 {
		t.Errorf("got %+v", changes)
	}
	for module := range changes {
		if _, err := p.require(module); err != nil {
			t.Errorf("a change of what is not pinned: %v", err)
		}
	}
}
