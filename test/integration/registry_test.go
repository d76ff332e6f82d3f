package integration

import (
	"context"
	"testing"

	"github.com/berth-dev/berth/test/image"
	"github.com/berth-dev/berth/test/registry"
)

// privateRegistry starts a registry with an image in it.
func privateRegistry(t *testing.T) (reg *registry.Registry, ref string) {
	t.Helper()
	reg, err := registry.Start(context.Background(), registry.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reg.Close() })
	img, err := image.Build(image.Options{Label: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	ref = reg.Address() + "/berth/test:1"
	if err := image.Push(ref, img, reg.Transport(), nil); err != nil {
		t.Fatal(err)
	}
	return reg, ref
}
