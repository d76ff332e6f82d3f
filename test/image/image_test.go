package image

import (
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func TestImagesAreValidAndDeterministic(t *testing.T) {
	one, err := Build(Options{Label: "x"})
	if err != nil {
		t.Fatal(err)
	}
	two, err := Build(Options{Label: "x"})
	if err != nil {
		t.Fatal(err)
	}
	a, _ := one.Digest()
	b, _ := two.Digest()
	if a != b {
		t.Errorf("the same options gave %s and %s", a, b)
	}
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := SaveTar(path, "berth.test/busy:1", one); err != nil {
		t.Fatal(err)
	}
	saved, err := tarball.ImageFromPath(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(saved); err != nil {
		t.Error(err)
	}
}
