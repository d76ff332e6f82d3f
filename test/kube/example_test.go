package kube

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-dev/berth/test/image"
)

// The example in Go pulls, runs, saves and removes an image in its pod's engine.
func TestTheExample(t *testing.T) {
	program := filepath.Join(t.TempDir(), "k8s-job")
	build := exec.Command("go", "build", "-trimpath", "-o", program, "./k8s-job")
	build.Dir = "../../examples"
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOPROXY=off", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the example: %v\n%s", err, out)
	}
	const ref = "localhost/k8s-job:1"
	img, err := image.Build(image.Options{Busybox: programs + "/busybox", Programs: map[string]string{"k8s-job": program}})
	if err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(t.TempDir(), "image.tar")
	if err := image.SaveTar(archive, ref, img); err != nil {
		t.Fatal(err)
	}
	if err := node.Load(t.Context(), archive); err != nil {
		t.Fatal(err)
	}
	ns := node.Namespace(t)
	ns.Apply(written(t, pod("job", "--client-image", ref, "--", "/k8s-job", busyRef, "/workspace/busy.tar")...))
	ns.Wait("job/build", "condition=Complete")
	log := ns.Logs("job/build", "client")
	for _, want := range []string{"pulled sha256:", image.Greeting, "bytes to /workspace/busy.tar", "0 images left"} {
		if !strings.Contains(log, want) {
			t.Errorf("no %q in\n%s", want, log)
		}
	}
}
