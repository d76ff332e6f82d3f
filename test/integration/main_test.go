// Package integration tests the berth program with real engines.
//
// It needs root and a built berth (BERTH names it, else ../../bin/berth), and
// runs in a sandbox (see package sandbox) unless BERTH_TEST_REAL_HOST is set.
// Every test goes through the leak guard: what it leaves behind fails it. A
// thing that must be there and is not is fatal; a skip names what the machine
// lacks.
package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/berth-dev/berth/test/image"
	"github.com/berth-dev/berth/test/program"
	"github.com/berth-dev/berth/test/sandbox"
)

// Set once by setUp.
var (
	berthProgram string // absolute path of the program under test
	imageTar     string // an archive for `docker load`
	busybox      string // the host's static busybox
	probeProgram string // ../probe, built; /probe in the image
)

// imageName is what the image in imageTar is called.
const imageName = "berth.test/busy:1"

func TestMain(m *testing.M) {
	if sandbox.Outside() {
		fetchDebianDocker()
	}
	os.Exit(sandbox.Run(func() int {
		if err := setUp(); err != nil {
			fmt.Fprintln(os.Stderr, "integration:", err)
			return 1
		}
		return m.Run()
	}))
}

func setUp() error {
	var err error
	if berthProgram, err = program.Find(); err != nil {
		return err
	}
	if err := serveInternet(); err != nil {
		return fmt.Errorf("the sandbox's internet: %w", err)
	}
	if err := program.WarmUp(berthProgram); err != nil {
		return err
	}
	if busybox, err = image.Busybox(); err != nil {
		return err
	}
	if err := buildProbe(); err != nil {
		return err
	}
	imageTar = filepath.Join(os.TempDir(), "berth-image.tar")
	img, err := image.Build(image.Options{Probe: probeProgram})
	if err != nil {
		return err
	}
	return image.SaveTar(imageTar, imageName, img)
}

func buildProbe() error {
	if probeProgram = os.Getenv("BERTH_TEST_PROBE"); probeProgram != "" {
		return nil // built already, for a machine without Go
	}
	probeProgram = filepath.Join(os.TempDir(), "berth-probe")
	cmd := exec.Command("go", "build", "-trimpath", "-o", probeProgram, "../probe")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the probe: %w\n%s", err, out)
	}
	return os.Chmod(probeProgram, 0o755)
}
