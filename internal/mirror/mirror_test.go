package mirror

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func TestEachKindOfAddress(t *testing.T) {
	f := newFake(t)
	blob := f.push(random(1 << 20))
	d := f.tag("team/app:1", blob)
	f.tag("library/busybox:1", blob)
	_, s := newMirror(t, f, func(c *Config) { c.Upstreams["docker.io"] = Upstream{URL: f.URL} })
	for _, path := range []string{"/v2/team/app/manifests/1" + ns, "/v2/" + fakeName + "/team/app/manifests/1", "/v2/team/app/manifests/" + d.String() + ns} {
		got := get(t, s, path)
		if got.status != 200 || digest.FromBytes(got.body) != d || got.header.Get("Docker-Content-Digest") != d.String() {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
		if head := ask(t, s, "HEAD", path); head.status != 200 || head.header.Get("Content-Length") != fmt.Sprint(len(got.body)) {
			t.Errorf("HEAD %s: %d %v", path, head.status, head.header)
		}
	}
	for _, path := range []string{"/v2/busybox/manifests/1", "/v2/library/busybox/manifests/1", "/v2/busybox/manifests/1?ns=docker.io", "/v2/docker.io/busybox/manifests/1"} {
		if got := get(t, s, path); got.status != 200 {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	if n := f.count("GET manifests"); n != 3 { // one for each tag, one for the digest by which it is known then
		t.Logf("%d manifests fetched", n)
	}
	got := get(t, s, "/v2/team/app/blobs/"+blob.String()+ns)
	if got.status != 200 || digest.FromBytes(got.body) != blob {
		t.Errorf("blob: %d, %d bytes, %v", got.status, len(got.body), got.err)
	}
	if got := get(t, s, "/v2/"); got.status != 200 {
		t.Errorf("/v2/: %d", got.status)
	}
	if got := get(t, s, "/v2/team/app/tags/list?n=2&ns="+fakeName); got.status != 200 || !strings.Contains(got.header.Get("Link"), "/v2/team/app/tags/list?last=b&n=2&ns=registry.test") {
		t.Errorf("tags: %d %s %s", got.status, got.body, got.header.Get("Link"))
	}
	if got := ask(t, s, "PUT", "/v2/team/app/manifests/1"+ns); got.status != 405 {
		t.Errorf("PUT: %d", got.status)
	}
}

func TestOneFetchForManyClients(t *testing.T) {
	f := newFake(t)
	content := random(8 << 20)
	blob := f.push(content)
	f.tag("team/app:1", blob)
	f.rate = 20 << 20
	m, s := newMirror(t, f, nil)
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			if got := get(t, s, "/v2/team/app/manifests/1"+ns); got.status != 200 {
				t.Errorf("client %d: manifest %d %s", i, got.status, got.body)
			}
			want, header := content, []string{}
			if i%4 == 1 {
				want, header = content[5<<20:6<<20], []string{"Range", fmt.Sprintf("bytes=%d-%d", 5<<20, 6<<20-1)}
			}
			got := get(t, s, "/v2/team/app/blobs/"+blob.String()+ns, header...)
			if !bytes.Equal(got.body, want) || got.err != nil {
				t.Errorf("client %d: status %d, %d bytes, %v", i, got.status, len(got.body), got.err)
			}
		})
	}
	wg.Wait()
	if n := f.count("GET manifests"); n != 1 {
		t.Errorf("%d manifests fetched, want 1", n)
	}
	if n := f.count("GET blobs"); n != 1 {
		t.Errorf("%d blobs fetched, want 1", n)
	}
	eventually(t, "the blob is complete", func() bool { return m.Store().has(blob) })
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func TestRanges(t *testing.T) {
	f := newFake(t)
	content := random(3 << 20)
	blob := f.push(content)
	f.tag("a/b:1", blob)
	_, s := newMirror(t, f, nil)
	get(t, s, "/v2/a/b/manifests/1"+ns)
	for range 2 { // while it is fetched, and from the disk
		for r, want := range map[string][]byte{
			"bytes=0-0": content[:1], "bytes=100-199": content[100:200], "bytes=1048576-": content[1<<20:],
			"bytes=-5": content[len(content)-5:],
		} {
			got := get(t, s, "/v2/a/b/blobs/"+blob.String()+ns, "Range", r)
			if got.status != 206 || !bytes.Equal(got.body, want) {
				t.Errorf("%s: %d, %d bytes", r, got.status, len(got.body))
			}
		}
		if got := get(t, s, "/v2/a/b/blobs/"+blob.String()+ns, "Range", "bytes=9999999-"); got.status != 416 {
			t.Errorf("a range beyond the end: %d", got.status)
		}
		get(t, s, "/v2/a/b/blobs/"+blob.String()+ns)
	}
	if n := f.count("GET blobs"); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

func TestResume(t *testing.T) {
	f := newFake(t)
	content := random(4 << 20)
	blob := f.push(content)
	f.tag("a/b:1", blob)
	breaks := 0
	f.setFault(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/blobs/") || breaks == 2 {
			return false
		}
		breaks++
		if breaks == 2 && r.Header.Get("Range") == "" {
			t.Error("the second attempt does not go on where the first ended")
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		if breaks == 2 {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 1048576-%d/%d", len(content)-1, len(content)))
			w.Header().Set("Content-Length", fmt.Sprint(len(content)-1<<20))
			w.WriteHeader(206)
			w.Write(content[1<<20 : 2<<20])
		} else {
			w.Write(content[:1<<20])
		}
		panic(http.ErrAbortHandler)
	})
	_, s := newMirror(t, f, nil)
	get(t, s, "/v2/a/b/manifests/1"+ns)
	got := get(t, s, "/v2/a/b/blobs/"+blob.String()+ns)
	if !bytes.Equal(got.body, content) {
		t.Errorf("%d, %d bytes, %v", got.status, len(got.body), got.err)
	}
}

func TestResumeAfterRestart(t *testing.T) {
	f := newFake(t)
	content := random(4 << 20)
	blob := f.push(content)
	f.tag("a/b:1", blob)
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "partial"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, partialPath(fakeName, blob)), content[:3<<20], 0o600); err != nil {
		t.Fatal(err)
	}
	_, s := newMirror(t, f, func(c *Config) { c.Dir = dir })
	get(t, s, "/v2/a/b/manifests/1"+ns)
	got := get(t, s, "/v2/a/b/blobs/"+blob.String()+ns)
	f.mu.Lock()
	defer f.mu.Unlock()
	if !bytes.Equal(got.body, content) || f.blobBytes != 1<<20 {
		t.Errorf("%d bytes served, %d fetched", len(got.body), f.blobBytes)
	}
}

// TestLies: nobody gets the whole of what is not what it should be.
func TestLies(t *testing.T) {
	f := newFake(t)
	content := random(2 << 20)
	blob := f.push(content)
	d := f.tag("a/b:1", blob)
	bad := bytes.Clone(content)
	bad[len(bad)/2] ^= 1
	lies := map[string]func(w http.ResponseWriter){
		"other content": func(w http.ResponseWriter) { w.Header().Set("Content-Length", fmt.Sprint(len(bad))); w.Write(bad) },
		"too long":      func(w http.ResponseWriter) { w.Write(append(bytes.Clone(content), 1, 2, 3)) },
		"too short":     func(w http.ResponseWriter) { w.Write(content[:len(content)-1]) },
		"nothing":       func(w http.ResponseWriter) {},
	}
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			m, s := newMirror(t, f, nil)
			f.setFault(nil)
			get(t, s, "/v2/a/b/manifests/1"+ns)
			f.setFault(func(w http.ResponseWriter, r *http.Request) bool { lie(w); return true })
			got := get(t, s, "/v2/a/b/blobs/"+blob.String()+ns)
			if got.status == 200 && got.err == nil {
				t.Errorf("served as complete: %d bytes", len(got.body))
			}
			if m.Store().has(blob) {
				t.Error("stored as complete")
			}
			f.setFault(nil)
			if got := get(t, s, "/v2/a/b/blobs/"+blob.String()+ns); !bytes.Equal(got.body, content) {
				t.Errorf("afterwards: %d, %d bytes, %v", got.status, len(got.body), got.err)
			}
		})
	}
	t.Run("manifest", func(t *testing.T) {
		_, s := newMirror(t, f, nil)
		f.setFault(func(w http.ResponseWriter, r *http.Request) bool { w.Write([]byte(`{"schemaVersion":2}`)); return true })
		if got := get(t, s, "/v2/a/b/manifests/"+d.String()+ns); got.status != 502 {
			t.Errorf("%d %s", got.status, got.body)
		}
	})
}

func TestCorruptOnDisk(t *testing.T) {
	f := newFake(t)
	content := random(1 << 20)
	blob := f.push(content)
	f.tag("a/b:1", blob)
	m, s := newMirror(t, f, nil)
	path := "/v2/a/b/blobs/" + blob.String() + ns
	get(t, s, "/v2/a/b/manifests/1"+ns)
	get(t, s, path)
	eventually(t, "the blob is complete", func() bool { return m.Store().has(blob) })
	file := filepath.Join(m.conf.Dir, blobPath(blob))
	bad := bytes.Clone(content)
	bad[7] ^= 1
	if err := os.WriteFile(file, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	os.Chtimes(file, time.Now(), time.Now().Add(time.Second))
	if got := get(t, s, path); !bytes.Equal(got.body, content) {
		t.Errorf("%d, %d bytes", got.status, len(got.body))
	}
	if n := f.count("GET blobs"); n != 2 {
		t.Errorf("%d fetches, want another one", n)
	}
}

func TestTags(t *testing.T) {
	f := newFake(t)
	first := f.tag("a/b:latest", f.push(random(10)))
	m, s := newMirror(t, f, func(c *Config) { c.TagTTL = -1 })
	path := "/v2/a/b/manifests/latest" + ns
	if got := get(t, s, path); digest.FromBytes(got.body) != first {
		t.Fatalf("%d %s", got.status, got.body)
	}
	get(t, s, path)
	if n := f.count("GET manifests"); n != 1 {
		t.Errorf("an unchanged tag was fetched %d times", n)
	}
	second := f.tag("a/b:latest", f.push(random(10)))
	if got := get(t, s, path); digest.FromBytes(got.body) != second {
		t.Errorf("a moved tag: %d %s", got.status, got.body)
	}
	f.setFault(func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(500); return true })
	if got := get(t, s, path); digest.FromBytes(got.body) != second || got.header.Get("Warning") == "" {
		t.Errorf("the registry is down: %d %s %v", got.status, got.body, got.header)
	}
	if got := get(t, s, "/v2/a/b/manifests/"+second.String()+ns); got.status != 200 || got.header.Get("Warning") != "" {
		t.Errorf("a digest is never stale: %d %v", got.status, got.header)
	}
	f.setFault(func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Retry-After", "120")
		w.WriteHeader(429)
		return true
	})
	if got := get(t, s, path); got.status != 200 || got.header.Get("Warning") == "" {
		t.Errorf("the registry limits the rate: %d", got.status)
	}
	before := f.count("HEAD manifests")
	if got := get(t, s, "/v2/a/b/manifests/other"+ns); got.status != 429 || got.header.Get("Retry-After") == "" {
		t.Errorf("another tag: %d %v", got.status, got.header)
	}
	if n := f.count("GET manifests") + f.count("HEAD manifests") - before; n > 2 {
		t.Errorf("the registry was not left alone")
	}
	entries, err := m.Store().List()
	if err != nil || len(entries) != 1 || entries[0].Tag != "latest" || entries[0].Private {
		t.Errorf("list: %v %v", entries, err)
	}
}

func TestGoneTagIsGone(t *testing.T) {
	f := newFake(t)
	f.tag("a/b:1", f.push(random(10)))
	_, s := newMirror(t, f, func(c *Config) { c.TagTTL = -1 })
	get(t, s, "/v2/a/b/manifests/1"+ns)
	f.mu.Lock()
	delete(f.tags, "a/b:1")
	f.mu.Unlock()
	if got := get(t, s, "/v2/a/b/manifests/1"+ns); got.status != 404 {
		t.Errorf("%d", got.status)
	}
}

func TestOffline(t *testing.T) {
	f := newFake(t)
	blob := f.push(random(100))
	f.tag("a/b:1", blob)
	dir := t.TempDir()
	m, s := newMirror(t, f, func(c *Config) { c.Dir = dir })
	get(t, s, "/v2/a/b/manifests/1"+ns)
	get(t, s, "/v2/a/b/blobs/"+blob.String()+ns)
	eventually(t, "the blob is complete", func() bool { return m.Store().has(blob) })
	s.Close()
	m.Close()
	before := len(f.requests)
	_, s = newMirror(t, f, func(c *Config) { c.Dir, c.Offline = dir, true })
	for path, want := range map[string]int{"/v2/a/b/manifests/1": 200, "/v2/a/b/blobs/" + blob.String(): 200, "/v2/a/b/manifests/2": 404, "/v2/a/b/tags/list": 200} {
		if got := get(t, s, path+ns); got.status != want {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	if len(f.requests) != before {
		t.Error("an offline mirror asked a registry")
	}
}

func TestEviction(t *testing.T) {
	f := newFake(t)
	m, s := newMirror(t, f, func(c *Config) { c.MaxSize = 4 << 20 })
	var blobs []digest.Digest
	for range 8 {
		blobs = append(blobs, f.push(random(1<<20)))
	}
	f.tag("a/b:1", blobs...)
	get(t, s, "/v2/a/b/manifests/1"+ns)
	for i, b := range blobs {
		get(t, s, "/v2/a/b/blobs/"+b.String()+ns)
		eventually(t, "stored", func() bool { return m.Store().has(b) || i < 4 })
	}
	eventually(t, "content is within the bound", func() bool { return m.Store().Size() <= 4<<20 })
	if !m.Store().has(blobs[7]) || m.Store().has(blobs[0]) {
		t.Error("not what was not used for longest has gone")
	}
	held, err := m.Store().open(blobs[7])
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if _, err := m.Store().Collect(0); err != nil || !m.Store().has(blobs[7]) {
		t.Errorf("what is being served was removed (%v)", err)
	}
}

func TestOneProcessADirectory(t *testing.T) {
	m, _ := newMirror(t, nil, nil)
	if _, err := New(Config{Dir: m.conf.Dir}); err == nil {
		t.Error("two mirrors have one directory")
	}
}
