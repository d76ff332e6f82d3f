package sdk

import (
	"errors"
	"runtime"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/berth-dev/berth"
	"github.com/berth-dev/berth/test/image"
	"github.com/berth-dev/berth/test/registry"
)

const foreign = "s390x" // an architecture that no machine of these tests has

// TestPlatforms has an image of two platforms pulled, pushed and copied.
func TestPlatforms(t *testing.T) {
	r, opts := serve(t, registry.Options{})
	ref := pushIndex(t, r, "app:1", runtime.GOARCH, foreign)
	e := start(t, opts...)
	own, err := e.Pull(t.Context(), ref)
	if err != nil || own.Platform != "linux/"+runtime.GOARCH {
		t.Fatalf("by default: %s, %v", own.Platform, err)
	}
	if _, err := e.Output(t.Context(), own.ID, nil); err != nil {
		t.Error(err)
	}
	other, err := e.Pull(t.Context(), ref, berth.WithPlatform("linux/"+foreign))
	if err != nil || other.Platform != "linux/"+foreign {
		t.Errorf("the other: %s, %v", other.Platform, err)
	}
	if _, err := e.Pull(t.Context(), ref, berth.WithPlatform("linux/arm/v6")); !errors.Is(err, berth.ErrNoPlatform) {
		t.Errorf("one that the image does not have: %v", err)
	}

	// A copy has the digest of what was copied: of all platforms, or of one.
	all := indexDigest(t, r, ref)
	direct := berth.WithTransport(r.Transport())
	if err := berth.Copy(t.Context(), ref, r.Address()+"/copied:1", direct); err != nil {
		t.Error(err)
	} else if got := indexDigest(t, r, r.Address()+"/copied:1"); got != all {
		t.Errorf("copied %s, got %s", all, got)
	}
	one := r.Address() + "/one:1"
	if err := berth.Copy(t.Context(), ref, one, direct, berth.WithPlatform("linux/"+foreign)); err != nil {
		t.Error(err)
	} else if img, err := e.Pull(t.Context(), one); err != nil || img.Platform != "linux/"+foreign {
		t.Errorf("a copy of the other platform alone: %s, %v", img.Platform, err)
	}
	if err := berth.Copy(t.Context(), ref, one, direct, berth.WithPlatform("linux/arm/v6"), berth.WithTries(1)); !errors.Is(err, berth.ErrNoPlatform) {
		t.Errorf("a copy of a platform that the image does not have: %v", err)
	}

	// Both platforms are in the engine now, so that all of the image can be pushed.
	pushed := r.Address() + "/pushed:1"
	if err := e.Tag(t.Context(), ref, pushed); err != nil {
		t.Fatal(err)
	}
	if err := e.Push(t.Context(), pushed); err != nil {
		t.Error(err)
	} else if got := indexDigest(t, r, pushed); got != all {
		t.Errorf("pushed %s, got %s", all, got)
	}
	if err := e.Copy(t.Context(), ref, r.Address()+"/through:1", berth.WithPlatform("linux/"+foreign)); err != nil {
		t.Error(err)
	} else if img, err := e.Pull(t.Context(), r.Address()+"/through:1", berth.WithPlatform("linux/"+foreign)); err != nil || img.Platform != "linux/"+foreign {
		t.Errorf("a copy through the engine: %s, %v", img.Platform, err)
	}
}

// pushIndex puts an image with several platforms into a registry.
func pushIndex(t *testing.T, r *registry.Registry, repository string, architectures ...string) string {
	t.Helper()
	index := v1.ImageIndex(empty.Index)
	for _, arch := range architectures {
		img, err := image.Build(image.Options{Label: arch})
		if err != nil {
			t.Fatal(err)
		}
		config, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		config = config.DeepCopy()
		config.Architecture = arch
		if img, err = mutate.ConfigFile(img, config); err != nil {
			t.Fatal(err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	ref := r.Address() + "/" + repository
	if err := remote.WriteIndex(tag(t, ref), index, remote.WithTransport(r.Transport())); err != nil {
		t.Fatal(err)
	}
	return ref
}

func indexDigest(t *testing.T, r *registry.Registry, ref string) string {
	t.Helper()
	d, err := remote.Get(tag(t, ref), remote.WithTransport(r.Transport()))
	if err != nil {
		t.Fatal(err)
	}
	return d.Digest.String()
}

func tag(t *testing.T, ref string) name.Tag {
	t.Helper()
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	return tag
}
