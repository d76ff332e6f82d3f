package mirror

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/berth-dev/berth/internal/trust"
	"github.com/berth-dev/berth/test/image"
	"github.com/berth-dev/berth/test/registry"
)

// front is what clients reach: TLS, counters and faults before a distribution/v3 registry.
type front struct {
	Address string // host:port
	CAFile  string
	backend *registry.Registry
	server  *http.Server

	authority       *trust.Authority
	wantCertificate atomic.Bool // of clients

	mu       sync.Mutex
	requests map[string]int // "METHOD blobs sha256:…" and the like
	fault    func(http.ResponseWriter, *http.Request) bool
}

// newFront starts a registry; user and password are needed when they are not empty.
func newFront(t *testing.T, user, password string) *front {
	t.Helper()
	return newFrontOf(t, registry.Options{User: user, Password: password})
}

func newFrontOf(t *testing.T, o registry.Options) *front {
	t.Helper()
	dir := t.TempDir()
	o.Dir = t.TempDir()
	backend, err := registry.Start(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { backend.Close() })
	authority, err := trust.NewAuthority("Corp Root CA")
	if err != nil {
		t.Fatal(err)
	}
	conf, err := authority.Server([]string{registryHost})
	if err != nil {
		t.Fatal(err)
	}
	conf.ClientAuth = tls.RequestClientCert
	f := &front{authority: authority, CAFile: filepath.Join(dir, "ca.pem"), backend: backend, requests: map[string]int{}}
	if err := os.WriteFile(f.CAFile, []byte(authority.PEM()), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	f.Address = fmt.Sprintf("%s:%d", registryHost, l.Addr().(*net.TCPAddr).Port)
	proxy := proxyTo(backend)
	f.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.serve(w, r, proxy) }), ErrorLog: nil}
	go f.server.Serve(tls.NewListener(l, conf))
	t.Cleanup(func() { f.server.Close() })
	return f
}

func (f *front) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	parts := strings.Split(r.URL.Path, "/")
	f.mu.Lock()
	if len(parts) > 3 {
		f.requests[r.Method+" "+parts[len(parts)-2]+" "+parts[len(parts)-1]]++
	}
	fault := f.fault
	f.mu.Unlock()
	if f.wantCertificate.Load() && len(r.TLS.PeerCertificates) == 0 {
		http.Error(w, "a client certificate is needed", http.StatusForbidden)
		return
	}
	if fault != nil && fault(w, r) {
		return
	}
	next.ServeHTTP(w, r)
}

func (f *front) setFault(fault func(http.ResponseWriter, *http.Request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

// fetched returns how often each blob was asked for by GET.
func (f *front) fetched(what string) map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[string]int{}
	for k, n := range f.requests {
		if name, ok := strings.CutPrefix(k, "GET "+what+" "); ok {
			out[name] = n
		}
	}
	return out
}

// push puts an image into the registry and returns its reference by way of the front.
func (f *front) push(t *testing.T, repo string, o image.Options) string {
	t.Helper()
	img, err := image.Build(o)
	if err != nil {
		t.Fatal(err)
	}
	f.pushImage(t, repo, img)
	return f.Address + "/" + repo
}

func (f *front) pushImage(t *testing.T, repo string, img v1.Image) {
	t.Helper()
	if err := image.Push(f.backend.Address()+"/"+repo, img, f.backend.Transport(), nil); err != nil {
		t.Fatal(err)
	}
}

// pushAs pushes with credentials.
func pushAs(t *testing.T, f *front, repo string, img v1.Image, user, password string) {
	t.Helper()
	if err := image.Push(f.backend.Address()+"/"+repo, img, f.backend.Transport(), &authn.Basic{Username: user, Password: password}); err != nil {
		t.Fatal(err)
	}
}

func proxyTo(backend *registry.Registry) http.Handler {
	target, _ := url.Parse(backend.URL())
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
	}, Transport: backend.Transport(), FlushInterval: -1}
}
