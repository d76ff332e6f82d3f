package berth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
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
	buildx  string // what BUILDX_CONFIG is for this engine; empty: the user's own holds
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

	watched sync.Once // for an engine of somebody else
}

func newEngine(e *attend.Engine, binary string) (*Engine, error) {
	c, err := client.New(client.WithHost("unix://" + e.Socket))
	if err != nil {
		return nil, fmt.Errorf("make a client for engine %s: %w", e.Name, err)
	}
	return &Engine{
		info: infoOf(e), docker: e.Docker, busybox: e.Busybox, buildx: e.Buildx, binary: binary, client: c,
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
// append(os.Environ(), e.Env()...). Testcontainers finds ports and socket by it, too, and
// buildx what its builders in containers are to pull through and trust.
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
	if e.buildx != "" && os.Getenv("BUILDX_CONFIG") == "" {
		env = append(env, "BUILDX_CONFIG="+e.buildx)
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

// Done is closed when the engine has ended, by Close or by itself, and when the handle of an
// engine that outlives it is closed.
func (e *Engine) Done() <-chan struct{} {
	e.watch()
	return e.done
}

// Wait returns when the engine has ended, with the reason unless somebody asked for that.
func (e *Engine) Wait(ctx context.Context) error {
	select {
	case <-e.Done():
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.err
	case <-ctx.Done():
		return canceled(ctx, "wait for engine", e.info.Name)
	}
}

// watch sees to it that the end of an engine which is not this program's is noticed.
func (e *Engine) watch() {
	if e.process == nil {
		e.watched.Do(func() { go e.followForeign() })
	}
}

// followForeign holds a stream of events open, which ends when the engine does.
func (e *Engine) followForeign() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	events := e.client.Events(ctx, client.EventsListOptions{Filters: client.Filters{}.Add("type", "daemon")})
	for {
		select {
		case <-events.Messages:
		case <-events.Err:
			e.finish(nil, nil, time.Now())
			return
		case <-e.done: // the handle is closed
			return
		}
	}
}
