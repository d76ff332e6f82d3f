package mirror

import (
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/berth-dev/berth/test/builder"
	"github.com/berth-dev/berth/test/image"
)

// TestSixteenEngines: sixteen engines pull one image at once, and each of its blobs crosses
// the network once.
func TestSixteenEngines(t *testing.T) {
	guard(t)
	f := newFront(t, "", "")
	ref := f.push(t, "team/app:1", image.Options{Label: t.Name(), Ballast: 20 << 20})
	serve(t, "--registry-ca", f.Address+"="+f.CAFile)
	meet := filepath.Join(t.TempDir(), "go") // all of them wait for it, so that they pull together
	var ready, done sync.WaitGroup
	for range 16 {
		ready.Add(1)
		done.Go(func() {
			r := berthNoting(t, ready.Done, script("echo here; while ! [ -e "+meet+" ]; do sleep 0.05; done; docker pull -q "+ref+"; docker run --rm "+ref)...)
			if r.code != 0 || !strings.Contains(r.stdout, image.Greeting) {
				t.Errorf("status %d\n%s%s", r.code, r.stdout, r.stderr)
			}
		})
	}
	ready.Wait()
	write(t, meet, "")
	done.Wait()
	blobs := f.fetched("blobs")
	for blob, n := range blobs {
		if n != 1 {
			t.Errorf("%s was fetched %d times", blob, n)
		}
	}
	if len(blobs) < 2 {
		t.Errorf("blobs: %v", blobs)
	}
}

// TestContainerBuilder: BuildKit in a container, which knows nothing of dockerd's settings,
// pulls through this machine's mirror as well.
func TestContainerBuilder(t *testing.T) {
	guard(t)
	f := newFront(t, "", "")
	bk, err := builder.Image()
	if err != nil {
		t.Fatal(err)
	}
	f.pushImage(t, strings.TrimPrefix(builder.Name, "docker.io/"), bk)
	f.push(t, "library/base:1", image.Options{Label: t.Name()})
	own := f.push(t, "team/base:1", image.Options{Label: t.Name() + " own"})
	serve(t, "--upstream", "docker.io=https://"+f.Address, "--registry-ca", "docker.io="+f.CAFile, "--registry-ca", f.Address+"="+f.CAFile)
	build := `d=$(mktemp -d); export DOCKER_CONFIG=$d/.docker; [ -n "$BUILDX_CONFIG" ]
docker buildx create --name box --driver docker-container --bootstrap
for base in base:1 ` + own + `; do
	printf "FROM $base\nRUN echo built >/built\n" >$d/Dockerfile
	docker buildx build -q --builder box --load -t x $d; docker run --rm x cat /built
done
docker buildx rm box; rm -r $d`
	before := len(f.fetched("blobs"))
	out := must(t, script(build, "--registry-ca", f.Address+"="+f.CAFile)...)
	if strings.Count(out, "built\n") != 2 {
		t.Errorf("%s", out)
	}
	fetched := f.fetched("manifests")
	if len(f.fetched("blobs")) <= before || fetched["1"] < 2 {
		t.Errorf("the builder did not pull through the mirror: %v", fetched)
	}
}

// TestCarry: what one site's mirror exports, a site without a network builds from.
func TestCarry(t *testing.T) {
	guard(t)
	f := newFront(t, "", "")
	ref := f.push(t, "team/app:1", image.Options{Label: t.Name()})
	d := serve(t, "--registry-ca", f.Address+"="+f.CAFile)
	must(t, "mirror", "prefetch", ref)
	dir := t.TempDir()
	archive, layout := filepath.Join(dir, "images.tar"), filepath.Join(dir, "images")
	for _, to := range []string{archive, layout} {
		if out := must(t, "mirror", "export", "-o", to, ref); !strings.Contains(out, ref) {
			t.Errorf("export: %s", out)
		}
	}
	f.server.Close()
	d.end(t)
	for _, from := range []string{archive, layout} {
		must(t, "mirror", "import", from) // no mirror runs: into its directory
		d := serve(t, "--offline")
		must(t, "mirror", "import", from) // by way of the one that runs
		if out := must(t, "mirror", "ls"); !strings.Contains(out, ref) || !strings.Contains(out, "never") {
			t.Errorf("ls: %s", out)
		}
		must(t, script("docker pull -q "+ref+"; docker run --rm "+ref)...)
		d.end(t)
	}
	r := berth(t, "mirror", "export", "-o", archive, "no.test/such:1")
	if r.code == 0 || strings.Count(r.stderr, "\n") != 1 {
		t.Errorf("an image that is not here: %d %s", r.code, r.stderr)
	}
}
