package sdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth"
	"github.com/berth-dev/berth/test/image"
	"github.com/berth-dev/berth/test/registry"
)

// either reaches one of two registries.
type either [2]*registry.Registry

func (e either) RoundTrip(r *http.Request) (*http.Response, error) {
	for _, reg := range e {
		if r.URL.Host == reg.Address() {
			return reg.Transport().RoundTrip(r)
		}
	}
	return http.DefaultTransport.RoundTrip(r)
}

// files serves a directory to engines and returns the address as they see it.
func files(t *testing.T, dir string) string {
	t.Helper()
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	engines := netip.MustParsePrefix("198.18.0.0/15")
	next := http.FileServer(http.Dir(dir))
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !from.Addr().IsLoopback() && !engines.Contains(from.Addr()) {
			http.Error(w, "not for you", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return fmt.Sprintf("host.berth.internal:%d", l.Addr().(*net.TCPAddr).Port)
}

// TestCycles pulls, creates, starts and removes, eight at a time.
func TestCycles(t *testing.T) {
	cycles := 1000
	if testing.Short() {
		cycles = 80
	}
	r, opts := serve(t, registry.Options{})
	ref := push(t, r, "app:1", image.Options{}, nil)
	e := start(t, opts...)
	begin := time.Now()
	var wg sync.WaitGroup
	next := make(chan int)
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range next {
				if err := cycle(t, e, ref, i); err != nil {
					t.Errorf("cycle %d: %v", i, err)
				}
			}
		}()
	}
	for i := range cycles {
		next <- i
	}
	close(next)
	wg.Wait()
	t.Logf("%d cycles in %s", cycles, time.Since(begin).Round(time.Millisecond))
	if n := containers(t, e); n != 0 {
		t.Errorf("%d containers are left", n)
	}
}

func cycle(t *testing.T, e *berth.Engine, ref string, i int) error {
	img, err := e.Pull(t.Context(), ref)
	if err != nil {
		return err
	}
	out, err := e.Output(t.Context(), img.ID, []string{"echo", fmt.Sprint(i)})
	if err == nil && string(out.Stdout) != fmt.Sprintln(i) {
		err = fmt.Errorf("printed %q", out.Stdout)
	}
	return err
}

// TestNoGoroutineIsLeft does a little of everything, and ends some of it before its time.
func TestNoGoroutineIsLeft(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Run("work", func(t *testing.T) {
		e := start(t)
		img := load(t, e, "sdk.test/busy:1", image.Options{})
		if _, err := e.Output(t.Context(), img.ID, nil); err != nil {
			t.Error(err)
		}
		c, err := e.Run(t.Context(), img.ID, []string{"sleep", "60"}, berth.WithOutput(os.Stdout, nil))
		if err != nil {
			t.Fatal(err)
		}
		_ = c.WaitFor(t.Context(), berth.ForPort("80"), berth.ForHealthy())
		if _, err := e.Pull(t.Context(), "127.0.0.1:1/x", berth.WithTries(2), berth.WithProgressTo(io.Discard)); !errors.Is(err, berth.ErrUnavailable) {
			t.Error(err)
		}
		abandon(t, e, c, img)
	})
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
}

// abandon begins what waits and gives it up.
func abandon(t *testing.T, e *berth.Engine, c *berth.Container, img berth.Image) {
	t.Helper()
	other, err := berth.Attach(t.Context(), e.ID())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(context.Background())
	dir := t.TempDir()
	write(t, dir, "Dockerfile", "FROM "+img.Ref+"\nRUN sleep 1000\n")
	for title, wait := range map[string]func(context.Context) error{
		"engine": e.Wait, "foreign engine": other.Wait,
		"container": c.Wait,
		"condition": func(ctx context.Context) error { return c.WaitFor(ctx, berth.ForLog("never")) },
		"logs":      func(ctx context.Context) error { return c.Logs(ctx, io.Discard, nil, true) },
		"build":     func(ctx context.Context) error { _, err := e.Build(ctx, dir); return err },
		"events": func(ctx context.Context) error {
			for range e.Events(ctx) {
				t.Error("something has happened to the engine")
			}
			return ctx.Err()
		},
		"logs of the engine": func(ctx context.Context) error {
			r, err := e.Logs(ctx, true)
			if err != nil {
				return err
			}
			defer r.Close()
			_, _ = io.Copy(io.Discard, r)
			return ctx.Err()
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		if err := wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", title, err)
		}
		cancel()
	}
}

// TestDiskFull gives an engine a small file system for its data.
func TestDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("engines need root")
	}
	payload, err := os.ReadDir("/var/lib/berth/payload")
	if err != nil || len(payload) == 0 {
		t.Skip("no payload has been extracted yet")
	}
	state := t.TempDir()
	mount := func(source, target, kind string, flags uintptr, options string) {
		t.Helper()
		if err := unix.Mount(source, target, kind, flags, options); err != nil {
			t.Skipf("mount %s: %v", target, err)
		}
		t.Cleanup(func() { unix.Unmount(target, unix.MNT_DETACH) })
	}
	mount("tmpfs", state, "tmpfs", 0, "size=24m")
	if err := os.Mkdir(filepath.Join(state, "payload"), 0o755); err != nil {
		t.Fatal(err)
	}
	mount("/var/lib/berth/payload", filepath.Join(state, "payload"), "", unix.MS_BIND, "")
	t.Setenv("BERTH_STATE_DIR", state)
	r, opts := serve(t, registry.Options{Handler: newFaulty()})
	big := push(t, r, "big:1", image.Options{Ballast: 64 << 20}, nil)
	e := start(t, opts...)
	if _, err := e.Pull(t.Context(), big); !errors.Is(err, berth.ErrNoSpace) {
		t.Errorf("got %v", err)
	} else {
		t.Log(err)
	}
	if _, err := e.Images(t.Context()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func bundledDocker(t *testing.T) string {
	t.Helper()
	found, _ := filepath.Glob("/var/lib/berth/payload/*/host/bin/docker")
	if len(found) == 0 {
		t.Skip("no bundled docker CLI")
	}
	return found[len(found)-1]
}
