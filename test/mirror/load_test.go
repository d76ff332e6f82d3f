package mirror

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// upstream is a registry with one large blob, as fast as the machine.
type upstream struct {
	*httptest.Server
	file   string
	digest string
	size   int64
	gets   atomic.Int64
	sent   atomic.Int64
	rate   atomic.Int64 // bytes a second for each request; 0: any
}

func newUpstream(t *testing.T, size int64) *upstream {
	t.Helper()
	u := &upstream{file: filepath.Join(t.TempDir(), "blob"), size: size}
	f, err := os.Create(u.file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(f, sum), rand.NewChaCha8([32]byte{byte(size)}), size); err != nil {
		t.Fatal(err)
	}
	u.digest = fmt.Sprintf("sha256:%x", sum.Sum(nil))
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, u.digest) {
			http.NotFound(w, r)
			return
		}
		if r.Method == http.MethodGet {
			u.gets.Add(1)
		}
		http.ServeFile(&paced{w, u}, r, u.file)
	}))
	t.Cleanup(u.Close)
	return u
}

type paced struct {
	http.ResponseWriter
	u *upstream
}

func (p *paced) Write(b []byte) (int, error) {
	if rate := p.u.rate.Load(); rate > 0 {
		time.Sleep(time.Duration(len(b)) * time.Second / time.Duration(rate))
	}
	n, err := p.ResponseWriter.Write(b)
	p.u.sent.Add(int64(n))
	return n, err
}

// plain starts a mirror on a loopback port and returns the address of the blob there.
func (u *upstream) plain(t *testing.T, args ...string) (*daemon, string) {
	t.Helper()
	d := serve(t, append([]string{"--socket", "none", "--listen", "127.0.0.1:0", "--plain-http", "--upstream", "registry.test=" + u.URL}, args...)...)
	base := strings.TrimSpace(d.ready[strings.Index(d.ready, "http://"):])
	return d, base + "/v2/team/app/blobs/" + u.digest + "?ns=registry.test"
}

// download reads a URL to its end and returns the number of bytes.
func download(url string, sum hash.Hash) (int64, error) {
	resp, err := http.Get(url)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return 0, fmt.Errorf("%s: %s", resp.Status, text)
	}
	var to io.Writer = io.Discard
	if sum != nil {
		to = sum
	}
	return io.CopyBuffer(struct{ io.Writer }{to}, resp.Body, make([]byte, 256<<10))
}

// peak is the most memory that a process has had resident, in bytes.
func peak(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmHWM:" {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}

// TestManyClients: 32 clients, one blob of 500 MB, one request to the registry.
func TestManyClients(t *testing.T) {
	guard(t)
	u := newUpstream(t, 500<<20)
	d, url := u.plain(t)
	for _, when := range []string{"cold", "warm"} {
		begin := time.Now()
		var wg sync.WaitGroup
		for i := range 32 {
			wg.Go(func() {
				var sum hash.Hash
				if i < 2 {
					sum = sha256.New()
				}
				n, err := download(url, sum)
				if err != nil || n != u.size || sum != nil && fmt.Sprintf("sha256:%x", sum.Sum(nil)) != u.digest {
					t.Errorf("%s, client %d: %d bytes, %v", when, i, n, err)
				}
			})
		}
		wg.Wait()
		t.Logf("%s: %.1f s, %.0f MB/s to all clients, peak memory %d MB", when, time.Since(begin).Seconds(),
			32*float64(u.size)/1e6/time.Since(begin).Seconds(), peak(t, d.cmd.Process.Pid)/1e6)
	}
	if n := u.gets.Load(); n != 1 {
		t.Errorf("%d requests for the blob", n)
	}
	if n := peak(t, d.cmd.Process.Pid); n > 100<<20 {
		t.Errorf("peak memory %d MB", n>>20)
	}
}

// TestKilledInTheMiddle: what a killed mirror had is not fetched again.
func TestKilledInTheMiddle(t *testing.T) {
	guard(t)
	u := newUpstream(t, 100<<20)
	u.rate.Store(50 << 20)
	d, url := u.plain(t)
	done := make(chan error)
	go func() {
		_, err := download(url, nil)
		done <- err
	}()
	for u.sent.Load() < 40<<20 {
		time.Sleep(10 * time.Millisecond)
	}
	d.stop(syscall.SIGKILL)
	if err := <-done; err == nil {
		t.Error("a client got all of it from a mirror that was killed")
	}
	u.rate.Store(0)
	_, url = u.plain(t)
	sum := sha256.New()
	if n, err := download(url, sum); err != nil || n != u.size || fmt.Sprintf("sha256:%x", sum.Sum(nil)) != u.digest {
		t.Errorf("%d bytes, %v", n, err)
	}
	if again := u.sent.Load() - u.size; again > 20<<20 {
		t.Errorf("%d MB were fetched again", again>>20)
	}
}

func TestDiskFull(t *testing.T) {
	guard(t)
	u := newUpstream(t, 20<<20)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=10m"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	d, url := u.plain(t, "--dir", dir)
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusInsufficientStorage || !strings.Contains(string(text), "disk is full") {
		t.Errorf("%s: %s", resp.Status, text)
	}
	d.stop(syscall.SIGTERM)
}

// TestGone: a client that leaves ends the download, and the next one goes on with it.
func TestGone(t *testing.T) {
	guard(t)
	u := newUpstream(t, 100<<20)
	u.rate.Store(10 << 20)
	_, url := u.plain(t)
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	io.CopyN(io.Discard, resp.Body, 5<<20)
	resp.Body.Close()
	time.Sleep(8 * time.Second) // longer than a download waits for a client
	before := u.sent.Load()
	time.Sleep(time.Second)
	if u.sent.Load() != before || before > 95<<20 {
		t.Errorf("the download goes on: %d MB", before>>20)
	}
	u.rate.Store(0)
	if n, err := download(url, nil); err != nil || n != u.size {
		t.Errorf("%d bytes, %v", n, err)
	}
}
