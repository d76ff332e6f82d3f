// Package dind tests berth's container image, the drop-in for docker:dind, on real outer
// engines: one of berth's own (a current Docker in a user namespace) and Debian's docker.io
// (Docker 20.10 as the machine's root), which is downloaded once. Debian's podman, skopeo and
// containerd take the image too.
//
// It needs root and a built berth (BERTH names it, else ../../bin/berth), and runs in a
// sandbox (see package sandbox). Each test names a promise of docs/guide/dind.md.
package dind

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-dev/berth/test/image"
	"github.com/berth-dev/berth/test/program"
	"github.com/berth-dev/berth/test/sandbox"
)

const (
	cache     = "../../.cache/test" // kept between runs
	imageName = "berth:latest"      // what `berth image build` calls it
	busyName  = "berth.test/busy:1" // for containers inside
	shared    = "/tmp/dind"         // the outer engines see it at the same path
)

// Set once by TestMain.
var (
	berthProgram string
	imageTar     string // what `berth image build` wrote
	busyTar      = shared + "/busy.tar"
)

func TestMain(m *testing.M) {
	if sandbox.Outside() {
		fetchDebian(debianDocker, "docker.io", "containerd", "runc", "tini", "libdevmapper1.02.1")
		fetchDebian(debianPodman, "podman", "skopeo", "conmon", "libgpgme11", "libassuan0", "libsubid4")
	}
	os.Exit(sandbox.Run(func() int {
		if err := setUp(); err != nil {
			fmt.Fprintln(os.Stderr, "dind:", err)
			return 1
		}
		defer stopHosts()
		return m.Run()
	}))
}

func setUp() error {
	var err error
	if berthProgram, err = program.Find(); err != nil {
		return err
	}
	if err := os.MkdirAll(shared, 0o755); err != nil {
		return err
	}
	if imageTar, err = buildImage(); err != nil {
		return err
	}
	if out, err := exec.Command("cp", imageTar, shared+"/berth.tar").CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	if _, err := image.Busybox(); err != nil {
		// The payload has one; nothing has unpacked it yet if the image was there already.
		if out, err := exec.Command(berthProgram, "run", "--", "true").CombinedOutput(); err != nil {
			return fmt.Errorf("berth run: %w\n%s", err, out)
		}
	}
	img, err := image.Build(image.Options{})
	if err != nil {
		return err
	}
	return image.SaveTar(busyTar, busyName, img)
}

// buildImage has the berth under test make the image, once for each build of berth.
// BERTH_TEST_IMAGE names one that is made already, for a machine that would take long.
func buildImage() (string, error) {
	if made := os.Getenv("BERTH_TEST_IMAGE"); made != "" {
		return made, nil
	}
	f, err := os.Open(berthProgram)
	if err != nil {
		return "", fmt.Errorf("%w; build it with `make build`, or set BERTH", err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	dir, err := filepath.Abs(cache + "/dind")
	if err != nil {
		return "", err
	}
	tar := filepath.Join(dir, hex.EncodeToString(sum.Sum(nil)[:8])+".tar")
	if _, err := os.Stat(tar); err == nil {
		return tar, nil
	}
	if err := os.RemoveAll(dir); err != nil { // those of other builds
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	out, err := exec.Command(berthProgram, "image", "build", "-o", tar).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("berth image build: %w\n%s", err, strings.TrimSpace(string(out)))
	}
	return tar, nil
}
