package sdk

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/berth-dev/berth"
	"github.com/berth-dev/berth/test/image"
)

// TestEngineAroundAProgram is that of `berth run`, used by a program without privileges.
func TestEngineAroundAProgram(t *testing.T) {
	guard(t)
	if _, err := berth.FromEnv(); !errors.Is(err, berth.ErrNotFound) {
		t.Errorf("without an engine around: %v", err)
	}
	dir := t.TempDir()
	program, archive := filepath.Join(dir, "around"), filepath.Join(dir, "image.tar")
	if out, err := exec.Command("go", "build", "-o", program, "./testdata/around").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	img, err := image.Build(image.Options{})
	if err == nil {
		err = image.SaveTar(archive, "sdk.test/busy:1", img)
	}
	if err != nil {
		t.Fatal(err)
	}
	readable(t, dir)
	cmd := exec.Command(os.Getenv(berth.EnvBinary), "run", "--no-share-cwd", "--user", "4321:4321", "--", program, archive)
	cmd.Dir, cmd.Stderr = "/", os.Stderr
	out, err := cmd.Output()
	if err != nil || !regexp.MustCompile(`^from [0-9a-f]{12}\nserved\n$`).Match(out) {
		t.Errorf("%q, %v", out, err)
	}
}

// readable lets every user reach a directory of a test.
func readable(t *testing.T, dir string) {
	t.Helper()
	for ; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}
