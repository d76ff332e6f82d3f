package mirror

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-dev/berth/internal/trust"
)

// TestHealthAndFigures: what an operator watches.
func TestHealthAndFigures(t *testing.T) {
	f := newFake(t)
	content := random(1 << 20)
	blob := f.push(content)
	f.tag("a/b:1", blob)
	m, s := newMirror(t, f, nil)
	for _, path := range []string{"/healthz", "/readyz"} {
		if got := get(t, s, path); got.status != 200 || string(got.body) != "ok\n" {
			t.Errorf("%s: %d %q", path, got.status, got.body)
		}
	}
	get(t, s, "/v2/a/b/manifests/1"+ns)
	get(t, s, "/v2/a/b/blobs/"+blob.String()+ns)
	eventually(t, "stored", func() bool { return m.Store().has(blob) })
	get(t, s, "/v2/a/b/blobs/"+blob.String()+ns)
	get(t, s, "/v2/a/b/manifests/none"+ns)
	get(t, s, "/v2/a/b/manifests/1?ns=10.0.0.1")
	figures := "\n" + string(get(t, s, "/metrics").body)
	for _, want := range []string{
		`berth_mirror_requests_total{kind="blob",result="miss",status="200"} 1`, `berth_mirror_requests_total{kind="blob",result="hit",status="200"} 1`,
		`berth_mirror_requests_total{kind="manifest",result="error",status="404"} 1`, `berth_mirror_requests_in_flight 0`, `berth_mirror_downloads_in_flight 0`,
		`berth_mirror_upstream_requests_total{method="GET",registry="registry.test:5000",status="200"} 2`,
		`berth_mirror_upstream_requests_total{method="GET",registry="other",status="error"} 1`, `berth_mirror_upstream_seconds_count{registry="registry.test:5000"} 3`,
		"berth_mirror_stale_total 0", "berth_mirror_evicted_bytes_total 0",
	} {
		if !strings.Contains(figures, "\n"+want+"\n") {
			t.Errorf("no %s in\n%s", want, figures)
		}
	}
	for _, name := range []string{"sent", "received"} { // twice and once, and what goes with it
		if !strings.Contains(figures, "berth_mirror_"+name+"_bytes_total "+map[string]string{"sent": "2.09", "received": "1.04"}[name]) {
			t.Errorf("%s bytes are not right in\n%s", name, figures)
		}
	}
	engines := httptest.NewServer(m.Handler(false))
	defer engines.Close()
	if got := get(t, engines, "/metrics"); got.status != 404 {
		t.Errorf("engines see the figures: %d", got.status)
	}
}

// TestAccessLog has an object for each request, and no credentials.
func TestAccessLog(t *testing.T) {
	var log bytes.Buffer
	var mu sync.Mutex
	f := newFake(t)
	f.users = map[string]string{"alice": "right"}
	d := f.tag("a/b:1", f.push(random(10)))
	_, s := newMirror(t, f, func(c *Config) { c.AccessLog = slog.New(slog.NewJSONHandler(&locked{&mu, &log}, nil)) })
	auth := basic("alice", "right")
	get(t, s, "/v2/a/b/manifests/1"+ns, "Authorization", auth)
	s.Close() // requests have been noted
	var got map[string]any
	if err := json.Unmarshal(log.Bytes(), &got); err != nil {
		t.Fatalf("%v in %s", err, log.Bytes())
	}
	for key, want := range map[string]any{
		"method": "GET", "registry": fakeName, "repository": "a/b", "kind": "manifest", "ref": "1", "status": 200.0, "result": "miss", "bytes": float64(len(f.blobs[d.String()])),
	} {
		if got[key] != want {
			t.Errorf("%s: %v, want %v", key, got[key], want)
		}
	}
	if secret := strings.TrimPrefix(auth, "Basic "); strings.Contains(log.String(), secret) || strings.Contains(log.String(), "right") {
		t.Errorf("credentials are in the log: %s", log.String())
	}
}

type locked struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// TestReferrers are passed on, kept, and asked for again each time.
func TestReferrers(t *testing.T) {
	f := newFake(t)
	subject := f.tag("a/b:1", f.push(random(10)))
	index := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
	down := false
	f.setFault(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/referrers/") {
			return false
		}
		if down {
			w.WriteHeader(503)
			return true
		}
		w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
		w.Write(index)
		return true
	})
	_, s := newMirror(t, f, func(c *Config) { c.TagTTL = -1 })
	path := "/v2/a/b/referrers/" + subject.String() + ns
	for range 2 {
		got := get(t, s, path)
		if got.status != 200 || !bytes.Equal(got.body, index) || got.header.Get("Content-Type") != "application/vnd.oci.image.index.v1+json" {
			t.Errorf("%d %s %v", got.status, got.body, got.header)
		}
	}
	index = bytes.Replace(index, []byte(`[]`), []byte(`[{"digest":"`+subject.String()+`"}]`), 1)
	if got := get(t, s, path); !bytes.Equal(got.body, index) {
		t.Errorf("a new one: %s", got.body)
	}
	down = true
	if got := get(t, s, path); !bytes.Equal(got.body, index) || got.header.Get("Warning") == "" {
		t.Errorf("the registry is down: %d %s %v", got.status, got.body, got.header)
	}
	if got := get(t, s, "/v2/a/b/referrers/sha256:x"+ns); got.status != 400 {
		t.Errorf("no digest: %d", got.status)
	}
}

// TestFreshness: for how long a tag is not asked for again, and by what an unchanged one is
// known of a registry that says no digest.
func TestFreshness(t *testing.T) {
	f := newFake(t)
	f.tag("a/b:1", f.push(random(10)))
	etag := `"one"`
	f.setFault(func(w http.ResponseWriter, r *http.Request) bool {
		next := httptest.NewRecorder()
		f.mu.Lock()
		content := f.blobs[f.tags["a/b:1"]]
		f.mu.Unlock()
		next.Write(content)
		w.Header().Set("ETag", etag)
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		w.Write(next.Body.Bytes())
		return true
	})
	path := "/v2/a/b/manifests/1" + ns
	_, s := newMirror(t, f, func(c *Config) { c.TagTTL = time.Hour })
	for range 3 {
		get(t, s, path)
	}
	if n := f.count("HEAD manifests") + f.count("GET manifests"); n != 1 {
		t.Errorf("the registry was asked %d times within the time to live", n)
	}
	_, s = newMirror(t, f, func(c *Config) { c.TagTTL = -1 })
	get(t, s, path)
	gets := f.count("GET manifests")
	if get(t, s, path); f.count("GET manifests") != gets {
		t.Error("a tag with the same ETag was fetched again")
	}
	etag = `"two"`
	moved := f.tag("a/b:1", f.push(random(10)))
	if got := get(t, s, path); digest.FromBytes(got.body) != moved {
		t.Error("a tag with another ETag was not fetched")
	}
}

// TestFailuresAreRemembered for a moment, so that a registry that has no such thing is not
// asked for it by every client.
func TestFailuresAreRemembered(t *testing.T) {
	f := newFake(t)
	_, s := newMirror(t, f, func(c *Config) { c.FailureTTL = time.Minute })
	for range 3 {
		if got := get(t, s, "/v2/a/b/manifests/1"+ns); got.status != 404 {
			t.Errorf("%d", got.status)
		}
	}
	if n := f.count("GET manifests"); n != 1 {
		t.Errorf("the registry was asked %d times", n)
	}
}

// TestVerifyAlways notices what changes a file and leaves its size and time.
func TestVerifyAlways(t *testing.T) {
	for policy, noticed := range map[Verify]bool{VerifyAlways: true, VerifyOnce: false, VerifyNever: false} {
		f := newFake(t)
		content := random(1 << 20)
		blob := f.push(content)
		f.tag("a/b:1", blob)
		m, s := newMirror(t, f, func(c *Config) { c.Verify = policy })
		path := "/v2/a/b/blobs/" + blob.String() + ns
		get(t, s, "/v2/a/b/manifests/1"+ns)
		get(t, s, path)
		eventually(t, "stored", func() bool { return m.Store().has(blob) })
		file := filepath.Join(m.conf.Dir, blobPath(blob))
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		bad := bytes.Clone(content)
		bad[7] ^= 1
		if err := os.WriteFile(file, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, time.Time{}, info.ModTime()); err != nil {
			t.Fatal(err)
		}
		if got := get(t, s, path); bytes.Equal(got.body, content) != noticed {
			t.Errorf("%s: noticed %v, want %v", policy, !noticed, noticed)
		}
	}
}

// TestDockerConfig finds credentials where docker keeps them, and what is taken out of there is
// not used any more.
func TestDockerConfig(t *testing.T) {
	dir := t.TempDir()
	helper := "#!/bin/sh\nread registry\ncase $registry in helped.test) echo '{\"Username\":\"h\",\"Secret\":\"elped\"}';; broken.test) echo no; exit 1;; *) echo credentials not found in native keychain; exit 1;; esac\n"
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-fake"), []byte(helper), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	file := filepath.Join(dir, "config.json")
	begin := time.Now()
	writeConfig := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		begin = begin.Add(time.Second) // whatever the file system's clock
		if err := os.Chtimes(file, begin, begin); err != nil {
			t.Fatal(err)
		}
	}
	auth := base64.StdEncoding.EncodeToString([]byte("a:uth:x"))
	writeConfig(`{"auths":{"https://index.docker.io/v1/":{"auth":"` + auth + `"},"plain.test:5000":{"username":"p","password":"lain"},"https://url.test":{"auth":"` + auth + `"}},
		"credHelpers":{"helped.test":"fake","broken.test":"fake","none.test":"fake","path.test":"../fake"}}`)
	find := DockerConfig(file)
	for registry, want := range map[string][2]string{
		"docker.io": {"a", "uth:x"}, "plain.test:5000": {"p", "lain"}, "url.test": {"a", "uth:x"}, "helped.test": {"h", "elped"}, "none.test": {}, "other.test": {},
	} {
		user, password, err := find(registry)
		if err != nil || user != want[0] || password != want[1] {
			t.Errorf("%s: %q %q %v", registry, user, password, err)
		}
	}
	for _, registry := range []string{"broken.test", "path.test"} {
		if _, _, err := find(registry); err == nil {
			t.Errorf("%s: no error", registry)
		}
	}
	writeConfig(`{"auths":{}}`)
	for _, registry := range []string{"plain.test:5000", "helped.test", "docker.io"} {
		if user, _, err := find(registry); err != nil || user != "" {
			t.Errorf("%s, after docker logout: %q %v", registry, user, err)
		}
	}
	writeConfig(`{`)
	if _, _, err := find("docker.io"); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("no JSON: %v", err)
	}
}

// TestClientCertificate: a registry that wants one is shown it.
func TestClientCertificate(t *testing.T) {
	authority, err := trust.NewAuthority("Corp Root CA")
	if err != nil {
		t.Fatal(err)
	}
	f := newFake(t)
	f.tag("a/b:1", f.push(random(10)))
	conf, err := authority.Server([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(authority.PEM()))
	own, err := conf.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	conf.GetCertificate, conf.Certificates = nil, []tls.Certificate{*own}
	conf.ClientCAs, conf.ClientAuth = pool, tls.RequireAnyClientCert
	server := httptest.NewUnstartedServer(f)
	server.TLS = conf
	server.StartTLS()
	defer server.Close()
	for name, cert := range map[string]*tls.Certificate{"with": own, "without": nil} {
		_, s := newMirror(t, nil, func(c *Config) {
			c.Upstreams[fakeName] = Upstream{URL: server.URL, CA: authority.PEM(), ClientCert: cert}
		})
		if got := get(t, s, "/v2/a/b/manifests/1"+ns); (got.status == 200) != (cert != nil) {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
}
