package engine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/linux"
	"github.com/berth-dev/berth/internal/state"
)

// MonitorVerb is the hidden verb that runs [RunMonitor] in a process of its own.
//
//	caller                                monitor
//	   │  order {spec} or {revive: id}      │
//	   ├───────────────── stdin ───────────▶│ starts the engine
//	   │  outcome {info} or {error}         │
//	   │◀──────────────── stdout ───────────┤ ready, or undone
//	   │  ack                               │
//	   ├───────────────── stdin ───────────▶│ detached: watches the engine until told to end
//	   ╳ end of file without ack: the caller has gone or given up; the engine is undone
const MonitorVerb = "_monitor"

type order struct {
	Spec   *Spec  `json:"spec,omitempty"`
	Revive string `json:"revive,omitempty"`
	Ack    bool   `json:"ack,omitempty"`
}

type outcome struct {
	Info  *Info  `json:"info,omitempty"`
	Error string `json:"error,omitempty"`
	Kind  string `json:"kind,omitempty"`  // which sentinel the error is
	Field string `json:"field,omitempty"` // of a SpecError
}

// StartDetached makes an engine whose monitor is a new process, independent of this one,
// and returns when the Docker API can be used. Cancelling ctx before that undoes all.
func (m *Manager) StartDetached(ctx context.Context, spec Spec) (Info, error) {
	spec.Keep = true
	if err := spec.Validate(); err != nil {
		return Info{}, err
	}
	if _, err := m.Tree(ctx); err != nil { // here, where there is somebody to show progress to
		return Info{}, err
	}
	return m.spawn(ctx, order{Spec: &spec})
}

// StartStopped starts a stopped engine again, as it was made. It returns [ErrRunning] for one that runs.
func (m *Manager) StartStopped(ctx context.Context, ref string) (Info, error) {
	m.collectFirst(ctx)
	info, err := m.Find(ctx, ref)
	if err != nil {
		return Info{}, err
	}
	if info.Status != StatusStopped {
		return Info{}, fmt.Errorf("%w: %s is %s already", ErrRunning, info.Name, info.Status)
	}
	if _, err := m.Tree(ctx); err != nil {
		return Info{}, err
	}
	return m.spawn(ctx, order{Revive: info.ID})
}

func (m *Manager) pathsEnv() []string {
	return []string{state.EnvRunDir + "=" + m.paths.Run, state.EnvStateDir + "=" + m.paths.State}
}

func (m *Manager) spawn(ctx context.Context, o order) (Info, error) {
	self, err := os.Executable()
	if err != nil {
		return Info{}, err
	}
	cmd := exec.Command(self, MonitorVerb)
	cmd.Env = append(os.Environ(), m.pathsEnv()...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return Info{}, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return Info{}, err
	}
	if err := cmd.Start(); err != nil {
		return Info{}, fmt.Errorf("start the engine's monitor: %w", err)
	}
	// End of file on its standard input makes the monitor undo what it has done.
	stop := context.AfterFunc(ctx, func() { stdin.Close() })
	defer stop()
	enc := json.NewEncoder(stdin)
	sendErr := enc.Encode(o)
	var out outcome
	if err := json.NewDecoder(stdout).Decode(&out); err != nil {
		_ = cmd.Wait()
		return Info{}, errors.Join(ctx.Err(), fmt.Errorf("start the engine: its monitor ended (%s) without a word; see `berth gc`", cmd.ProcessState), sendErr)
	}
	if out.Info == nil {
		_ = cmd.Wait()
		return Info{}, errors.Join(ctx.Err(), out.err())
	}
	if err := enc.Encode(order{Ack: true}); err != nil {
		_ = cmd.Wait()
		return Info{}, errors.Join(ctx.Err(), errors.New("start the engine: its monitor ended"))
	}
	stdin.Close()
	return *out.Info, cmd.Process.Release()
}

// RunMonitor is the body of a detached monitor: it takes its order from in, answers on out,
// and returns when the engine has ended. SIGTERM stops the engine, SIGINT ends it at once.
func RunMonitor(ctx context.Context, m *Manager, in io.Reader, out io.WriteCloser) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	signals := make(chan os.Signal, 4) // from now on: one that comes right after the outcome counts as well
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT)
	dec := json.NewDecoder(bufio.NewReader(in))
	var o order
	if err := dec.Decode(&o); err != nil {
		return fmt.Errorf("%s is for berth itself", MonitorVerb)
	}
	acked := make(chan struct{})
	go func() {
		var ack order
		if err := dec.Decode(&ack); err != nil || !ack.Ack {
			cancel()
			return
		}
		close(acked)
	}()
	e, err := m.carryOut(ctx, o)
	if err != nil && ctx.Err() != nil { // by a signal: whoever asked and went away reads nothing
		m.log.Debug("start", "error", err)
		err = fmt.Errorf("%w: it was stopped or removed while it started", ErrNotRunning)
	}
	if err != nil {
		_ = json.NewEncoder(out).Encode(newOutcome(err))
		return err
	}
	info := e.Info()
	_ = json.NewEncoder(out).Encode(outcome{Info: &info})
	out.Close()
	select {
	case <-acked:
	case <-ctx.Done():
		return e.end(context.Background(), info.Revived, nil)
	}
	m.warn("detach", &info, m.fault.after("detach"))
	m.warn("give memory back", &info, linux.Slim())
	return e.watch(signals)
}

func (m *Manager) carryOut(ctx context.Context, o order) (*Engine, error) {
	if o.Spec != nil {
		return m.Start(ctx, *o.Spec)
	}
	info, err := m.Find(ctx, o.Revive)
	if err != nil {
		return nil, err
	}
	info.Revived, info.Net, info.NetNS, info.OOMKills = true, nil, NetNS{}, 0
	return m.start(ctx, &launch{m: m, info: info})
}

// watch holds the engine until signals tell to end it or it ends by itself. How long it may take
// to stop is whoever's who asks, and dockerd's, which bounds it by what its containers were given.
func (e *Engine) watch(signals <-chan os.Signal) error {
	signal.Ignore(unix.SIGHUP, unix.SIGPIPE)
	select {
	case <-e.Done():
		return e.end(context.Background(), true, e.Err())
	case s := <-signals:
		if s == unix.SIGINT {
			return e.Close(context.Background())
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		for s := range signals {
			if s == unix.SIGINT {
				cancel()
			}
		}
	}()
	return e.Shutdown(ctx)
}

// sentinels are the errors that keep their identity across processes.
var sentinels = map[string]error{
	"not_found": ErrNotFound, "name_taken": ErrNameTaken, "not_running": ErrNotRunning, "running": ErrRunning,
}

func newOutcome(err error) outcome {
	o := outcome{Error: err.Error()}
	var spec *SpecError
	if errors.As(err, &spec) {
		o.Field, o.Error = spec.Field, spec.Problem
	}
	for kind, s := range sentinels {
		if errors.Is(err, s) {
			o.Kind = kind
		}
	}
	return o
}

// err is the error that the outcome was made of.
func (o outcome) err() error {
	if o.Field != "" {
		return &SpecError{o.Field, o.Error}
	}
	return &remoteError{o.Error, sentinels[o.Kind]}
}

// remoteError is another process's error, with its text and its identity.
type remoteError struct {
	text string
	is   error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.is }
