package mirror

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// fakeRegistry is a registry whose faults a test chooses.
type fakeRegistry struct {
	*httptest.Server
	mu        sync.Mutex
	blobs     map[string][]byte // by digest
	tags      map[string]string // repo:tag to digest
	requests  map[string]int    // by "METHOD kind"
	users     map[string]string // password by user; not empty: needed
	tokens    bool              // by a token server instead of basic
	fault     func(w http.ResponseWriter, r *http.Request) bool
	rate      int // bytes a second; 0: any
	blobBytes int64
}

const fakeName = "registry.test:5000"

func newFake(t *testing.T) *fakeRegistry {
	t.Helper()
	f := &fakeRegistry{blobs: map[string][]byte{}, tags: map[string]string{}, requests: map[string]int{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fakeRegistry) push(content []byte) digest.Digest {
	d := digest.FromBytes(content)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.blobs[d.String()] = content
	return d
}

func (f *fakeRegistry) tag(ref string, blobs ...digest.Digest) digest.Digest {
	body, _ := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": blobs})
	d := f.push(body)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tags[ref] = d.String()
	return d
}

func (f *fakeRegistry) setFault(fault func(w http.ResponseWriter, r *http.Request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

func (f *fakeRegistry) count(what string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests[what]
}

func (f *fakeRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	what := "token"
	for _, k := range []string{"manifests", "blobs", "tags", "referrers"} {
		if strings.Contains(r.URL.Path, "/"+k+"/") {
			what = k
		}
	}
	f.mu.Lock()
	f.requests[r.Method+" "+what]++
	fault := f.fault
	f.mu.Unlock()
	if fault != nil && fault(w, r) {
		return
	}
	if what == "token" {
		f.serveToken(w, r)
		return
	}
	if !f.admit(w, r) {
		return
	}
	repo, ref, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/"+what+"/")
	if what == "tags" {
		w.Header().Set("Link", `</v2/`+repo+`/tags/list?last=b&n=2>; rel="next"`)
		fmt.Fprintf(w, `{"name":%q,"tags":["a","b"]}`, repo)
		return
	}
	f.mu.Lock()
	if d, ok := f.tags[repo+":"+ref]; ok {
		ref = d
	}
	content, ok := f.blobs[ref]
	f.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Docker-Content-Digest", ref)
	if what == "manifests" {
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		w.Write(content)
		return
	}
	http.ServeContent(&slow{w, f}, r, "", time.Time{}, bytes.NewReader(content))
}

// slow limits the rate, and counts.
type slow struct {
	http.ResponseWriter
	f *fakeRegistry
}

func (s *slow) Write(b []byte) (int, error) {
	if s.f.rate > 0 {
		time.Sleep(time.Duration(len(b)) * time.Second / time.Duration(s.f.rate))
	}
	n, err := s.ResponseWriter.Write(b)
	s.f.mu.Lock()
	s.f.blobBytes += int64(n)
	s.f.mu.Unlock()
	return n, err
}

func (f *fakeRegistry) admit(w http.ResponseWriter, r *http.Request) bool {
	if len(f.users) == 0 {
		return true
	}
	if !f.tokens {
		user, password, _ := r.BasicAuth()
		if user != "" && f.users[user] == password {
			return true
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="fake"`)
		w.WriteHeader(http.StatusUnauthorized)
		return false
	}
	repo, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/manifests/")
	repo, _, _ = strings.Cut(repo, "/blobs/")
	if r.Header.Get("Authorization") == "Bearer "+base64.StdEncoding.EncodeToString([]byte("repository:"+repo+":pull")) {
		return true
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="`+f.URL+`/token?x=1",service="fake, the registry",scope="repository:`+repo+`:pull"`)
	w.WriteHeader(http.StatusUnauthorized)
	return false
}

func (f *fakeRegistry) serveToken(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	scope := r.URL.Query().Get("scope")
	public := strings.HasPrefix(scope, "repository:public/")
	if !public && (user == "" || f.users[user] != password) || r.URL.Query().Get("service") != "fake, the registry" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	json.NewEncoder(w).Encode(map[string]any{"token": base64.StdEncoding.EncodeToString([]byte(scope)), "expires_in": 300})
}

// newMirror is a mirror of the fake, by its name.
func newMirror(t *testing.T, f *fakeRegistry, change func(*Config)) (*Mirror, *httptest.Server) {
	t.Helper()
	conf := Config{Dir: t.TempDir(), FailureTTL: -1, Upstreams: map[string]Upstream{}}
	if f != nil {
		conf.Upstreams[fakeName] = Upstream{URL: f.URL}
	}
	if change != nil {
		change(&conf)
	}
	m, err := New(conf)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(m.Handler(true))
	t.Cleanup(func() {
		s.Close()
		m.Close()
	})
	return m, s
}

type answered struct {
	status int
	body   []byte
	header http.Header
	err    error
}

func ask(t *testing.T, s *httptest.Server, method, path string, header ...string) answered {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := s.Client().Do(r)
	if err != nil {
		return answered{err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answered{resp.StatusCode, body, resp.Header, err}
}

func get(t *testing.T, s *httptest.Server, path string, header ...string) answered {
	t.Helper()
	return ask(t, s, http.MethodGet, path, header...)
}

const ns = "?ns=" + fakeName

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}
