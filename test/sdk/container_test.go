package sdk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/berth-dev/berth"
	"github.com/berth-dev/berth/test/image"
)

func hostPIDs(_ *container.Config, h *container.HostConfig) { h.PidMode = "host" }

func containers(t *testing.T, e *berth.Engine) int {
	t.Helper()
	list, err := e.Client().ContainerList(t.Context(), client.ContainerListOptions{All: true})
	if err != nil {
		t.Fatal(err)
	}
	return len(list.Items)
}

func TestOutput(t *testing.T) {
	e := start(t)
	img := load(t, e, "sdk.test/busy:1", image.Options{})
	t.Run("streams", func(t *testing.T) {
		out, err := e.Output(t.Context(), img.ID, []string{"sh", "-c", `cat; echo "$WHO" >&2; id -u; pwd`},
			berth.WithStdin(strings.NewReader("from outside\n")), berth.WithEnv("WHO", "me"),
			berth.WithContainerUser("1000"), berth.WithWorkdir("/tmp"))
		if err != nil {
			t.Fatal(err)
		}
		if string(out.Stdout) != "from outside\n1000\n/tmp\n" || string(out.Stderr) != "me\n" {
			t.Errorf("stdout %q, stderr %q", out.Stdout, out.Stderr)
		}
	})
	t.Run("much", func(t *testing.T) {
		const size = 8 << 20
		var n counter
		if _, err := e.Output(t.Context(), img.ID, []string{"dd", "if=/dev/zero", "bs=1M", "count=8"}, berth.WithOutput(&n, nil)); err != nil {
			t.Fatal(err)
		}
		if n != size {
			t.Errorf("got %d of %d bytes", n, size)
		}
	})
	t.Run("status", func(t *testing.T) {
		_, err := e.Output(t.Context(), img.ID, []string{"sh", "-c", "echo why >&2; exit 7"})
		var exit *berth.ExitError
		if !errors.As(err, &exit) || exit.Code != 7 || exit.Stderr != "why\n" {
			t.Errorf("got %+v", err)
		}
	})
	t.Run("memory", func(t *testing.T) {
		_, err := e.Output(t.Context(), img.ID, []string{"sh", "-c", "x=a; while :; do x=$x$x; done"}, berth.WithMemoryLimit(16<<20))
		var exit *berth.ExitError
		if !errors.As(err, &exit) || !exit.OOMKilled {
			t.Errorf("got %v", err)
		}
	})
	t.Run("limits", func(t *testing.T) {
		c, err := e.Run(t.Context(), img.ID, []string{"sleep", "60"}, berth.WithCPULimit(0.5), berth.WithPIDLimit(33), berth.WithMemoryLimit(64<<20))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Remove(context.Background())
		r, err := c.Inspect(t.Context())
		if err != nil || r.HostConfig.NanoCPUs != 5e8 || *r.HostConfig.PidsLimit != 33 || r.HostConfig.Memory != 64<<20 {
			t.Errorf("limits: %+v, %v", r.HostConfig, err)
		}
	})
	t.Run("terminal", func(t *testing.T) {
		terminal := berth.WithConfig(func(c *container.Config, _ *container.HostConfig) { c.Tty = true })
		out, err := e.Output(t.Context(), img.ID, []string{"sh", "-c", "test -t 1 && echo one; echo two >&2"}, terminal)
		if err != nil || string(out.Stdout) != "one\r\ntwo\r\n" || len(out.Stderr) != 0 {
			t.Errorf("%q, %q, %v", out.Stdout, out.Stderr, err)
		}
		c, err := e.Run(t.Context(), img.ID, []string{"sh", "-c", "echo one; sleep 1000"}, terminal)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Remove(context.Background())
		if err := c.WaitFor(t.Context(), berth.ForLog("one")); err != nil {
			t.Error(err)
		}
		var stdout bytes.Buffer
		if err := c.Logs(t.Context(), &stdout, nil, false); err != nil || stdout.String() != "one\r\n" {
			t.Errorf("logs: %q, %v", stdout.String(), err)
		}
	})
	t.Run("settings", func(t *testing.T) {
		out, err := e.Output(t.Context(), img.ID, []string{"ip link; cat /proc/sys/kernel/shmmax"},
			berth.WithEntrypoint("sh", "-c"), berth.WithNetworkMode("none"), berth.WithLabel("a", "1"), berth.WithLabel("b", "2"),
			berth.WithConfig(func(c *container.Config, h *container.HostConfig) {
				h.Sysctls = map[string]string{"kernel.shmmax": "4242"}
				if c.Labels["a"]+c.Labels["b"] != "12" {
					t.Errorf("labels: %v", c.Labels)
				}
			}))
		if err != nil || !strings.Contains(string(out.Stdout), "4242") || strings.Contains(string(out.Stdout), "eth0") {
			t.Errorf("%q, %v", out.Stdout, err)
		}
	})
	t.Run("no image", func(t *testing.T) {
		if _, err := e.Output(t.Context(), "sdk.test/none:1", nil); !errors.Is(err, berth.ErrNotFound) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no command", func(t *testing.T) {
		_, err := e.Output(t.Context(), img.ID, []string{"/no/such/program"})
		if err == nil || errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("name taken", func(t *testing.T) {
		c, err := e.Run(t.Context(), img.ID, []string{"sleep", "60"}, berth.WithContainerName("one"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Remove(context.Background())
		if _, err := e.Run(t.Context(), img.ID, []string{"sleep", "60"}, berth.WithContainerName("one")); !errors.Is(err, berth.ErrConflict) {
			t.Errorf("got %v", err)
		}
		if err := e.RemoveImage(t.Context(), img.Ref, false); !errors.Is(err, berth.ErrConflict) {
			t.Errorf("remove of an image in use: %v", err)
		}
	})
	if n := containers(t, e); n != 0 {
		t.Errorf("%d containers are left", n)
	}
}

type counter int64

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}

func TestCancelledRun(t *testing.T) {
	e := start(t)
	img := load(t, e, "sdk.test/busy:1", image.Options{})
	for _, after := range []time.Duration{0, 1, 5, 20, 50, 100, 200, 400, 800} {
		ctx, cancel := context.WithTimeout(t.Context(), after*time.Millisecond)
		_, err := e.Output(ctx, img.ID, []string{"sleep", "60"})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %d ms: %v", after, err)
		}
		if n := containers(t, e); n != 0 {
			t.Errorf("after %d ms: %d containers are left", after, n)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	c, err := e.Run(ctx, img.ID, []string{"sleep", "60"})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := c.Remove(context.Background()); err != nil {
		t.Error(err)
	}
	if err := c.Remove(context.Background()); err != nil {
		t.Error(err)
	}
	if n := containers(t, e); n != 0 {
		t.Errorf("%d containers are left", n)
	}
}

func TestMounts(t *testing.T) {
	dir := t.TempDir()
	shared := filepath.Join(dir, "shared")
	if err := os.Mkdir(shared, 0o755); err != nil {
		t.Fatal(err)
	}
	e := start(t, berth.WithShare(shared))
	img := load(t, e, "sdk.test/busy:1", image.Options{})
	_, err := e.Output(t.Context(), img.ID, []string{"sh", "-c", "echo yes >/shared/answer && echo v >/volume/v && echo t >/scratch/t && df /scratch"},
		berth.WithBind(shared, "/shared"), berth.WithVolume("data", "/volume"), berth.WithTmpfs("/scratch", 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := os.ReadFile(filepath.Join(shared, "answer")); err != nil || string(answer) != "yes\n" {
		t.Errorf("%q, %v", answer, err)
	}
	out, err := e.Output(t.Context(), img.ID, []string{"cat", "/volume/v"}, berth.WithVolume("data", "/volume"))
	if err != nil || string(out.Stdout) != "v\n" {
		t.Errorf("%q, %v", out.Stdout, err)
	}
	if _, err := e.Output(t.Context(), img.ID, []string{"touch", "/shared/x"}, berth.WithReadOnlyBind(shared, "/shared")); err == nil {
		t.Error("wrote to a read-only mount")
	}
	if _, err := e.Output(t.Context(), img.ID, []string{"true"}, berth.WithBind(t.TempDir(), "/x")); err == nil || !strings.Contains(err.Error(), "WithShare") {
		t.Errorf("mount of what is not shared: %v", err)
	}
}

const webServer = "mkdir -p /www && echo hello >/www/index.html && sleep 1 && echo serving && exec httpd -f -p 80 -h /www"

func TestPortsAndWaiting(t *testing.T) {
	e := start(t)
	img := load(t, e, "sdk.test/busy:1", image.Options{})
	c, err := e.Run(t.Context(), img.ID, []string{"sh", "-c", webServer}, berth.WithPort("80"), berth.WithPortAt("80", "8080"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Remove(context.Background())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := c.WaitFor(ctx, berth.ForPort("80"), berth.ForLog("serving"), berth.ForHTTP("80", "/index.html")); err != nil {
		t.Fatal(err)
	}
	address, err := c.Address(ctx, "80/tcp")
	if err != nil {
		t.Fatal(err)
	}
	for _, client := range []struct {
		url string
		rt  http.RoundTripper
	}{
		{"http://" + address, &http.Transport{DisableKeepAlives: true}},
		{"http://localhost:8080", &http.Transport{DisableKeepAlives: true, DialContext: e.Dial}},
	} {
		resp, err := (&http.Client{Transport: client.rt}).Get(client.url)
		if err != nil {
			t.Error(err)
			continue
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(body) != "hello\n" {
			t.Errorf("%s: %q", client.url, body)
		}
	}
	if _, err := c.Address(ctx, "81"); !errors.Is(err, berth.ErrNotFound) {
		t.Errorf("a port that is not published: %v", err)
	}
	if err := c.WaitFor(ctx, berth.ForHealthy()); !errors.Is(err, berth.ErrInvalid) {
		t.Errorf("health without a check: %v", err)
	}
	short, cancelShort := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancelShort()
	if err := c.WaitFor(short, berth.ForLog("never")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a line that does not come: %v", err)
	}
	var stdout, stderr bytes.Buffer
	if err := c.Logs(ctx, &stdout, &stderr, false); err != nil || stdout.String() != "serving\n" {
		t.Errorf("logs %q, %v", stdout.String(), err)
	}
	followed := make(chan error, 1)
	stdout.Reset()
	go func() { followed <- c.Logs(ctx, &stdout, nil, true) }()
	if err := c.Stop(ctx, 0); err != nil {
		t.Error(err)
	}
	if err := <-followed; err != nil || stdout.String() != "serving\n" {
		t.Errorf("logs that are followed to the end: %q, %v", stdout.String(), err)
	}
}

func TestWaitingForWhatNeverComes(t *testing.T) {
	e := start(t)
	img := load(t, e, "sdk.test/busy:1", image.Options{})
	for _, cond := range []berth.Condition{berth.ForPort("80"), berth.ForHTTP("80", "/"), berth.ForLog("ready")} {
		c, err := e.Run(t.Context(), img.ID, []string{"sh", "-c", "sleep 0.5; exit 3"}, berth.WithPort("80"))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.WaitFor(t.Context(), cond); !errors.Is(err, berth.ErrUnavailable) && !errors.Is(err, berth.ErrNotFound) {
			t.Error(err)
		}
		c.Remove(context.Background())
	}
	c, err := e.Run(t.Context(), img.ID, []string{"echo", "ready"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Remove(context.Background())
	if err := c.WaitFor(t.Context(), berth.ForLog("ready")); err != nil {
		t.Errorf("the line was there: %v", err)
	}
}

// TestShutdownLetsContainersStop: unlike Close.
func TestShutdownLetsContainersStop(t *testing.T) {
	dir := t.TempDir()
	e := start(t, berth.WithShare(dir))
	img := load(t, e, "sdk.test/busy:1", image.Options{})
	c, err := e.Run(t.Context(), img.ID, []string{"sh", "-c", "trap 'echo bye >/shared/bye; exit' TERM; echo up; sleep 100 & wait"}, berth.WithBind(dir, "/shared"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.WaitFor(t.Context(), berth.ForLog("up")); err != nil {
		t.Fatal(err)
	}
	if err := e.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if bye, err := os.ReadFile(filepath.Join(dir, "bye")); err != nil || string(bye) != "bye\n" {
		t.Errorf("%q, %v", bye, err)
	}
}

func TestHealth(t *testing.T) {
	e := start(t)
	img := load(t, e, "sdk.test/busy:1", image.Options{})
	c, err := e.Run(t.Context(), img.ID, []string{"sh", "-c", "sleep 1; touch /well; sleep 60"}, berth.WithConfig(func(c *container.Config, _ *container.HostConfig) {
		c.Healthcheck = &container.HealthConfig{Test: []string{"CMD", "test", "-e", "/well"}, Interval: 200 * time.Millisecond}
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Remove(context.Background())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := c.WaitFor(ctx, berth.ForHealthy()); err != nil {
		t.Error(err)
	}
}

func TestManyAtOnce(t *testing.T) {
	e := start(t)
	img := load(t, e, "sdk.test/busy:1", image.Options{})
	errs := make(chan error)
	for i := range 8 {
		go func() {
			out, err := e.Output(t.Context(), img.ID, []string{"echo", fmt.Sprint(i)})
			if err == nil && string(out.Stdout) != fmt.Sprintln(i) {
				err = fmt.Errorf("got %q", out.Stdout)
			}
			errs <- err
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}
