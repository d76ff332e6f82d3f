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
)

const (
	mirrored     = 300e6 // size of the image that is pulled through the mirror, in bytes
	upstreamRate = 50e6  // what its registry gives to all together, in bytes a second
	manyEngines  = 16
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

// aMirror is a running `berth mirror serve`, on a loopback port or for the engines of this machine.
type aMirror struct {
	cmd  *exec.Cmd
	dir  string // removed by close
	host string // host:port; empty: a socket
}

// serveMirror starts a mirror of up; listen are the flags that say where.
func (b *bench) serveMirror(ctx context.Context, up *source, dir string, listen ...string) (*aMirror, error) {
	m := &aMirror{dir: dir}
	m.cmd = exec.CommandContext(ctx, b.program, append([]string{"mirror", "serve", "--dir", dir,
		"--upstream", up.name + "=" + up.server.URL, "--tag-ttl", "1h"}, listen...)...)
	m.cmd.Cancel = func() error { return m.cmd.Process.Signal(syscall.SIGTERM) }
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	m.cmd.Stderr = os.Stderr
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := m.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		m.close()
		return nil, fmt.Errorf("the mirror did not start: %w", err)
	}
	_, m.host, _ = strings.Cut(strings.TrimSpace(line), "http://")
	return m, nil
}

func (m *aMirror) close() {
	_ = m.cmd.Process.Signal(syscall.SIGTERM)
	_ = m.cmd.Wait()
	_ = os.RemoveAll(m.dir)
}
