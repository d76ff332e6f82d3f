package berth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"os/exec"
	"sync"
	"time"

	"github.com/moby/moby/client"

	"github.com/berth-dev/berth/internal/attend"
)

// Engine is a handle of a running engine. Get one from [Start], [Attach] or [FromEnv].
type Engine struct {
	info    Info
	docker  string // path of the bundled docker CLI; empty where it is not known
	busybox string
	binary  string
	client  *client.Client
	pulls   flights
	process *process // nil for an engine that does not end with the handle

	mu     sync.Mutex
	events []Event
	more   chan struct{} // closed, and made anew, when events grows
	done   chan struct{}
	err    error // why the engine ended; nil when Close ended it
	left   error // what could not be cleaned up
	once   sync.Once
}

func newEngine(e *attend.Engine, binary string) (*Engine, error) {
	c, err := client.New(client.WithHost("unix://" + e.Socket))
	if err != nil {
		return nil, fmt.Errorf("make a client for engine %s: %w", e.Name, err)
	}
	return &Engine{
		info: infoOf(e), docker: e.Docker, busybox: e.Busybox, binary: binary, client: c,
		more: make(chan struct{}), done: make(chan struct{}),
	}, nil
}

// ID is the engine's id, 12 hexadecimal digits.
func (e *Engine) ID() string { return e.info.ID }

// Name is the engine's name; its id, when none was given.
func (e *Engine) Name() string { return e.info.Name }

// Info describes the engine as it was when the handle was made.
func (e *Engine) Info() Info { return e.info }

// Client is the standard Docker client, its API version negotiated at the first request.
// The engine closes it.
func (e *Engine) Client() *client.Client { return e.client }

// Busybox is the path of a static busybox that comes with berth, for images that are made
// without a registry; empty where it is not known ([FromEnv]).
func (e *Engine) Busybox() string { return e.busybox }

// DockerHost is the value of DOCKER_HOST that reaches the engine.
func (e *Engine) DockerHost() string { return "unix://" + e.info.Socket }

// Env is what a child process needs in its environment to use the engine, for
// append(os.Environ(), e.Env()...). Testcontainers finds ports and socket by it, too.
func (e *Engine) Env() []string {
	env := []string{
		"DOCKER_HOST=" + e.DockerHost(), "BERTH_ENGINE=" + e.info.ID,
		"TESTCONTAINERS_DOCKER_SOCKET_OVERRIDE=/var/run/docker.sock",
		// Empty is unset for Docker's clients: these would lead them elsewhere.
		"DOCKER_CONTEXT=", "DOCKER_TLS_VERIFY=", "DOCKER_CERT_PATH=", "DOCKER_TLS=",
	}
	if e.info.Address != "" {
		env = append(env, "TESTCONTAINERS_HOST_OVERRIDE="+e.info.Address)
	}
	return env
}

// Dial connects as a process inside the engine's network would: localhost is the engine,
// where the ports are that containers publish. It suits http.Transport.DialContext. The
// network "unix" with any address is the Docker API. A port published for 127.0.0.1 only
// cannot be reached so.
func (e *Engine) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	if network == "unix" {
		return d.DialContext(ctx, network, e.info.Socket)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); host == "localhost" || host == "" || ip != nil && (ip.IsLoopback() || ip.IsUnspecified()) {
		if host = e.info.Address; host == "" {
			return nil, &Error{Op: "dial", Subject: address, Kind: ErrUnavailable, Reason: "unavailable: the engine has no network; start it without berth.WithNetwork(\"none\")"}
		}
	}
	return d.DialContext(ctx, network, net.JoinHostPort(host, port))
}

// Close ends the engine at once and returns when nothing of it is left. Cancelling ctx
// leaves the rest to be done in the background. Closing the handle of an engine that is
// detached, or not this program's, leaves the engine as it is. More calls do no harm.
func (e *Engine) Close(ctx context.Context) error {
	return e.end(ctx, func() { e.process.hangUp() })
}

// Shutdown is Close after giving containers time to stop, ten seconds at most each.
func (e *Engine) Shutdown(ctx context.Context) error {
	return e.end(ctx, func() {
		if err := e.process.send(attend.Request{Shutdown: true}); err != nil {
			e.process.hangUp()
		}
	})
}

func (e *Engine) end(ctx context.Context, begin func()) error {
	if e.process == nil {
		e.once.Do(func() { close(e.done) })
		return e.client.Close()
	}
	begin()
	select {
	case <-e.done:
	case <-ctx.Done():
		e.process.hangUp()
		return canceled(ctx, "close engine", e.info.Name)
	}
	_ = e.client.Close()
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.left
}

// Remove ends a detached engine and removes all it holds.
func (e *Engine) Remove(ctx context.Context) error {
	if e.process != nil {
		return e.Close(ctx)
	}
	_, err := ask(ctx, "remove engine", e.info.Name, e.options(), attend.Request{Remove: e.info.ID})
	return errors.Join(err, e.Close(ctx))
}

// Stop ends a detached engine and keeps what it holds, for `berth start`. After grace,
// containers that still run are killed.
func (e *Engine) Stop(ctx context.Context, grace time.Duration) error {
	if e.process != nil {
		return &Error{Op: "stop engine", Subject: e.info.Name, Kind: ErrInvalid, Reason: "only a detached engine can be kept; start it with berth.Detached, or use Close"}
	}
	_, err := ask(ctx, "stop engine", e.info.Name, e.options(), attend.Request{Stop: &attend.Stop{Engine: e.info.ID, Grace: grace}})
	return err
}

func (e *Engine) options() []Option { return []Option{WithBinary(e.binary)} }

// Done is closed when the engine has ended: by Close, or by itself.
func (e *Engine) Done() <-chan struct{} { return e.done }

// Wait returns when the engine has ended, with the reason unless this program ended it.
func (e *Engine) Wait(ctx context.Context) error {
	if e.process == nil {
		return e.waitForeign(ctx)
	}
	select {
	case <-e.done:
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.err
	case <-ctx.Done():
		return canceled(ctx, "wait for engine", e.info.Name)
	}
}

// waitForeign holds a stream of events open, which ends when the engine does.
func (e *Engine) waitForeign(ctx context.Context) error {
	stream, cancel := context.WithCancel(ctx)
	defer cancel()
	events := e.client.Events(stream, client.EventsListOptions{})
	for {
		select {
		case <-events.Messages:
		case <-events.Err:
			if ctx.Err() != nil {
				return canceled(ctx, "wait for engine", e.info.Name)
			}
			return nil
		case <-e.done:
			return nil
		}
	}
}

// Event is something that happened to the engine, which its user should know.
type Event struct {
	Time  time.Time
	Text  string // one line, such as that the memory limit was reached
	Ended bool   // the last one: the engine has ended
}

// Events yields what happens to the engine, from its start on; it ends with the engine or
// with ctx. Docker's own events are at [Engine.Client]. An engine that this program has not
// started tells only its end.
func (e *Engine) Events(ctx context.Context) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		for i := 0; ; i++ {
			event, ok := e.event(ctx, i)
			if !ok || !yield(event) {
				return
			}
		}
	}
}

// event waits for the event number i; false is for none any more.
func (e *Engine) event(ctx context.Context, i int) (Event, bool) {
	for {
		e.mu.Lock()
		more := e.more
		if i < len(e.events) {
			defer e.mu.Unlock()
			return e.events[i], true
		}
		ended := len(e.events) > 0 && e.events[len(e.events)-1].Ended
		e.mu.Unlock()
		if ended {
			return Event{}, false
		}
		select {
		case <-more:
		case <-ctx.Done():
			return Event{}, false
		case <-e.done:
			if e.process == nil {
				return Event{}, false
			}
			<-more
		}
	}
}

// follow takes the events of the engine's berth process until that has ended.
func (e *Engine) follow() {
	for {
		event, err := e.process.next()
		now := time.Now()
		switch {
		case err != nil:
			e.finish(err, nil, now)
			return
		case event.Note != "":
			e.record(Event{Time: now, Text: event.Note})
		case event.Ended != nil:
			e.process.hangUp()
			_ = e.process.wait()
			e.finish(reason(event.Ended.Reason), reason(event.Ended.Left), now)
			return
		}
	}
}

func reason(text string) error {
	if text == "" {
		return nil
	}
	return errors.New(text)
}

func (e *Engine) record(event Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.events = append(e.events, event)
	close(e.more)
	e.more = make(chan struct{})
}

// finish is called once, when the engine is gone.
func (e *Engine) finish(why, left error, now time.Time) {
	last := Event{Time: now, Text: "the engine has ended", Ended: true}
	e.mu.Lock()
	if why != nil {
		last.Text = why.Error()
		e.err = &Error{Op: "engine", Subject: e.info.Name, Kind: ErrUnavailable, Reason: "ended: " + why.Error(), Err: why}
	}
	if left != nil {
		e.left = &Error{Op: "close engine", Subject: e.info.Name, Reason: left.Error() + "; `berth gc` removes what is left", Err: left}
	}
	e.mu.Unlock()
	e.record(last)
	e.once.Do(func() { close(e.done) })
}

// Stats are the figures of an engine with all its containers. Sizes are bytes.
type Stats struct {
	Memory      uint64 // in use, page cache included
	MemoryPeak  uint64
	MemoryLimit uint64        // 0 for none
	CPU         time.Duration // processor time used
	Throttled   time.Duration // time spent waiting for its share of processors
	PIDs        uint64        // processes and threads
	PIDsLimit   uint64        // 0 for none
}

// Stats reads the figures of the engine.
//
// Errors: [ErrNotRunning], [ErrNotFound] when it is gone, [ErrPrivilege].
func (e *Engine) Stats(ctx context.Context) (Stats, error) {
	event, err := ask(ctx, "stats of engine", e.info.Name, e.options(), attend.Request{Stats: e.info.ID})
	if err != nil || event.Stats == nil {
		return Stats{}, err
	}
	return Stats(*event.Stats), nil
}

// Logs returns what the engine's dockerd has logged, as text; with follow it goes on until
// the engine ends, ctx is cancelled or the reader is closed. Close it.
func (e *Engine) Logs(ctx context.Context, follow bool) (io.ReadCloser, error) {
	o := newOptions(e.options())
	path, err := o.find()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	args := []string{"logs", e.info.ID}
	if follow {
		args = []string{"logs", "--follow", e.info.ID}
	}
	cmd := exec.CommandContext(ctx, path, args...)
	said := &lines{log: o.log}
	cmd.Stderr = said
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, &Error{Op: "logs of engine", Subject: e.info.Name, Reason: err.Error(), Err: err}
	}
	return &output{out: out, cmd: cmd, cancel: cancel, said: said, engine: e.info.Name}, nil
}

// output is what a berth process writes; closing it ends the process.
type output struct {
	out    io.Reader
	cmd    *exec.Cmd
	cancel context.CancelFunc
	said   *lines
	engine string
	once   sync.Once
	failed error
}

func (o *output) Read(b []byte) (int, error) {
	n, err := o.out.Read(b)
	if err == io.EOF {
		o.wait()
		if o.failed != nil {
			err = &Error{Op: "logs of engine", Subject: o.engine, Reason: o.failed.Error() + o.said.last(), Err: o.failed}
		}
	}
	return n, err
}

// Close ends the process; what it says of that is of no interest.
func (o *output) Close() error {
	o.cancel()
	o.wait()
	return nil
}

func (o *output) wait() {
	o.once.Do(func() {
		o.failed = o.cmd.Wait()
		o.cancel()
	})
}
