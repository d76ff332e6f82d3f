package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// mirrorFast measures what a mirror that has everything gives: a blob, beside nginx, a manifest,
// and many streams.
func (b *bench) mirrorFast(ctx context.Context, up *source, dir string) error {
	up.limit(1e12)
	m, err := b.serveMirror(ctx, up, filepath.Join(dir, "fast"), "--socket", "none", "--listen", "127.0.0.1:0", "--plain-http")
	if err != nil {
		return err
	}
	defer m.close()
	blob := "http://" + m.host + "/v2/team/app/blobs/" + up.layer.String() + "?ns=" + up.name
	if err := streams(ctx, blob, manyStreams); err != nil { // the first fetches it
		return err
	}
	cold, err := peak(m.cmd.Process.Pid)
	if err != nil {
		return err
	}
	if err := streams(ctx, blob, manyStreams); err != nil {
		return err
	}
	warm, err := peak(m.cmd.Process.Pid)
	if err != nil {
		return err
	}
	b.add(summarize("memory of the mirror, 64 streams while it fetches", "MiB", []float64{cold}).atMost(64))
	b.add(summarize("memory of the mirror, 64 more when it has it", "MiB", []float64{warm}).atMost(64))
	if err := b.manifestHits(ctx, "http://"+m.host+"/v2/team/app/manifests/1?ns="+up.name); err != nil {
		return err
	}
	return b.besideNginx(ctx, blob, filepath.Join(m.dir, "blobs", up.layer.Algorithm, up.layer.Hex), dir)
}

func (b *bench) manifestHits(ctx context.Context, url string) error {
	if _, err := fetch(ctx, url); err != nil { // the registry is asked now, and not again
		return err
	}
	var took []float64
	for range 200 * b.runs {
		begin := time.Now()
		if _, err := fetch(ctx, url); err != nil {
			return err
		}
		took = append(took, ms(time.Since(begin)))
	}
	b.add(summarize("a manifest that the mirror has", "ms", took).atMost(1))
	return nil
}

// besideNginx reads one blob from the mirror and its file from nginx, in turn.
func (b *bench) besideNginx(ctx context.Context, blob, file, dir string) error {
	program, err := nginx()
	if err != nil {
		fmt.Fprintln(os.Stderr, "  left out:", err)
		b.add(summarize("mirror / nginx: left out, there is no nginx", "x", nil))
		return nil
	}
	peer, end, err := serveNginx(ctx, program, filepath.Dir(file), filepath.Join(dir, "nginx"))
	if err != nil {
		return err
	}
	defer end()
	urls := [2]string{blob, peer + "/" + filepath.Base(file)}
	var rate [2][]float64
	var ratio []float64
	for i := range 2 * b.runs {
		var now [2]float64
		for _, which := range []int{i % 2, 1 - i%2} { // each is first in its turn
			begin := time.Now()
			n, err := fetch(ctx, urls[which])
			if err != nil {
				return err
			}
			now[which] = float64(n) / 1e6 / time.Since(begin).Seconds()
			rate[which] = append(rate[which], now[which])
		}
		ratio = append(ratio, now[0]/now[1])
	}
	b.add(summarize("a blob that the mirror has, HTTP on loopback", "MB/s", rate[0]))
	b.add(summarize("the same file from nginx", "MB/s", rate[1]))
	b.add(summarize("mirror / nginx, pair by pair", "x", ratio).atLeast(0.8))
	return nil
}

// nginx finds Debian's, which hack/deps.sh unpacks and does not install: it would run as a service.
func nginx() (string, error) {
	if unpacked, err := filepath.Abs("../.cache/nginx/usr/sbin/nginx"); err == nil {
		if path, err := exec.LookPath(unpacked); err == nil {
			return path, nil
		}
	}
	path, err := exec.LookPath("nginx")
	if err != nil {
		return "", fmt.Errorf("%w; `make test-deps` fetches it", err)
	}
	return path, nil
}

// serveNginx serves a directory as Debian's nginx does, with sendfile, on a loopback port. The
// socket is made here and inherited, as from the nginx that is being upgraded: a client that is
// early waits in its backlog.
func serveNginx(ctx context.Context, program, root, dir string) (url string, end func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, err
	}
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return "", nil, err
	}
	defer l.Close()
	socket, err := l.File()
	if err != nil {
		return "", nil, err
	}
	defer socket.Close()
	host := l.Addr().String()
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(conf, []byte(nginxConf(host, root, dir)), 0o600); err != nil {
		return "", nil, err
	}
	cmd := exec.CommandContext(ctx, program, "-e", "stderr", "-c", conf, "-p", dir)
	cmd.Env = append(os.Environ(), "NGINX=3;")
	cmd.ExtraFiles = []*os.File{socket}
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	return "http://" + host, func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() }, nil
}

func nginxConf(host, root, dir string) string {
	return fmt.Sprintf(`daemon off; user root; worker_processes auto; pid %[1]s/pid; error_log stderr;
events { worker_connections 768; }
http {
	access_log off; sendfile on; tcp_nopush on;
	client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
	server { listen %[2]s; root %[3]s; }
}
`, dir, host, root)
}

// fetch reads a URL to its end and returns how many bytes that was.
func fetch(ctx context.Context, url string) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%s: %s", url, resp.Status)
	}
	return io.CopyBuffer(struct{ io.Writer }{io.Discard}, resp.Body, make([]byte, 256<<10))
}

func streams(ctx context.Context, url string, n int) error {
	group, ctx := errgroup.WithContext(ctx)
	for range n {
		group.Go(func() error { _, err := fetch(ctx, url); return err })
	}
	return group.Wait()
}

// peak is the most memory that a process has had resident, in MiB (proc_pid_status(5)).
func peak(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmHWM:" {
			kib, err := strconv.ParseFloat(f[1], 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("process %d has no VmHWM", pid)
}
