// Package builder makes the image in which buildx's docker-container driver runs BuildKit,
// without a registry: upstream's buildkitd and buildctl, made from their Go modules (the
// module in buildkit pins them; `make test-deps` builds them), and berth's runc.
//
// The package knows nothing of engines: who uses it loads the image into one, or serves it
// from a registry.
package builder

import (
	"errors"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/berth-dev/berth/test/image"
)

// Name is the image that buildx takes unless it is told another
// (buildx, driver/docker-container and util/confutil: bkimage.DefaultImage).
const Name = "docker.io/moby/buildkit:buildx-stable-1"

// EnvDir names the directory with buildkitd and buildctl; the default is that of
// `make test-deps`.
const EnvDir = "BERTH_TEST_BUILDKIT"

// Image makes the image.
//
// Errors: the programs have not been built, or no berth has unpacked its runc and busybox
// on this machine yet.
func Image() (v1.Image, error) {
	dir, err := programs()
	if err != nil {
		return nil, err
	}
	runc, err := image.Payload("runc")
	if err != nil {
		return nil, err
	}
	return image.Build(image.Options{
		Label: "builder",
		Programs: map[string]string{
			"bin/buildkitd": filepath.Join(dir, "buildkitd"), "bin/buildctl": filepath.Join(dir, "buildctl"), "bin/runc": runc,
		},
		Entrypoint: []string{"buildkitd"},
	})
}

// programs finds the directory, from the working directory upwards: tests run in theirs.
func programs() (string, error) {
	if dir := os.Getenv(EnvDir); dir != "" {
		return dir, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		found := filepath.Join(dir, ".cache/test/buildkit")
		if _, err := os.Stat(filepath.Join(found, "buildkitd")); err == nil {
			return found, nil
		}
	}
	return "", errors.New("no buildkitd for the builder's image: run `make test-deps`")
}
