package snapshot

import (
	"io"
	"log"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/berth-dev/berth/test/image"
	"github.com/berth-dev/berth/test/leak"
	"github.com/berth-dev/berth/test/registry"
)

// fetches is a registry's handler that notes which blobs it has given out.
type fetches struct {
	http.Handler
	mu    sync.Mutex
	blobs []string
}

func (f *fetches) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if at := strings.LastIndex(r.URL.Path, "/blobs/sha256:"); at >= 0 && r.Method == http.MethodGet {
		f.mu.Lock()
		f.blobs = append(f.blobs, r.URL.Path[at+len("/blobs/"):])
		f.mu.Unlock()
	}
	f.Handler.ServeHTTP(w, r)
}

// take returns what was given out since the last call.
func (f *fetches) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.blobs
	f.blobs = nil
	return out
}

// serve starts a registry that goes by a name, and returns the flags with which an engine
// uses it.
func serve(t *testing.T, host string) (*registry.Registry, *fetches, []string) {
	t.Helper()
	f := &fetches{Handler: ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))}
	reg, err := registry.Start(t.Context(), registry.Options{Dir: t.TempDir(), Host: host, Handler: f})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reg.Close() })
	return reg, f, []string{"--registry-ca", reg.Address() + "=" + reg.CAFile, "--add-host", reg.Host + ":host-gateway"}
}

// push builds an image and pushes it as ref.
func push(t *testing.T, reg *registry.Registry, ref string, o image.Options) v1.Image {
	t.Helper()
	img, err := image.Build(o)
	if err == nil {
		err = image.Push(ref, img, reg.Transport(), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// An update fetches what has changed and nothing else, and the manifest says what is inside.
func TestUpdatePullsOnlyWhatChanged(t *testing.T) {
	leak.Guard(t, scope)
	reg, fetched, flags := serve(t, registry.DefaultHost)
	t.Cleanup(func() { must(t, "snapshot", "rm", "-f", "nightly"); must(t, "gc") })
	ref := reg.Address() + "/app:1"
	create := func(more ...string) manifest {
		t.Helper()
		var m manifest
		decode(t, must(t, append(append([]string{"snapshot", "create", "nightly", "--json", "--pull", ref}, more...), flags...)...), &m)
		return m
	}
	push(t, reg, ref, image.Options{Label: "one", Ballast: 8 << 20})
	first := create()
	had := map[string]bool{}
	for _, blob := range fetched.take() {
		had[blob] = true
	}
	img := push(t, reg, ref, image.Options{Label: "two", Ballast: 8 << 20})
	fetched.take()
	second := create("--update")
	again := fetched.take()
	if len(had) < 4 || len(again) == 0 || len(again) >= len(had) {
		t.Errorf("at first %d blobs were fetched, by the update %d", len(had), len(again))
	}
	for _, blob := range again {
		if had[blob] {
			t.Errorf("blob %s was fetched again", blob)
		}
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if len(second.Layers) >= len(first.Layers) || second.Version != 2 {
		t.Errorf("version %d has %d layers of its own, version 1 %d", second.Version, len(second.Layers), len(first.Layers))
	}
	second.check(t, ref, digest.String())
	for version, label := range map[string]string{"@1": "one", "@2": "two", "": "two"} {
		ok(t, "nightly"+version, berth(t, "run", "--from", "nightly"+version, "--", "docker", "inspect", "-f", `{{index .Config.Labels "berth.test"}}`, ref), label)
	}
	reg.Close()
	refused := berth(t, append([]string{"snapshot", "create", "nightly", "--update", "--pull", ref}, flags...)...)
	if refused.code == 0 || must(t, "snapshot", "ls", "-q", "nightly") != "nightly@1\nnightly@2" {
		t.Errorf("an update without a registry: %s", refused)
	}
}

// manifest is what inspect and create --json print, as far as tests look at it.
type manifest struct {
	Name            string
	Version         int
	Created         time.Time
	Sources         []string
	Payload, Engine string
	Images          []struct {
		Name, Digest string
		Size         int64
	}
	Layers []struct{ Name string }
	Size   struct{ Layers, Blobs, Metadata int64 }
}

// check compares the manifest of a snapshot with one image with what a fork says of it.
func (m manifest) check(t *testing.T, ref, digest string) {
	t.Helper()
	var shown []manifest
	text := must(t, "snapshot", "inspect", m.Name)
	if !strings.HasPrefix(text, "[") {
		text = "[" + text + "]"
	}
	decode(t, text, &shown)
	got := shown[0]
	if len(got.Images) != 1 || got.Images[0].Name != ref || got.Images[0].Digest != digest || got.Images[0].Size < 8<<20 {
		t.Errorf("images %+v, want %s of %s", got.Images, ref, digest)
	}
	if len(got.Sources) != 1 || got.Sources[0] != "pull "+ref || time.Since(got.Created) > limit || got.Payload == "" || got.Size.Blobs == 0 || got.Size.Metadata == 0 {
		t.Errorf("%+v", got)
	}
	ok(t, "its engine", berth(t, "run", "--from", m.Name, "--", "docker", "version", "-f", "{{.Server.Version}}"), got.Engine)
}

// truth prints what must be the same wherever the images came from, sizes and all.
const truth = `docker info -f '{{.Images}} {{.Containers}} {{.Driver}} {{.DriverStatus}} {{.DockerRootDir}} {{.Warnings}}'
docker images --digests --no-trunc --format '{{.Repository}} {{.Digest}} {{.ID}} {{.Size}}'
docker system df --format '{{.Type}} {{.TotalCount}} {{.Active}} {{.Size}} {{.Reclaimable}}'
docker system df -v --format '{{json .Images}}' | sed 's/"CreatedSince":"[^"]*"//'
docker image prune -af
docker system df --format '{{.Type}} {{.TotalCount}} {{.Active}} {{.Size}} {{.Reclaimable}}'
docker info -f '{{.Images}}'`

// What a fork says of its disk, and what pruning frees, is what an engine that loaded the
// same images says.
func TestForkTellsTheTruth(t *testing.T) {
	leak.Guard(t, scope)
	must(t, "snapshot", "create", "told", "--load", imageTar)
	t.Cleanup(func() { must(t, "snapshot", "rm", "told"); must(t, "gc") })
	fresh := must(t, "run", "--", "sh", "-ec", "docker load -q -i "+imageTar+" >/dev/null; "+truth)
	for _, driver := range []string{"link", "copy"} {
		r := berthWith(t, []string{"BERTH_SNAPSHOT_DRIVER=" + driver}, "run", "--from", "told", "--", "sh", "-ec", truth)
		if r.code != 0 || r.out != fresh || !strings.Contains(r.out, "Total reclaimed space") {
			t.Errorf("a fork (%s):\n%s\nan engine that loaded the images:\n%s", driver, r, fresh)
		}
	}
}

// Layers that an engine without a user namespace made are refused to one that has it, and
// converted when they travel.
func TestRootfulSnapshot(t *testing.T) {
	leak.Guard(t, scope)
	must(t, "snapshot", "create", "root", "--isolation", "rootful", "--load", imageTar, "--build", buildDir)
	t.Cleanup(func() { must(t, "snapshot", "rm", "-f", "root", "user"); must(t, "gc") })
	before := hash(t, store)
	refused(t, []string{"root@1", "--isolation rootful", "--isolation userns"}, "run", "--from", "root", "--", "true")
	ok(t, "a rootful fork", berth(t, "run", "--isolation", "rootful", "--from", "root", "--", "docker", "run", "--rm", "build", "sh", "-ec", look), "replaced", "only", "1000:1000")
	same(t, before, hash(t, store))
	archive := t.TempDir() + "/root.tar"
	must(t, "snapshot", "export", "-o", archive, "root")
	must(t, "snapshot", "import", "--isolation", "userns", archive, "user")
	must(t, "snapshot", "verify", "user")
	ok(t, "converted", berth(t, "run", "--from", "user", "--", "docker", "run", "--rm", "build", "sh", "-ec", look), "replaced", "only", "1000:1000")
}
