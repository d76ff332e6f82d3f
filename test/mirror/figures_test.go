package mirror

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // driver chosen below
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/sirupsen/logrus"

	"github.com/berth-dev/berth/test/image"
	"github.com/berth-dev/berth/test/registry"
)

// envFigures, when set to 1, has the figures taken: they need minutes and a quiet machine.
const envFigures = "BERTH_TEST_FIGURES"

func figures(t *testing.T) {
	if os.Getenv(envFigures) != "1" {
		t.Skip("takes figures; set " + envFigures + "=1")
	}
}

// TestAgainstDistribution: 16 clients pull one image at once, by way of the mirror and by
// way of distribution/v3 as a proxy, from a registry that gives 50 MB/s in all.
func TestAgainstDistribution(t *testing.T) {
	figures(t)
	logrus.SetOutput(io.Discard)
	backend, err := registry.Start(context.Background(), registry.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Close()
	f := &front{requests: map[string]int{}, rate: 50e6}
	proxy := proxyTo(backend)
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.serve(w, r, proxy) }))
	defer slow.Close()
	img, err := image.Build(image.Options{Label: t.Name(), Ballast: 60 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if err := image.Push(backend.Address()+"/team/app:1", img, backend.Transport(), nil); err != nil {
		t.Fatal(err)
	}
	d := serve(t, "--socket", "none", "--listen", "127.0.0.1:0", "--plain-http", "--upstream", "registry.test="+slow.URL)
	base := strings.TrimSpace(d.ready[strings.Index(d.ready, "http://")+7:])
	var took [2][2]time.Duration
	for i, at := range []string{base + "/registry.test/team/app:1", distributionProxy(t, slow.URL) + "/team/app:1"} {
		for j := range 2 {
			f.mu.Lock()
			f.bytes = 0
			f.mu.Unlock()
			begin := time.Now()
			var wg sync.WaitGroup
			for range 16 {
				wg.Go(func() { pull(t, at) })
			}
			wg.Wait()
			took[i][j] = time.Since(begin)
			t.Logf("%s, %s: %.2f s, %d MB from the registry", []string{"mirror", "distribution"}[i], []string{"cold", "warm"}[j], took[i][j].Seconds(), f.bytes/1e6)
		}
	}
	t.Logf("cold: %.1f times as fast; warm: %.1f times", took[1][0].Seconds()/took[0][0].Seconds(), took[1][1].Seconds()/took[0][1].Seconds())
}

// pull reads all of an image.
func pull(t *testing.T, at string) {
	ref, err := name.ParseReference(at, name.Insecure)
	if err != nil {
		t.Error(err)
		return
	}
	img, err := remote.Image(ref)
	if err != nil {
		t.Error(err)
		return
	}
	layers, err := img.Layers()
	if err != nil {
		t.Error(err)
		return
	}
	for _, l := range layers {
		r, err := l.Compressed()
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			t.Error(err)
		}
		r.Close()
	}
}

func distributionProxy(t *testing.T, upstream string) string {
	conf := &configuration.Configuration{Storage: configuration.Storage{
		"filesystem":  configuration.Parameters{"rootdirectory": t.TempDir()},
		"maintenance": configuration.Parameters{"uploadpurging": map[any]any{"enabled": false}},
	}}
	conf.Proxy.RemoteURL = upstream
	conf.Log.AccessLog.Disabled = true
	ctx, cancel := context.WithCancel(context.Background())
	app := handlers.NewApp(ctx, conf)
	s := httptest.NewServer(app)
	t.Cleanup(func() {
		s.Close()
		app.Shutdown()
		cancel()
	})
	return strings.TrimPrefix(s.URL, "http://")
}

// TestAgainstNginx: a blob that is here, and a manifest that is.
func TestAgainstNginx(t *testing.T) {
	figures(t)
	program, err := exec.LookPath("nginx")
	if err != nil {
		t.Skip("no nginx; apt-get install nginx-light")
	}
	u := newUpstream(t, 500<<20)
	_, url := u.plain(t)
	if _, err := download(url, sha256.New()); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	os.Chmod(dir, 0o755)
	os.Chmod(filepath.Dir(u.file), 0o755)
	os.Chmod(filepath.Dir(filepath.Dir(u.file)), 0o755)
	conf := filepath.Join(dir, "nginx.conf")
	write(t, conf, fmt.Sprintf("daemon off; pid %s/pid; error_log stderr; user root; worker_processes auto;\nevents {}\nhttp { access_log off; sendfile on; client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s; server { listen 127.0.0.1:18080; location / { root %s; } } }\n", dir, filepath.Dir(u.file)))
	cmd := exec.Command(program, "-c", conf, "-p", dir)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Signal(os.Interrupt); cmd.Wait() }()
	for range 100 {
		if resp, err := http.Head("http://127.0.0.1:18080/blob"); err == nil {
			resp.Body.Close()
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	var best [2]float64
	for range 5 { // in turn, so that both meet the same noise
		for i, at := range []string{url, "http://127.0.0.1:18080/blob"} {
			begin := time.Now()
			if n, err := download(at, nil); err != nil || n != u.size {
				t.Fatalf("%s: %d %v", at, n, err)
			}
			best[i] = max(best[i], float64(u.size)/1e6/time.Since(begin).Seconds())
		}
	}
	t.Logf("mirror %.0f MB/s, nginx %.0f MB/s: %.2f", best[0], best[1], best[0]/best[1])
}

func TestManifestLatency(t *testing.T) {
	figures(t)
	f := newFront(t, "", "")
	f.push(t, "team/app:1", image.Options{Label: t.Name()})
	d := serve(t, "--socket", "none", "--listen", "127.0.0.1:0", "--plain-http", "--registry-ca", f.Address+"="+f.CAFile, "--tag-ttl", "1h")
	url := strings.TrimSpace(d.ready[strings.Index(d.ready, "http://"):]) + "/v2/team/app/manifests/1?ns=" + f.Address
	var took []time.Duration
	for range 2000 {
		begin := time.Now()
		if _, err := download(url, nil); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	t.Logf("p50 %s, p99 %s", took[len(took)/2], took[len(took)*99/100])
}
