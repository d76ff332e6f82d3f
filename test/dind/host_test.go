package dind

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/test/deadline"
)

// limit is how long one docker command may take before the test gives up on it.
var limit = deadline.Scaled(90 * time.Second)

// result is how a command ended.
type result struct {
	stdout, stderr string
	code           int
}

func (r result) String() string {
	return fmt.Sprintf("status %d, stdout %q, stderr %q", r.code, r.stdout, r.stderr)
}

func run(env []string, args ...string) (result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.Dir = env, &stdout, &stderr, "/"
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	r := result{stdout: strings.TrimRight(stdout.String(), "\n"), stderr: strings.TrimRight(stderr.String(), "\n")}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		r.code, err = exit.ExitCode(), nil
	}
	return r, err
}

// host is an outer engine, the Docker of the machine that the image is run on.
type host struct {
	name  string
	cli   []string
	env   []string
	stop  func()
	start func(*host) error
	log   func() string // the end of what its dockerd said
	once  sync.Once
	err   error
}

// hosts are started when a test first needs them.
var hosts = []*host{
	{name: "berth", start: startBerth},
	{name: "docker 20.10", start: startDebian},
}

// current is the host that most tests use.
func current(t *testing.T) *host { return hosts[0].ready(t) }

// each runs a test on every host.
func each(t *testing.T, f func(t *testing.T, h *host)) {
	for _, h := range hosts {
		t.Run(strings.ReplaceAll(h.name, " ", "-"), func(t *testing.T) { f(t, h.ready(t)) })
	}
}

var errNoDebian = errors.New("no docker.io of Debian: it could not be downloaded, or iptables is not installed")

func (h *host) ready(t *testing.T) *host {
	t.Helper()
	h.once.Do(func() {
		if h.err = h.start(h); h.err == nil {
			h.env = append(os.Environ(), h.env...)
			if r, err := run(h.env, h.args("load", "-q", "-i", imageTar)...); err != nil || r.code != 0 {
				h.err = fmt.Errorf("docker load of the image: %v, %s", err, r)
			}
		}
	})
	if errors.Is(h.err, errNoDebian) {
		t.Skip(h.err)
	}
	if h.err != nil {
		t.Fatal(h.err)
	}
	h.unchanged(t)
	return h
}

func (h *host) args(args ...string) []string { return append(slices.Clone(h.cli), args...) }

func (h *host) try(t *testing.T, args ...string) result {
	t.Helper()
	r, err := run(h.env, h.args(args...)...)
	if err != nil {
		t.Fatalf("docker %v: %v", args, err)
	}
	return r
}

func (h *host) must(t *testing.T, args ...string) string {
	t.Helper()
	r := h.try(t, args...)
	if r.code != 0 {
		t.Fatalf("docker %v: %s", args, r)
	}
	return r.stdout
}

// unchanged fails the test if, at its end, the host's Docker has anything that it had not
// before. What --rm removes is removed a moment after `docker stop` has returned.
func (h *host) unchanged(t *testing.T) {
	look := func() string {
		var all []string
		for _, what := range [][]string{{"ps", "-aq"}, {"volume", "ls", "-q"}, {"images", "-q"}, {"network", "ls", "-q"}} {
			r, _ := run(h.env, h.args(what...)...)
			all = append(all, what[0]+": "+r.stdout)
		}
		return strings.Join(all, "\n")
	}
	before := look()
	t.Cleanup(func() {
		after := look()
		for end := time.Now().Add(deadline.Scaled(10 * time.Second)); after != before && time.Now().Before(end); after = look() {
			time.Sleep(100 * time.Millisecond)
		}
		if after != before {
			t.Errorf("the host's Docker is not as it was:\n%s\nbefore:\n%s", after, before)
		}
	})
}

func stopHosts() {
	for _, h := range hosts {
		if h.stop != nil {
			h.stop()
		}
	}
}

func startBerth(h *host) error {
	if r, err := run(nil, berthProgram, "up", "--share", shared, "--no-share-cwd", "dind-host"); err != nil || r.code != 0 {
		return fmt.Errorf("berth up: %v, %s", err, r)
	}
	h.cli = []string{berthProgram, "docker", "--engine", "dind-host"}
	h.log = func() string {
		r, _ := run(nil, berthProgram, "logs", "--tail", "40", "dind-host")
		return r.stdout + r.stderr
	}
	h.stop = func() { run(nil, berthProgram, "rm", "-f", "dind-host") }
	return nil
}

// Programs of Debian, unpacked and not installed.
const (
	debianDocker = cache + "/docker.io"
	debianPodman = cache + "/podman"
)

// fetchDebian unpacks packages into a directory, once.
func fetchDebian(dir string, packages ...string) {
	if _, err := os.Stat(dir); err == nil {
		return
	}
	text := `set -e; dir=$1; shift; rm -rf "$dir.new"; mkdir -p "$dir.new"; cd "$dir.new"
		apt-get download -qq "$@"
		for deb in *.deb; do dpkg -x "$deb" .; rm "$deb"; done; cd - >/dev/null; mv "$dir.new" "$dir"`
	if out, err := exec.Command("sh", append([]string{"-c", text, "sh", dir}, packages...)...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "dind: Debian's %s cannot be downloaded: %v\n%s", packages[0], err, bytes.TrimSpace(out))
	}
}

// boundedRunc makes a runc that does not ask for CAP_SYS_RESOURCE, in a directory for
// PATH: Docker 20.10 gives a privileged container all capabilities of the kernel, and
// fails on a machine whose root lacks that one.
func boundedRunc(dir string) (string, error) {
	wrapper := "/tmp/host-runc"
	if err := os.MkdirAll(wrapper, 0o755); err != nil {
		return "", err
	}
	script := `#!/bin/sh
status=$(grep CapEff /proc/self/status | cut -f 2)
bundle=
for a in "$@"; do
	[ "$previous" = --bundle ] && config=$a/config.json
	[ "$previous" = --process ] && config=$a # of docker exec
	previous=$a
done
[ -n "$config" ] && [ $((0x$status & 0x1000000)) = 0 ] && sed -i 's/"CAP_SYS_RESOURCE",//g' "$config"
exec ` + dir + `/usr/sbin/runc "$@"
`
	return wrapper, os.WriteFile(wrapper+"/runc", []byte(script), 0o755)
}

func startDebian(h *host) error {
	dir, err := filepath.Abs(debianDocker)
	if err != nil {
		return err
	}
	_, iptables := exec.LookPath("iptables")
	if _, err := os.Stat(dir + "/usr/sbin/dockerd"); err != nil || iptables != nil {
		return errNoDebian
	}
	wrapper, err := boundedRunc(dir)
	if err != nil {
		return err
	}
	h.env = []string{"PATH=" + wrapper + ":" + dir + "/usr/bin:" + dir + "/usr/sbin:" + os.Getenv("PATH"), "LD_LIBRARY_PATH=" + dir + "/lib/x86_64-linux-gnu"}
	h.cli = []string{dir + "/usr/bin/docker", "-H", "unix:///run/host-docker.sock"}
	h.log = func() string {
		b, _ := os.ReadFile("/tmp/host-docker.log")
		lines := strings.Split(string(b), "\n")
		return strings.Join(lines[max(0, len(lines)-40):], "\n")
	}
	log, err := os.Create("/tmp/host-docker.log")
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(dir+"/usr/sbin/dockerd", "-H", "unix:///run/host-docker.sock")
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), h.env...), log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	h.stop = func() {
		cmd.Process.Signal(unix.SIGTERM)
		cmd.Wait()
	}
	for end := time.Now().Add(deadline.Scaled(20 * time.Second)); ; time.Sleep(50 * time.Millisecond) {
		if r, err := run(cmd.Env, h.args("version")...); err == nil && r.code == 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("Debian's dockerd does not answer: %s", h.log())
		}
	}
}

// eventually asks until the answer is yes, or for as long as a command may take.
func eventually(done func() bool) bool {
	for end := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		if done() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}
