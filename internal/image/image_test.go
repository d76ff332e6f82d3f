package image

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/berth-dev/berth/internal/payload"
)

// fake makes a payload's tree whose files are as old as the call.
func fake(t *testing.T) Options {
	t.Helper()
	dir := t.TempDir()
	for path, text := range map[string]string{
		"usr/bin/busybox": "program", "usr/libexec/docker/cli-plugins/docker-buildx": "client",
		"usr/share/berth/etc/ssl/certs/ca-certificates.crt": "certificates",
	} {
		full := filepath.Join(dir, "rootfs", path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("busybox", filepath.Join(dir, "rootfs/usr/bin/sh")); err != nil {
		t.Fatal(err)
	}
	return Options{Tree: &payload.Tree{Dir: dir, Digest: "0123"}, Manifest: []byte("{}"), Platform: "linux/amd64", Created: time.Unix(1e9, 0)}
}

func archived(t *testing.T, o Options) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := build(context.Background(), &b, o, []byte("berth")); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestBuildIsReproducibleAndValid(t *testing.T) {
	a, b := archived(t, fake(t)), archived(t, fake(t))
	if !bytes.Equal(a, b) {
		t.Error("two builds differ")
	}
	tag, err := name.NewTag(DefaultName)
	if err != nil {
		t.Fatal(err)
	}
	img, err := tarball.Image(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(a)), nil }, &tag)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(img); err != nil {
		t.Error(err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if c := file.Config; strings.Join(c.Entrypoint, " ") != "berth init" || c.StopSignal != "SIGTERM" || c.Healthcheck == nil {
		t.Errorf("%+v", c)
	}
	if raw, err := img.RawConfigFile(); err != nil || !strings.Contains(string(raw), `"StartInterval":500000000`) {
		t.Errorf("no start interval: %s, %v", raw, err)
	}
	if file.Architecture != "amd64" || !file.Created.Equal(time.Unix(1e9, 0)) {
		t.Errorf("%s, %s", file.Architecture, file.Created)
	}
}

func TestBuildNames(t *testing.T) {
	o := fake(t)
	o.Name = "registry.example:5000/ci/berth:2"
	got := string(archived(t, o))
	if !strings.Contains(got, `"RepoTags":["registry.example:5000/ci/berth:2"]`) || !strings.Contains(got, `"io.containerd.image.name":"registry.example:5000/ci/berth:2"`) {
		t.Error("the archive does not have the name")
	}
	if got := string(archived(t, fake(t))); !strings.Contains(got, `"RepoTags":["berth:latest"]`) || !strings.Contains(got, `"io.containerd.image.name":"docker.io/library/berth:latest"`) {
		t.Error("the archive does not have the default name")
	}
	o.Name = "NOT A NAME"
	if err := build(context.Background(), io.Discard, o, nil); err == nil {
		t.Error("a bad name was accepted")
	}
}

func TestBuildCanBeCancelled(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	o := fake(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := build(ctx, io.Discard, o, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(temp, "berth-image-*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
