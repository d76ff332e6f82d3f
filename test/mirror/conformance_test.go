package mirror

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/berth-dev/berth/test/registry"
)

// pulls are the requirements of the distribution specification's tests that a mirror has to
// meet; what is pushed and deleted goes to the registry, which has no referrers.
var pulls = []string{"Blob get", "Blob head", "Manifest get by digest", "Manifest get by tag", "Manifest head by digest", "Manifest head by tag", "Tag listing", "Ping"}

// TestConformance runs the distribution specification's own tests against each kind of
// address: they push to the registry, and read by way of the mirror.
func TestConformance(t *testing.T) {
	guard(t)
	program, err := filepath.Abs("../../.cache/test/conformance/conformance")
	if err == nil {
		_, err = os.Stat(program)
	}
	if err != nil {
		t.Fatalf("%v; run `make test-deps`", err)
	}
	backend, err := registry.Start(t.Context(), registry.Options{Dir: t.TempDir(), OnDisk: true})
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Close()
	upstream := httptest.NewServer(proxyTo(backend))
	defer upstream.Close()
	d := serve(t, "--socket", "none", "--listen", "127.0.0.1:0", "--plain-http", "--tag-ttl", "0",
		"--upstream", "registry.test="+upstream.URL, "--upstream", "docker.io="+upstream.URL)
	base := strings.TrimSpace(d.ready[strings.Index(d.ready, "http://"):])
	direct := conformance(t, program, split(t, upstream.URL, upstream.URL, "", ""), "direct")
	if n := len(direct); n < len(pulls) {
		t.Fatalf("without a mirror only %d requirements are met: %v", n, direct)
	}
	for _, address := range []struct{ name, ns, repo, prefix string }{
		{"ns", "registry.test", "by/ns", ""},
		{"path prefix", "", "by/prefix", "registry.test/"},
		{"Docker Hub mirror", "", "by/nothing", ""},
	} {
		t.Run(address.name, func(t *testing.T) {
			met := conformance(t, program, split(t, upstream.URL, base, address.ns, address.prefix), address.prefix+address.repo)
			for requirement := range direct {
				if !met[requirement] {
					t.Errorf("%s: not met by way of the mirror", requirement)
				}
			}
		})
	}
}

// conformance runs the tests and returns which requirements of pulls are met.
func conformance(t *testing.T, program string, h http.Handler, repo string) map[string]bool {
	t.Helper()
	s := httptest.NewServer(h)
	defer s.Close()
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Dir = t.TempDir()
	cmd.Env = []string{
		"PATH=/usr/bin:/bin", "OCI_REGISTRY=" + strings.TrimPrefix(s.URL, "http://"), "OCI_TLS=disabled", "OCI_RESULTS_DIR=" + cmd.Dir,
		"OCI_REPO1=" + repo + "/1", "OCI_REPO2=" + repo + "/2",
		"OCI_API_BLOBS_DELETE=false", "OCI_API_MANIFESTS_DELETE=false", "OCI_API_TAGS_DELETE=false",
		"OCI_API_REFERRER=false", "OCI_DATA_SHA512=false", "OCI_DATA_NONDISTRIBUTABLE=false", // the registry has none of these
	}
	out, _ := cmd.CombinedOutput() // it fails for what the registry itself cannot do
	met := map[string]bool{}
	for _, requirement := range pulls {
		if regexp.MustCompile(`(?m)^ *` + requirement + `\.+: +Pass$`).Match(out) {
			met[requirement] = true
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s", out)
		}
	})
	return met
}

// split sends what reads to the mirror, saying ns as containerd does and the tests cannot,
// and the rest to the registry, which knows nothing of the prefix.
func split(t *testing.T, registry, mirror, ns, prefix string) http.Handler {
	t.Helper()
	to, err := url.Parse(registry)
	if err != nil {
		t.Fatal(err)
	}
	through, err := url.Parse(mirror)
	if err != nil {
		t.Fatal(err)
	}
	answer := func(r *http.Response) error { // the registry believes to have TLS
		if l := r.Header.Get("Location"); l != "" {
			r.Header.Set("Location", strings.Replace(l, "https://", "http://", 1))
		}
		return nil
	}
	return &httputil.ReverseProxy{ErrorLog: log.New(io.Discard, "", 0), ModifyResponse: answer, Rewrite: func(r *httputil.ProxyRequest) {
		if m := r.In.Method; m != http.MethodGet && m != http.MethodHead || strings.Contains(r.In.URL.Path, "/blobs/uploads/") {
			r.SetURL(to)
			r.Out.URL.Path = strings.Replace(r.Out.URL.Path, "/v2/"+prefix, "/v2/", 1)
			r.Out.Host = r.In.Host
			return
		}
		r.SetURL(through)
		if ns != "" {
			q := r.Out.URL.Query()
			q.Set("ns", ns)
			r.Out.URL.RawQuery = q.Encode()
		}
	}}
}
