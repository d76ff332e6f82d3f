package mirror

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const (
	evilName = "evil.test:5000"
	evilNS   = "?ns=" + evilName
)

// newVictim is a mirror of a registry with one image, and of a hostile one that claims to have
// its blob. sends is what the hostile one answers who asks for that.
func newVictim(t *testing.T, sends http.HandlerFunc) (s *httptest.Server, content []byte, path string) {
	t.Helper()
	f := newFake(t)
	content = random(4 << 20)
	blob := f.push(content)
	f.tag("a/b:1", blob)
	evil := newFake(t)
	evil.setFault(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			sends(w, r)
			return true
		}
		return false
	})
	evil.push(content)
	evil.tag("x/y:1", blob)
	_, s = newMirror(t, f, func(c *Config) { c.Upstreams[evilName] = Upstream{URL: evil.URL} })
	get(t, s, "/v2/a/b/manifests/1"+ns)
	get(t, s, "/v2/x/y/manifests/1"+evilNS)
	return s, content, blob.String()
}

// TestHostileRegistryKeepsABlobFromOthers: one that sends a blob slowly, or does not end, is
// waited for by those alone who asked it.
func TestHostileRegistryKeepsABlobFromOthers(t *testing.T) {
	begun, end := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s, content, blob := newVictim(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(4<<20))
		w.Write(make([]byte, 1<<20))
		http.NewResponseController(w).Flush()
		once.Do(func() { close(begun) })
		<-end
	})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(end)
	wg.Go(func() { get(t, s, "/v2/x/y/blobs/"+blob+evilNS) })
	<-begun
	if got := get(t, s, "/v2/a/b/blobs/"+blob+ns); !bytes.Equal(got.body, content) {
		t.Errorf("%d, %d bytes, %v", got.status, len(got.body), got.err)
	}
}

// TestHostileRegistryPoisonsNoPartialBlob: what one has sent and left unfinished is not the
// begin of what another has.
func TestHostileRegistryPoisonsNoPartialBlob(t *testing.T) {
	s, content, blob := newVictim(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(4<<20))
		w.Write(make([]byte, 3<<20))
		panic(http.ErrAbortHandler)
	})
	if got := get(t, s, "/v2/x/y/blobs/"+blob+evilNS); got.status == 200 && got.err == nil {
		t.Errorf("served as complete: %d bytes", len(got.body))
	}
	if got := get(t, s, "/v2/a/b/blobs/"+blob+ns); !bytes.Equal(got.body, content) {
		t.Errorf("%d, %d bytes, %v", got.status, len(got.body), got.err)
	}
}

// TestHostileRegistryEmptiesNoCache: a blob that is larger than all that may be kept takes no
// room, whether its registry says its size or not.
func TestHostileRegistryEmptiesNoCache(t *testing.T) {
	for name, size := range map[string]string{"said": "67108864", "not said": ""} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			kept, large := f.push(random(1<<20)), f.push([]byte("not asked for by this"))
			f.tag("a/b:1", kept, large)
			m, s := newMirror(t, f, func(c *Config) { c.MaxSize = 8 << 20 })
			get(t, s, "/v2/a/b/manifests/1"+ns)
			get(t, s, "/v2/a/b/blobs/"+kept.String()+ns)
			eventually(t, "stored", func() bool { return m.Store().has(kept) })
			f.setFault(func(w http.ResponseWriter, r *http.Request) bool {
				if size != "" {
					w.Header().Set("Content-Length", size)
				}
				for range 64 {
					if _, err := w.Write(make([]byte, 1<<20)); err != nil {
						break
					}
					http.NewResponseController(w).Flush()
				}
				return true
			})
			got := get(t, s, "/v2/a/b/blobs/"+large.String()+ns)
			if got.status == 200 && got.err == nil || got.status != 200 && !strings.Contains(string(got.body), "--max-size") {
				t.Errorf("%d, %.200s, %v", got.status, got.body, got.err)
			}
			if !m.Store().has(kept) {
				t.Error("other content had to go for it")
			}
			var bytes int64
			for _, name := range glob(t, m.conf.Dir, "partial/*") {
				if info, err := os.Stat(name); err == nil {
					bytes += info.Size()
				}
			}
			if bytes > 8<<20 {
				t.Errorf("%d bytes of it are kept", bytes)
			}
		})
	}
}

func glob(t *testing.T, dir, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestHostileMediaType: what a manifest says of itself becomes a header of the mirror's.
func TestHostileMediaType(t *testing.T) {
	f := newFake(t)
	manifest := f.push([]byte(`{"schemaVersion":2,"mediaType":"a/b\r\nSet-Cookie: x=y"}`))
	_, s := newMirror(t, f, nil)
	got := get(t, s, "/v2/a/b/manifests/"+manifest.String()+ns)
	if got.status != 502 || got.header.Get("Set-Cookie") != "" {
		t.Errorf("%d %v", got.status, got.header)
	}
}

// TestOwnAddresses: from this machine, its own public addresses reach what others do not.
func TestOwnAddresses(t *testing.T) {
	addrs, err := net.InterfaceAddrs()
	if err != nil || len(addrs) == 0 {
		t.Fatalf("no addresses: %v", err)
	}
	for _, a := range addrs {
		own := netip.MustParsePrefix(a.String()).Addr()
		if !ours(own) {
			t.Errorf("%s is not known", own)
		}
		if err := guard("tcp", netip.AddrPortFrom(own, 443).String(), nil); err == nil {
			t.Errorf("%s may be reached", own)
		}
	}
	if ours(netip.MustParseAddr("8.8.8.8")) {
		t.Error("this machine is not 8.8.8.8")
	}
}

// TestSocketIsClosedToOthers from the moment that it can be found.
func TestSocketIsClosedToOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for range 2 {
		l, err := ListenUnix(path)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v %v", info, err)
		}
		if _, err := ListenUnix(path); err == nil {
			t.Error("a second one listens there")
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if left := glob(t, filepath.Dir(path), "*"); len(left) > 0 {
			t.Errorf("left %v", left)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // as one that was killed
	l.Close()
	again, err := ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

// TestLargeManifests: a registry whose manifests are all as large as they may be does not have
// the mirror hold more than a few of them.
func TestLargeManifests(t *testing.T) {
	f := newFake(t)
	large := []byte(`{"schemaVersion":2,"pad":"` + strings.Repeat("x", maxManifest-28) + `"}`)
	release := make(chan struct{})
	f.setFault(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/manifests/") {
			return false
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(large)))
		_, _ = w.Write(large[:1])
		w.(http.Flusher).Flush()
		<-release
		_, _ = w.Write(large[1:])
		return true
	})
	m, s := newMirror(t, f, nil)
	var wg sync.WaitGroup
	for i := range manifestMemory/maxManifest + 2 {
		wg.Go(func() {
			if got := get(t, s, fmt.Sprintf("/v2/a/b/manifests/%d", i)+ns); got.status != 200 || len(got.body) != len(large) {
				t.Errorf("tag %d: %d, %d bytes, %v", i, got.status, len(got.body), got.err)
			}
		})
	}
	u, err := m.upstream(fakeName)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "no more than that is read", func() bool {
		free := u.manifests.TryAcquire(maxManifest)
		if free {
			u.manifests.Release(maxManifest)
		}
		return !free
	})
	close(release)
	wg.Wait()
}
