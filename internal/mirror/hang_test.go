package mirror

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// brief are timeouts of a mirror whose registry does not answer.
func brief(c *Config) {
	c.Timeouts = Timeouts{Dial: time.Second, Header: 300 * time.Millisecond, Stall: 300 * time.Millisecond, Stale: 100 * time.Millisecond, Linger: 50 * time.Millisecond}
}

// hangs keeps requests of a kind without an answer until the test or the client ends.
func hangs(t *testing.T, f *fakeRegistry, what string) (hanging *atomic.Int32) {
	hanging = &atomic.Int32{}
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	f.setFault(func(_ http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, what) {
			return false
		}
		hanging.Add(1)
		defer hanging.Add(-1)
		select {
		case <-over:
		case <-r.Context().Done():
		}
		return true
	})
	return hanging
}

func TestHeadersNeverCome(t *testing.T) {
	f := newFake(t)
	blob := f.push(random(1 << 20))
	f.tag("a/b:1", blob)
	_, s := newMirror(t, f, brief)
	get(t, s, "/v2/a/b/manifests/1"+ns)
	hangs(t, f, "/v2/")
	for _, path := range []string{"/v2/a/b/manifests/2", "/v2/a/b/blobs/" + blob.String(), "/v2/a/b/tags/list"} {
		got := get(t, s, path+ns)
		if got.status < 500 && got.header.Get("Warning") == "" || got.status >= 500 && !strings.Contains(string(got.body), fakeName) {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
}

// TestStaleWithoutWaiting: who can be served at once is not kept until a dead registry's time is over.
func TestStaleWithoutWaiting(t *testing.T) {
	f := newFake(t)
	d := f.tag("a/b:1", f.push(random(10)))
	m, s := newMirror(t, f, func(c *Config) {
		brief(c)
		c.TagTTL, c.Timeouts.Header = -1, time.Minute
	})
	get(t, s, "/v2/a/b/manifests/1"+ns)
	hanging := hangs(t, f, "/manifests/")
	got := get(t, s, "/v2/a/b/manifests/1"+ns)
	if digest.FromBytes(got.body) != d || got.header.Get("Warning") == "" || hanging.Load() != 1 {
		t.Errorf("%d %s %v, %d requests", got.status, got.body, got.header, hanging.Load())
	}
	metrics := get(t, s, "/metrics")
	if !strings.Contains(string(metrics.body), "\nberth_mirror_stale_total 1\n") {
		t.Errorf("metrics: %s", metrics.body)
	}
	m.Close() // the question must not outlive the mirror
	eventually(t, "the registry is left alone", func() bool { return hanging.Load() == 0 })
}

// TestStallInTheMiddle: a registry that stops in the middle of a blob is asked for the rest.
func TestStallInTheMiddle(t *testing.T) {
	f := newFake(t)
	content := random(4 << 20)
	blob := f.push(content)
	f.tag("a/b:1", blob)
	var stalls atomic.Int32
	f.setFault(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/blobs/") || stalls.Add(1) > 1 {
			return false
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		w.Write(content[:3<<20])
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return true
	})
	_, s := newMirror(t, f, brief)
	get(t, s, "/v2/a/b/manifests/1"+ns)
	got := get(t, s, "/v2/a/b/blobs/"+blob.String()+ns)
	f.mu.Lock()
	defer f.mu.Unlock()
	if !bytes.Equal(got.body, content) || f.blobBytes != 1<<20 {
		t.Errorf("%d, %d bytes, %v; %d bytes were fetched afterwards", got.status, len(got.body), got.err, f.blobBytes)
	}
}

// TestClientLeavesHangingRegistry: what nobody waits for is not asked for any longer.
func TestClientLeavesHangingRegistry(t *testing.T) {
	f := newFake(t)
	blob := f.push(random(1 << 20))
	f.tag("a/b:1", blob)
	m, s := newMirror(t, f, func(c *Config) {
		brief(c)
		c.Timeouts.Header = time.Minute
	})
	get(t, s, "/v2/a/b/manifests/1"+ns)
	hanging := hangs(t, f, "/blobs/")
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		r, _ := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/v2/a/b/blobs/"+blob.String()+ns, nil)
		if resp, err := s.Client().Do(r); err == nil {
			t.Errorf("an answer: %s", resp.Status)
			resp.Body.Close()
		}
	})
	eventually(t, "the registry is asked", func() bool { return hanging.Load() == 1 })
	cancel()
	wg.Wait()
	eventually(t, "the registry is left alone", func() bool { return hanging.Load() == 0 })
	if m.Store().has(blob) {
		t.Error("stored")
	}
}

// TestLastClientLeaves: a download ends or goes on, as the policy says.
func TestLastClientLeaves(t *testing.T) {
	for _, finish := range []bool{false, true} {
		f := newFake(t)
		content := random(4 << 20)
		blob := f.push(content)
		f.tag("a/b:1", blob)
		m, s := newMirror(t, f, func(c *Config) {
			brief(c)
			c.Finish = finish
		})
		get(t, s, "/v2/a/b/manifests/1"+ns)
		more := make(chan struct{})
		f.setFault(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Header.Get("Range") != "" {
				return false
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(content)))
			w.Write(content[:1<<20])
			http.NewResponseController(w).Flush()
			select {
			case <-more:
				w.Write(content[1<<20:])
			case <-r.Context().Done():
			}
			return true
		})
		resp, err := s.Client().Get(s.URL + "/v2/a/b/blobs/" + blob.String() + ns)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		downloads := func() int {
			status, _ := m.Status(nil)
			return len(status.Downloads)
		}
		if finish {
			close(more)
			eventually(t, "the download finishes", func() bool { return m.Store().has(blob) })
			continue
		}
		eventually(t, "the download is given up", func() bool { return downloads() == 0 })
		got := get(t, s, "/v2/a/b/blobs/"+blob.String()+ns)
		f.mu.Lock()
		if !bytes.Equal(got.body, content) || f.blobBytes >= int64(len(content)) {
			t.Errorf("afterwards: %d bytes, of which %d were fetched; %v", len(got.body), f.blobBytes, got.err)
		}
		f.mu.Unlock()
	}
}

// TestConnectionsAreBounded: a registry never sees more connections than it should.
func TestConnectionsAreBounded(t *testing.T) {
	f := newFake(t)
	var blobs []digest.Digest
	for range 12 {
		blobs = append(blobs, f.push(random(1<<20)))
	}
	f.tag("a/b:1", blobs...)
	f.rate = 10 << 20
	var seen sync.Map // connections, by the client's address
	f.setFault(func(_ http.ResponseWriter, r *http.Request) bool {
		seen.Store(r.RemoteAddr, true)
		return false
	})
	_, s := newMirror(t, f, func(c *Config) { c.MaxConns = 2 })
	get(t, s, "/v2/a/b/manifests/1"+ns)
	var wg sync.WaitGroup
	for _, b := range blobs {
		wg.Go(func() {
			if got := get(t, s, "/v2/a/b/blobs/"+b.String()+ns); digest.FromBytes(got.body) != b {
				t.Errorf("%d, %d bytes, %v", got.status, len(got.body), got.err)
			}
		})
	}
	wg.Wait()
	n := 0
	seen.Range(func(any, any) bool { n++; return true })
	if n < 1 || n > 2 {
		t.Errorf("%d connections, want at most 2", n)
	}
}

// TestJoinAnotherRepository: to know the digest of what somebody else is fetching gives no right to it.
func TestJoinAnotherRepository(t *testing.T) {
	f := newFake(t)
	f.users = map[string]string{"alice": "right"}
	content := random(4 << 20)
	blob := f.push(content)
	f.tag("secret/app:1", blob)
	f.tag("public/app:1", f.push(random(10)))
	public := func(w http.ResponseWriter, r *http.Request) bool { // asks for no credentials, and has not got the blob
		if !strings.HasPrefix(r.URL.Path, "/v2/public/") {
			return false
		}
		if strings.Contains(r.URL.Path, blob.String()) {
			http.NotFound(w, r)
			return true
		}
		r.SetBasicAuth("alice", "right")
		return false
	}
	more := make(chan struct{})
	f.setFault(func(w http.ResponseWriter, r *http.Request) bool {
		if public(w, r) {
			return true
		}
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, blob.String()) {
			w.Header().Set("Content-Length", fmt.Sprint(len(content)))
			w.Write(content[:1<<20])
			http.NewResponseController(w).Flush()
			<-more
			w.Write(content[1<<20:])
			return true
		}
		return false
	})
	_, s := newMirror(t, f, nil)
	auth := []string{"Authorization", basic("alice", "right")}
	if got := get(t, s, "/v2/public/app/manifests/1"+ns); got.status != 200 {
		t.Fatalf("public: %d %s", got.status, got.body)
	}
	get(t, s, "/v2/secret/app/manifests/1"+ns, auth...)
	var wg sync.WaitGroup
	wg.Go(func() {
		if got := get(t, s, "/v2/secret/app/blobs/"+blob.String()+ns, auth...); !bytes.Equal(got.body, content) {
			t.Errorf("alice: %d, %d bytes, %v", got.status, len(got.body), got.err)
		}
	})
	eventually(t, "the blob is on its way", func() bool { return f.count("GET blobs") == 1 })
	if got := get(t, s, "/v2/public/app/blobs/"+blob.String()+ns); got.status != 404 {
		t.Errorf("by way of a public repository: %d, %d bytes", got.status, len(got.body))
	}
	close(more)
	wg.Wait()
}
