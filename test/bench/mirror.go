package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	mirrored     = 300e6 // size of the image that is pulled through the mirror, in bytes
	upstreamRate = 50e6  // what its registry gives to all together, in bytes a second
	manyClients  = 16
	manyStreams  = 64
)

// mirror compares `berth mirror` with distribution/v3 as a proxy and with nginx.
func (b *bench) mirror(ctx context.Context) error {
	dir := filepath.Join(b.work, "mirror")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	up, err := newSource()
	if err != nil {
		return err
	}
	defer up.close()
	if err := b.mirrorFast(ctx, up, dir); err != nil {
		return err
	}
	return b.mirrorPulls(ctx, up, dir)
}

// mirrorPulls has many clients pull one image at once by way of both, with nothing cached and
// with all of it. They are clients of registries and no engines: sixteen engines would measure
// how this machine unpacks layers.
func (b *bench) mirrorPulls(ctx context.Context, up *source, dir string) error {
	var cold, peerCold, coldRatio, warm, peerWarm, warmRatio, asked []float64
	for i := range max(1, b.runs/5) { // distribution alone takes a minute and a half each time
		up.limit(upstreamRate)
		one, most, err := b.pullMirror(ctx, up, filepath.Join(dir, fmt.Sprint("m", i)))
		if err != nil {
			return err
		}
		two, err := pullDistribution(ctx, up, filepath.Join(dir, fmt.Sprint("d", i)))
		if err != nil {
			return fmt.Errorf("distribution as a proxy: %w", err)
		}
		cold, warm, asked = append(cold, ms(one[0])), append(warm, ms(one[1])), append(asked, float64(most))
		peerCold, peerWarm = append(peerCold, ms(two[0])), append(peerWarm, ms(two[1]))
		coldRatio, warmRatio = append(coldRatio, ms(two[0])/ms(one[0])), append(warmRatio, ms(two[1])/ms(one[1]))
	}
	b.add(summarize("16 clients, 300 MB, registry at 50 MB/s: mirror, cold", "ms", cold))
	b.add(summarize("the same, distribution as a proxy", "ms", peerCold))
	b.add(summarize("distribution / mirror, cold", "x", coldRatio).atLeast(3))
	b.add(summarize("requests to the registry for a blob, at most", "", asked).atMost(1))
	b.add(summarize("16 clients, 300 MB: mirror, warm", "ms", warm))
	b.add(summarize("the same, distribution as a proxy, warm", "ms", peerWarm))
	b.add(summarize("distribution / mirror, warm", "x", warmRatio).atLeast(1))
	return nil
}

// pullMirror returns how long the pulls took, cold and warm, and how often the registry was
// asked for the blob that it was asked for most.
func (b *bench) pullMirror(ctx context.Context, up *source, dir string) (took [2]time.Duration, most int, err error) {
	m, err := b.serveMirror(ctx, up, dir)
	if err != nil {
		return took, 0, err
	}
	defer m.close()
	up.forget()
	for i := range took {
		if took[i], err = pulls(ctx, m.host+"/"+up.name+"/"+sourceImage, manyClients); err != nil {
			return took, 0, err
		}
	}
	return took, up.most(), nil
}

func pullDistribution(ctx context.Context, up *source, dir string) (took [2]time.Duration, err error) {
	host, end := proxyOf(ctx, up.server.URL, dir)
	defer os.RemoveAll(dir)
	defer end()
	for i := range took {
		if took[i], err = pulls(ctx, host+"/"+sourceImage, manyClients); err != nil {
			return took, err
		}
	}
	return took, nil
}

// aMirror is a running `berth mirror serve` on a loopback port.
type aMirror struct {
	cmd  *exec.Cmd
	dir  string // removed by close
	host string // host:port
}

func (b *bench) serveMirror(ctx context.Context, up *source, dir string) (*aMirror, error) {
	m := &aMirror{dir: dir}
	m.cmd = exec.CommandContext(ctx, b.program, "mirror", "serve", "--dir", dir, "--socket", "none", "--listen", "127.0.0.1:0",
		"--plain-http", "--upstream", up.name+"="+up.server.URL, "--tag-ttl", "1h")
	m.cmd.Cancel = func() error { return m.cmd.Process.Signal(syscall.SIGTERM) }
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	m.cmd.Env = append(os.Environ(), "BERTH_RUN_DIR="+filepath.Join(b.work, "run"))
	m.cmd.Stderr = os.Stderr
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := m.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	_, host, ok := strings.Cut(strings.TrimSpace(line), "http://")
	if err != nil || !ok {
		m.close()
		return nil, fmt.Errorf("the mirror did not start: %q %w", line, err)
	}
	m.host = host
	return m, nil
}

func (m *aMirror) close() {
	_ = m.cmd.Process.Signal(syscall.SIGTERM)
	_ = m.cmd.Wait()
	_ = os.RemoveAll(m.dir)
}
