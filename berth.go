// Package berth gives a Go program Docker engines of its own: real upstream dockerd in a
// user namespace, ready in a fraction of a second, gone without a trace.
//
//	e, err := berth.Start(ctx)
//	if err != nil { … }
//	defer e.Close(context.Background())
//
//	image, err := e.Pull(ctx, "registry.example/app:1")
//	out, err := e.Output(ctx, image.ID, []string{"cat", "/etc/os-release"})
//
// # Engines
//
// [Start] returns when the engine can be used: there is nothing to poll and nothing to
// sleep for. The engine ends with [Engine.Close], or with the program, however the program
// ends; with [Detached] it stays until `berth rm`. Its context is for the start only.
// [Attach] finds an engine that runs already, [List] all there are, and [FromEnv] the one
// of the `berth run` around the program.
//
// The engine's work is done by the berth program, which must be on PATH (or see
// [WithBinary]) and needs root; a program that is not root gets [ErrPrivilege].
//
// # Docker API
//
// [Engine.Client] is the standard client of github.com/moby/moby/client with its version
// negotiated. Everything that Docker can do is there. The methods of [Engine] are for what
// programs do most, done so that it need not be thought about:
//
//   - [Engine.Pull] returns when the image can be used at once, or with an error that
//     errors.Is can tell apart. Also [Engine.Push], [Engine.Build], [Engine.Save],
//     [Engine.Load], [Engine.Images] and so on; [Copy] needs no engine.
//   - [Engine.Run] starts a container; [Engine.Output] runs one to its end. Cancelling the
//     context stops and removes it.
//   - [Container.WaitFor] waits for a port, a line in the log, an HTTP answer or health.
//   - [Engine.Dial] connects to ports that containers publish, as if localhost were the engine.
//
// # Errors, contexts, concurrency
//
// Errors are of type [*Error], with a kind for errors.Is, such as [ErrNotFound], and are
// one line. Every call that waits takes a context and cleans up when it is cancelled. All
// types are safe for concurrent use. Sizes are bytes.
//
// Package berthtest gives a test an engine of its own.
package berth

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/berth-dev/berth/internal/attend"
)

// Start makes an engine and returns when it can be used. Cancelling ctx before that undoes
// all; afterwards ctx has no effect, see [Engine.Close].
//
// Errors: [ErrNoBinary], [ErrPrivilege], [ErrInvalid] for an option that cannot be used,
// [ErrNameTaken], [ErrNoPayload], [ErrUnable], [ErrNoSpace]; or why dockerd could not start.
func Start(ctx context.Context, opts ...Option) (*Engine, error) {
	o := newOptions(opts)
	name := o.settings.Name
	if err := ctx.Err(); err != nil {
		return nil, canceled(ctx, "start engine", name)
	}
	p, err := o.call(attend.Request{Start: &o.settings})
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, p.hangUp)
	defer stop()
	for {
		event, err := p.next()
		if err != nil && ctx.Err() != nil {
			return nil, canceled(ctx, "start engine", name)
		}
		switch {
		case err != nil:
			return nil, &Error{Op: "start engine", Subject: name, Reason: err.Error(), Err: err}
		case event.Progress != nil:
			o.unpacking(event.Progress)
		case event.Failed != nil:
			stop()
			p.hangUp()
			_ = p.wait()
			if ctx.Err() != nil {
				return nil, canceled(ctx, "start engine", name)
			}
			return nil, failed("start engine", name, event.Failed)
		case event.Ready != nil:
			if !stop() { // cancelled: the process is ending the engine already
				p.drain()
				return nil, canceled(ctx, "start engine", name)
			}
			return o.engine(p, event.Ready)
		}
	}
}

// drain returns when the process has ended.
func (p *process) drain() {
	for {
		if _, err := p.next(); err != nil {
			return
		}
	}
}

// engine is the handle of an engine that has become ready.
func (o *options) engine(p *process, ready *attend.Engine) (*Engine, error) {
	e, err := newEngine(ready, o.binary)
	if err != nil {
		p.hangUp()
		_ = p.wait()
		return nil, err
	}
	if o.settings.Detached {
		p.hangUp()
		_ = p.wait()
		return e, nil
	}
	e.process = p
	go e.follow()
	return e, nil
}

// Attach returns a handle of a running engine, by its name or id. Closing it leaves the
// engine as it is.
//
// Errors: [ErrNotFound], [ErrNotRunning], [ErrPrivilege], [ErrNoBinary].
func Attach(ctx context.Context, name string, opts ...Option) (*Engine, error) {
	event, err := ask(ctx, "attach to engine", name, opts, attend.Request{Find: name})
	if err != nil {
		return nil, err
	}
	o := newOptions(opts)
	return newEngine(event.Ready, o.binary)
}

// FromEnv returns a handle of the engine that the environment names: that of the `berth
// run` around the program, or, in Kubernetes, that of the pod (`berth kube`). Ports that
// containers publish are at localhost. It needs neither root nor the berth program. Without
// an engine it returns [ErrNotFound].
func FromEnv() (*Engine, error) {
	host := os.Getenv("DOCKER_HOST")
	socket, ok := strings.CutPrefix(host, "unix://")
	id := os.Getenv("BERTH_ENGINE")
	if !ok || id == "" {
		return nil, &Error{Op: "find the engine around this program", Kind: ErrNotFound, Reason: "not found: DOCKER_HOST and BERTH_ENGINE are not those of an engine; use `berth run`, or `berth kube` in a cluster"}
	}
	address := os.Getenv("TESTCONTAINERS_HOST_OVERRIDE")
	return newEngine(&attend.Engine{ID: id, Name: id, Status: "running", Socket: socket, Address: address}, "")
}

// Info describes an engine.
type Info struct {
	ID        string    // 12 hexadecimal digits
	Name      string    // the id, when none was given
	Status    string    // starting, running, stopping, stopped or dead
	Error     string    // why it ended, when nobody asked it to
	Isolation string    // userns or rootful
	Socket    string    // path of the Docker API's unix socket
	Address   string    // IP address at which containers' published ports are; empty without a network
	UID, GID  int       // of its owner
	OOMKills  int       // how often its own memory limit made the kernel kill
	Created   time.Time // when it was made
	Ready     time.Time // when it could be used
}

func infoOf(e *attend.Engine) Info {
	return Info{
		ID: e.ID, Name: e.Name, Status: e.Status, Error: e.Error, Isolation: e.Isolation, Socket: e.Socket,
		Address: e.Address, UID: e.UID, GID: e.GID, OOMKills: e.OOMKills, Created: e.Created, Ready: e.Ready,
	}
}

// List describes all engines of this machine, stopped ones too, oldest first.
//
// Errors: [ErrPrivilege], [ErrNoBinary].
func List(ctx context.Context, opts ...Option) ([]Info, error) {
	event, err := ask(ctx, "list engines", "", opts, attend.Request{List: true})
	if err != nil {
		return nil, err
	}
	if event.Engines == nil {
		return nil, &Error{Op: "list engines", Reason: "berth gave no list"}
	}
	out := make([]Info, 0, len(*event.Engines))
	for _, e := range *event.Engines {
		out = append(out, infoOf(&e))
	}
	return out, nil
}
