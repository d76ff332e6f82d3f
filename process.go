package berth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/berth-dev/berth/internal/attend"
)

// EnvBinary names the berth program, for programs that do not use [WithBinary].
const EnvBinary = "BERTH_BINARY"

// process is a berth process that carries out one request: the other side of the protocol
// that package attend draws.
type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	events *json.Decoder
	said   *lines
	once   sync.Once
}

// binary finds the berth program.
func (o *options) find() (string, error) {
	name := o.binary
	if name == "" {
		name = os.Getenv(EnvBinary)
	}
	if name == "" {
		name = "berth"
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", &Error{Op: "find", Subject: name, Kind: ErrNoBinary, Err: err}
	}
	return path, nil
}

// call starts a berth process for one request.
func (o *options) call(req attend.Request) (*process, error) {
	path, err := o.find()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(path, attend.Verb), said: &lines{log: o.log}}
	p.cmd.Stderr = p.said
	// A ^C at the terminal is for the program; its engine ends when the program says so.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	p.cmd.WaitDelay = 5 * time.Second
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, &Error{Op: "run", Subject: path, Reason: err.Error(), Err: err}
	}
	p.events = json.NewDecoder(stdout)
	if err := p.send(req); err != nil && !errors.Is(err, syscall.EPIPE) {
		p.hangUp()
		return nil, errors.Join(err, p.wait())
	}
	return p, nil
}

func (p *process) send(req attend.Request) error { return json.NewEncoder(p.stdin).Encode(req) }

// hangUp ends the requests, and with them the engine that the process attends to.
func (p *process) hangUp() { p.once.Do(func() { p.stdin.Close() }) }

func (p *process) wait() error { return p.cmd.Wait() }

// next is the next event. At the process's end it says why there is none.
func (p *process) next() (attend.Event, error) {
	var e attend.Event
	err := p.events.Decode(&e)
	if err == nil {
		return e, nil
	}
	_ = p.wait()
	if p.cmd.ProcessState.ExitCode() == 2 {
		return e, fmt.Errorf("%s is too old for this package berth; use one of the same version", p.cmd.Path)
	}
	return e, fmt.Errorf("its berth process ended (%s) without a word%s; `berth gc` removes what is left", p.cmd.ProcessState, p.said.last())
}

// ask carries out a request that is answered with one event.
func ask(ctx context.Context, op, subject string, opts []Option, req attend.Request) (attend.Event, error) {
	o := newOptions(opts)
	p, err := o.call(req)
	if err != nil {
		return attend.Event{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = p.cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	defer p.hangUp()
	for {
		e, err := p.next()
		switch {
		case ctx.Err() != nil:
			return e, canceled(ctx, op, subject)
		case err != nil:
			return e, &Error{Op: op, Subject: subject, Reason: err.Error(), Err: err}
		case e.Progress != nil:
			o.unpacking(e.Progress)
			continue
		}
		_ = p.wait()
		if e.Failed != nil {
			return e, failed(op, subject, e.Failed)
		}
		return e, nil
	}
}

func (o *options) unpacking(p *attend.Progress) {
	if o.progress != nil {
		o.progress(p.Done, p.Total)
	}
}

// lines logs what a berth process says on standard error and remembers the last line.
type lines struct {
	log  *slog.Logger
	mu   sync.Mutex
	rest []byte
	line string
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, b...)
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		l.line, l.rest = strings.TrimPrefix(string(line), "berth: "), rest
		l.log.Warn("berth", "message", l.line)
	}
}

func (l *lines) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.line == "" {
		return ""
	}
	return ": " + l.line
}
