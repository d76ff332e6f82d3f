package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/berth-dev/berth/test/image"
)

// imageName is what the archive in bench.image holds.
const imageName = "berth.test/busy:1"

func (b *bench) prepare(ctx context.Context) (err error) {
	if b.program, err = filepath.Abs(b.program); err != nil {
		return err
	}
	if b.work, err = os.MkdirTemp("/var/tmp", "berth-bench-"); err != nil {
		return err
	}
	if _, err := b.output(ctx, "run", "--", "true"); err != nil { // extracts the payload, warms caches
		return fmt.Errorf("%s run: %w", b.program, err)
	}
	b.image = filepath.Join(b.work, "image.tar")
	img, err := image.Build(image.Options{})
	if err == nil {
		err = image.SaveTar(b.image, imageName, img)
	}
	if err != nil {
		return err
	}
	b.payload, err = locate(or(os.Getenv("BERTH_STATE_DIR"), "/var/lib/berth"))
	return err
}

// output runs berth to its end.
func (b *bench) output(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, b.program, args...)
	cmd.Dir = "/"
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("berth %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}

// session is a `berth run` whose command waits until it is told to end.
type session struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Scanner
	id     string
	ready  time.Duration // from the start of berth to the start of the command
	stderr bytes.Buffer
}

// open starts berth; extra is what the command does before it waits.
func (b *bench) open(ctx context.Context, extra string, env ...string) (*session, error) {
	return b.openWith(ctx, nil, extra, env...)
}

// openWith is open with flags for berth run.
func (b *bench) openWith(ctx context.Context, flags []string, extra string, env ...string) (*session, error) {
	s := &session{}
	s.cmd = exec.CommandContext(ctx, b.program, append(append([]string{"run"}, flags...), "--", "sh", "-ec",
		"date +%s%N; "+extra+"\necho $DOCKER_HOST; read wait || true; date +%s%N")...)
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(syscall.SIGTERM) }
	s.cmd.Dir, s.cmd.Stderr = "/", &s.stderr
	s.cmd.Env = append(os.Environ(), env...)
	var err error
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.out = bufio.NewScanner(out)
	begin := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	first, err := s.stamp()
	if err != nil {
		s.in.Close()
		s.cmd.Wait()
		return nil, fmt.Errorf("%w: %s", err, bytes.TrimSpace(s.stderr.Bytes()))
	}
	s.ready = first.Sub(begin)
	for s.out.Scan() {
		if host, ok := strings.CutPrefix(s.out.Text(), "unix://"); ok {
			s.id = filepath.Base(filepath.Dir(host))
			return s, nil
		}
	}
	s.in.Close()
	s.cmd.Wait()
	return nil, fmt.Errorf("the engine's command failed: %s", bytes.TrimSpace(s.stderr.Bytes()))
}

func (s *session) stamp() (time.Time, error) {
	for s.out.Scan() {
		if ns, err := strconv.ParseInt(s.out.Text(), 10, 64); err == nil && ns > 1e18 {
			return time.Unix(0, ns), nil
		}
	}
	return time.Time{}, fmt.Errorf("berth's command printed no time")
}

// close lets the command end and returns how long berth took from then on.
func (s *session) close() (time.Duration, error) {
	s.in.Close()
	end, err := s.stamp()
	waited := s.cmd.Wait()
	took := time.Since(end)
	if err != nil {
		return 0, err
	}
	if waited != nil {
		return 0, fmt.Errorf("%w: %s", waited, bytes.TrimSpace(s.stderr.Bytes()))
	}
	return took, nil
}

// initOf asks for the process that is the engine's init.
func (b *bench) initOf(ctx context.Context, id string) (int, error) {
	out, err := b.output(ctx, "inspect", "--json", id)
	if err != nil {
		return 0, err
	}
	var object struct {
		Init struct {
			PID int `json:"pid"`
		} `json:"init"`
	}
	if err := json.Unmarshal(out, &object); err != nil {
		return 0, fmt.Errorf("berth inspect: %w", err)
	}
	if object.Init.PID == 0 {
		return 0, fmt.Errorf("berth inspect names no init process")
	}
	return object.Init.PID, nil
}
