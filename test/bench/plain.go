package main

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

//go:embed plain.sh
var plainScript string

// plain starts dockerd and containerd without berth, with a firewall backend, and
// returns the time from dockerd's start until its API answers. The making of the
// namespaces is not counted.
func (b *bench) plain(ctx context.Context, backend, containerd string) (time.Duration, error) {
	return b.foreign(ctx, backend, containerd, 30*time.Second)
}

// entryPoint does the same through docker:dind's own script.
func (b *bench) entryPoint(ctx context.Context, script, containerd string) (time.Duration, error) {
	path, err := filepath.Abs(script)
	if err != nil {
		return 0, err
	}
	return b.foreign(ctx, path, containerd, 2*time.Minute)
}

func (b *bench) foreign(ctx context.Context, kind, containerd string, limit time.Duration) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	dir, err := os.MkdirTemp(b.work, "plain-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	for _, name := range []string{"root", "run", "data"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			return 0, err
		}
	}
	cmd := exec.CommandContext(ctx, "unshare", "--pid", "--mount", "--net", "--ipc", "--uts", "--fork", "--kill-child",
		"sh", "-c", plainScript, "sh", b.payload, dir, containerd, kind)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() {
		cmd.Process.Signal(unix.SIGKILL) // --kill-child ends what is inside
		cmd.Wait()
	}()
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		return 0, errors.New("plain dockerd: its namespaces could not be made")
	}
	ns, err := strconv.ParseInt(strings.TrimSpace(lines.Text()), 10, 64)
	if err != nil {
		return 0, err
	}
	if err := ping(ctx, filepath.Join(dir, "run", "docker.sock")); err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "log"))
		return 0, fmt.Errorf("plain dockerd (%s) did not answer: %w\n%s", kind, err, tail(string(log), 10))
	}
	return time.Since(time.Unix(0, ns)), nil
}

// ping asks until the API answers. A foreign dockerd has to be polled.
func ping(ctx context.Context, socket string) error {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/_ping", nil)
		if err != nil {
			return err
		}
		if answer, err := client.Do(request); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func tail(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// containerd builds the daemon of the version that the payload's shim has, once,
// and returns the directory it is in.
func (b *bench) containerd(ctx context.Context) (string, error) {
	dir, err := filepath.Abs("../.cache/test/containerd")
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, "bin", "containerd")
	if _, err := os.Stat(program); err == nil {
		return filepath.Dir(program), nil
	}
	fmt.Fprintln(os.Stderr, "  building containerd, once")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join("../payload/shim", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o644)
		}
		if err != nil {
			return "", err
		}
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-mod=mod", "-trimpath", "-ldflags", "-s -w", "-o", program, "github.com/containerd/containerd/v2/cmd/containerd")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build containerd: %w\n%s", err, tail(string(text), 10))
	}
	return filepath.Dir(program), nil
}
