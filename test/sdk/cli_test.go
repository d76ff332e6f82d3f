package sdk

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/berth-dev/berth"
	"github.com/berth-dev/berth/test/image"
)

// shop is the bundled docker CLI against an engine.
type shop struct {
	*testing.T
	e   *berth.Engine
	cli []string
}

func (s shop) command(args ...string) *exec.Cmd {
	cmd := exec.Command(s.cli[0], slices.Concat(s.cli[1:], args)...)
	cmd.Env = append(os.Environ(), s.e.Env()...)
	return cmd
}

func (s shop) docker(args ...string) string {
	s.Helper()
	out, err := s.command(args...).CombinedOutput()
	if err != nil {
		s.Fatalf("docker %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestBundledDocker uses what people type most.
func TestBundledDocker(t *testing.T) {
	dir := t.TempDir()
	e := start(t, berth.WithShare(dir))
	s := shop{t, e, []string{bundledDocker(t)}}
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	img := load(t, e, "sdk.test/busy:1", image.Options{})

	t.Run("exec, cp, logs", func(t *testing.T) {
		s := shop{t, e, s.cli}
		s.docker("run", "-d", "--name", "box", img.Ref, "sh", "-c", "echo began; sleep 100")
		defer s.docker("rm", "-f", "box")
		if out := s.docker("exec", "box", "cat", "/greeting"); out != image.Greeting+"\n" {
			t.Errorf("exec: %q", out)
		}
		write(t, dir, "in", "through cp\n")
		s.docker("cp", filepath.Join(dir, "in"), "box:/out")
		s.docker("cp", "box:/out", filepath.Join(dir, "back"))
		if back, err := os.ReadFile(filepath.Join(dir, "back")); err != nil || string(back) != "through cp\n" {
			t.Errorf("cp: %q, %v", back, err)
		}
		first := firstLine(t, s.command("logs", "-f", "box"))
		if first != "began" {
			t.Errorf("logs -f: %q", first)
		}
		if out := s.docker("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}"); !strings.HasPrefix(out, "box ") || strings.Contains(out, " 0\n") {
			t.Errorf("stats: %q", out)
		}
	})
	t.Run("events", func(t *testing.T) {
		s := shop{t, e, s.cli}
		since := time.Now().Add(-time.Second).Format(time.RFC3339)
		s.docker("run", "--rm", img.Ref, "true")
		line := firstLine(t, s.command("events", "--since", since, "--filter", "event=die", "--format", "{{.Type}} {{.Action}}"))
		if line != "container die" {
			t.Errorf("events: %q", line)
		}
	})
	t.Run("run -it", func(t *testing.T) {
		s := shop{t, e, s.cli}
		cmd := s.command("run", "--rm", "-it", img.Ref, "sh", "-c", "stty size; read x; echo got $x")
		terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 33, Cols: 77})
		if err != nil {
			t.Fatal(err)
		}
		defer terminal.Close()
		if _, err := terminal.WriteString("typed\n"); err != nil {
			t.Error(err)
		}
		var all strings.Builder
		lines := bufio.NewScanner(terminal)
		for lines.Scan() {
			all.WriteString(lines.Text() + "\n")
		}
		if err := cmd.Wait(); err != nil || !strings.Contains(all.String(), "got typed") || !strings.Contains(all.String(), "33 77") {
			t.Errorf("%v: %q", err, all.String())
		}
	})
	t.Run("buildx", func(t *testing.T) { shop{t, e, s.cli}.build(img.Ref) })
	t.Run("compose", func(t *testing.T) { shop{t, e, s.cli}.compose(dir, img.Ref) })
	if n := containers(t, e); n != 0 {
		t.Errorf("%d containers are left", n)
	}
}

// TestWaysToDocker builds and composes by the ways there are to an engine that stays. (That
// of `berth run` is in test/integration.)
func TestWaysToDocker(t *testing.T) {
	dir := t.TempDir()
	e := start(t, berth.Detached(), berth.WithName("sdk-ways"), berth.WithShare(dir))
	defer e.Remove(context.Background())
	img := load(t, e, "sdk.test/busy:1", image.Options{})
	program := os.Getenv(berth.EnvBinary)
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	if out, err := exec.Command(program, "context", e.Name()).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for title, cli := range map[string][]string{
		"berth docker": {program, "docker", "--engine", e.Name()},
		"berth exec":   {program, "exec", e.Name(), "--", "docker"},
		"context":      {"env", "-u", "DOCKER_HOST", bundledDocker(t), "--context", "berth-" + e.Name()},
	} {
		t.Run(title, func(t *testing.T) {
			s := shop{t, e, cli}
			s.build(img.Ref)
			s.compose(dir, img.Ref)
		})
	}
}

// build builds in stages, with a secret and a cache mount, which lasts from build to build.
func (s shop) build(image string) {
	dir := s.TempDir()
	write(s.T, dir, "Dockerfile", "FROM "+image+" AS a\nARG N\nRUN --mount=type=cache,target=/c echo $(cat /c/n 2>/dev/null)x >/c/n; cp /c/n /n\nFROM "+image+"\nCOPY --from=a /n /n\nRUN --mount=type=secret,id=s grep -q hush /run/secrets/s\n")
	write(s.T, dir, "secret", "hush\n")
	secret := "id=s,src=" + filepath.Join(dir, "secret")
	for _, want := range []string{"x", "xx"} {
		s.docker("buildx", "build", "--build-arg", "N="+want, "--secret", secret, "-t", "sdk.test/x:1", dir)
		if out := s.docker("run", "--rm", "sdk.test/x:1", "cat", "/n"); strings.TrimSpace(out) != want {
			s.Errorf("got %q, want %q", out, want)
		}
	}
	s.docker("build", "-q", "--secret", secret, dir)
	s.docker("builder", "prune", "-af") // the cache as well
}

// compose brings up three services that wait for each other's health.
func (s shop) compose(dir, image string) {
	write(s.T, dir, "compose.yaml", `
name: shop
services:
  store:
    image: `+image+`
    command: ["sh", "-c", "sleep 1; echo kept >/data/x; touch /well; sleep 100"]
    volumes: ["data:/data"]
    stop_grace_period: 100ms
    healthcheck: {test: ["CMD", "test", "-e", "/well"], interval: 300ms}
  web:
    image: `+image+`
    command: ["sh", "-c", "cp /data/x /index.html; exec httpd -f -p 80 -h /"]
    volumes: ["data:/data:ro"]
    stop_grace_period: 100ms
    depends_on: {store: {condition: service_healthy}}
    healthcheck: {test: ["CMD", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1/index.html"], interval: 300ms}
  ask:
    image: `+image+`
    command: ["wget", "-q", "-O", "-", "http://web/index.html"]
    depends_on: {web: {condition: service_healthy}}
volumes: {data: {}}
`)
	file := filepath.Join(dir, "compose.yaml")
	defer s.docker("compose", "-f", file, "down", "-v", "-t", "0")
	out := s.docker("compose", "-f", file, "up", "--abort-on-container-exit", "--exit-code-from", "ask")
	if !strings.Contains(out, "kept") {
		s.Errorf("compose: %s", out)
	}
}

// firstLine runs a command that does not end until it has printed a line.
func firstLine(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	line, _ := bufio.NewReader(out).ReadString('\n')
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return strings.TrimSpace(line)
}
