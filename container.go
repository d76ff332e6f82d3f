package berth

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// cleanup is for how long removing a container may take after its context has ended.
const cleanup = 30 * time.Second

// Container is a container that this program has started.
type Container struct {
	ID    string
	Image string

	e       *Engine
	tty     bool        // it has a terminal, and so one stream
	stop    func() bool // ends the hold that Run's context has of it
	letGo   sync.Once
	gone    chan struct{} // closed when the context's end has removed it
	streams chan struct{} // closed when all its output has been copied
	copyErr error

	once      sync.Once
	removeErr error
}

// Run starts a container and returns. As with exec.CommandContext, the end of ctx ends it:
// it is killed and removed, with its anonymous volumes. Else it stays until
// [Container.Remove], or as long as the engine. An empty cmd is the image's own.
//
// Errors: [ErrNotFound] when the engine does not have the image (see [WithPullMissing]),
// [ErrConflict] for a name that is taken, [ErrInvalid].
func (e *Engine) Run(ctx context.Context, image string, cmd []string, opts ...RunOption) (*Container, error) {
	var r run
	for _, opt := range opts {
		opt(&r)
	}
	if r.err != nil {
		return nil, r.err
	}
	r.config.Image = image
	if len(cmd) > 0 {
		r.config.Cmd = cmd
	}
	r.config.OpenStdin, r.config.StdinOnce = r.stdin != nil, r.stdin != nil
	id, err := e.create(ctx, image, &r)
	if err != nil {
		return nil, wrap(ctx, "run", image, err)
	}
	c := &Container{ID: id, Image: image, e: e, tty: r.config.Tty, gone: make(chan struct{}), streams: make(chan struct{})}
	if err := c.begin(ctx, &r); err != nil {
		err = wrap(ctx, "run", image, err)
		_ = c.remove(context.WithoutCancel(ctx))
		return nil, err
	}
	c.stop = context.AfterFunc(ctx, func() {
		defer close(c.gone)
		_ = c.remove(context.WithoutCancel(ctx))
	})
	return c, nil
}

// create makes the container. A create that is cancelled may have been carried out all the
// same, and nobody would know its id, so it is not cancelled: it takes milliseconds.
func (e *Engine) create(ctx context.Context, image string, r *run) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	o := client.ContainerCreateOptions{Config: &r.config, HostConfig: &r.host, Name: r.name}
	patient, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanup)
	defer cancel()
	res, err := e.client.ContainerCreate(patient, o)
	if err != nil && strings.Contains(err.Error(), "bind source path does not exist") {
		return "", &Error{Op: "run", Subject: image, Kind: ErrInvalid, Reason: err.Error() + " in the engine; start it with berth.WithShare of that path", Err: err}
	}
	if err != nil && r.pull != nil && kindOf(err) == ErrNotFound {
		if _, err := e.Pull(ctx, image, r.pull...); err != nil {
			return "", err
		}
		res, err = e.client.ContainerCreate(patient, o)
	}
	return res.ID, err
}

// begin connects the streams and starts the command.
func (c *Container) begin(ctx context.Context, r *run) error {
	if r.stdin == nil && r.stdout == nil && r.stderr == nil {
		close(c.streams)
	} else if err := c.attach(ctx, r); err != nil {
		return err
	}
	_, err := c.e.client.ContainerStart(ctx, c.ID, client.ContainerStartOptions{})
	return err
}

func (c *Container) attach(ctx context.Context, r *run) error {
	conn, err := c.e.client.ContainerAttach(ctx, c.ID, client.ContainerAttachOptions{
		Stream: true, Stdin: r.stdin != nil, Stdout: true, Stderr: true,
	})
	if err != nil {
		close(c.streams)
		return err
	}
	if r.stdin != nil {
		go func() {
			_, _ = io.Copy(conn.Conn, r.stdin)
			_ = conn.CloseWrite()
		}()
	}
	go func() {
		defer close(c.streams)
		defer conn.Close()
		c.copyErr = c.split(r.stdout, r.stderr, conn.Reader)
	}()
	return nil
}

// split copies each stream of what a container writes to its own writer. A terminal's is one
// stream: that is standard output.
func (c *Container) split(stdout, stderr io.Writer, r io.Reader) (err error) {
	if c.tty {
		_, err = io.Copy(orDiscard(stdout), r)
	} else {
		_, err = stdcopy.StdCopy(orDiscard(stdout), orDiscard(stderr), r)
	}
	return err
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// Wait returns when the command has ended and all its output has been copied: nil for
// status 0, else an [*ExitError]. A cancelled ctx ends the waiting only.
func (c *Container) Wait(ctx context.Context) error {
	code, err := c.exit(ctx)
	if err != nil {
		return wrap(ctx, "wait for container of", c.Image, err)
	}
	select {
	case <-c.streams:
	case <-ctx.Done():
		return canceled(ctx, "wait for container of", c.Image)
	}
	if code != 0 {
		return &ExitError{Container: c.ID, Image: c.Image, Code: code, OOMKilled: c.killedForMemory(ctx, code)}
	}
	if c.copyErr != nil {
		return wrap(ctx, "output of container of", c.Image, c.copyErr)
	}
	return nil
}

// exit is the status with which the command ended.
func (c *Container) exit(ctx context.Context) (int, error) {
	ctx, cancel := context.WithCancel(ctx) // ends the client's goroutine in any case
	defer cancel()
	wait := c.e.client.ContainerWait(ctx, c.ID, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	select {
	case r := <-wait.Result:
		if r.Error != nil {
			return int(r.StatusCode), errors.New(r.Error.Message)
		}
		return int(r.StatusCode), nil
	case err := <-wait.Error:
		return 0, err
	case <-ctx.Done():
		// The client sends its result to nobody; take it, so that its goroutine ends.
		go func() {
			select {
			case <-wait.Result:
			case <-wait.Error:
			}
		}()
		return 0, ctx.Err()
	}
}

const killed = 128 + 9 // exit status after SIGKILL

func (c *Container) killedForMemory(ctx context.Context, code int) bool {
	if code != killed {
		return false
	}
	r, err := c.e.client.ContainerInspect(ctx, c.ID, client.ContainerInspectOptions{})
	return err == nil && r.Container.State != nil && r.Container.State.OOMKilled
}

// Inspect is Docker's own description of the container.
func (c *Container) Inspect(ctx context.Context) (container.InspectResponse, error) {
	r, err := c.e.client.ContainerInspect(ctx, c.ID, client.ContainerInspectOptions{})
	return r.Container, wrap(ctx, "inspect container of", c.Image, err)
}

// Logs copies what the command has written so far, each stream to its own writer; either
// may be nil. With follow it goes on until the command ends or ctx does. What a command with
// a terminal writes is standard output.
func (c *Container) Logs(ctx context.Context, stdout, stderr io.Writer, follow bool) error {
	r, err := c.e.client.ContainerLogs(ctx, c.ID, client.ContainerLogsOptions{
		ShowStdout: stdout != nil, ShowStderr: stderr != nil, Follow: follow,
	})
	if err != nil {
		return wrap(ctx, "logs of container of", c.Image, err)
	}
	defer r.Close()
	err = c.split(stdout, stderr, r)
	return wrap(ctx, "logs of container of", c.Image, err)
}

// Address is where a port that is published can be reached from this program: HOST:PORT.
//
// Errors: [ErrNotFound] for a port that is not published, [ErrUnavailable] when the engine
// has no network.
func (c *Container) Address(ctx context.Context, port string) (string, error) {
	p, err := network.ParsePort(port)
	if err != nil {
		return "", &Error{Op: "address of port", Subject: port, Kind: ErrInvalid, Reason: err.Error(), Err: err}
	}
	if c.e.info.Address == "" {
		return "", &Error{Op: "address of port", Subject: port, Kind: ErrUnavailable, Reason: "unavailable: the engine has no network"}
	}
	r, err := c.Inspect(ctx)
	if err != nil {
		return "", err
	}
	if r.NetworkSettings != nil {
		for _, b := range r.NetworkSettings.Ports[p] {
			return net.JoinHostPort(c.e.info.Address, b.HostPort), nil
		}
	}
	return "", &Error{Op: "address of port", Subject: port, Kind: ErrNotFound, Reason: "not found: the container does not publish it, or has ended; use berth.WithPort"}
}

// Stop asks the command to end, and kills it after grace. The container stays.
func (c *Container) Stop(ctx context.Context, grace time.Duration) error {
	seconds := int((grace + time.Second - 1) / time.Second)
	_, err := c.e.client.ContainerStop(ctx, c.ID, client.ContainerStopOptions{Timeout: &seconds})
	return wrap(ctx, "stop container of", c.Image, err)
}

// Remove kills the command, if it runs, and removes the container with its anonymous
// volumes. More calls do no harm.
func (c *Container) Remove(ctx context.Context) error {
	c.letGo.Do(func() {
		if !c.stop() {
			<-c.gone
		}
	})
	return c.remove(ctx)
}

func (c *Container) remove(ctx context.Context) error {
	c.once.Do(func() {
		ctx, cancel := context.WithTimeout(ctx, cleanup)
		defer cancel()
		_, err := c.e.client.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		if err != nil && kindOf(err) != ErrNotFound {
			c.removeErr = wrap(ctx, "remove container of", c.Image, err)
			return
		}
		select {
		case <-c.streams:
		case <-ctx.Done(): // a writer that is given the output does not take it
		}
	})
	return c.removeErr
}
