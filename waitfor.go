package berth

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
)

// Condition is what [Container.WaitFor] can wait for.
type Condition struct {
	what string
	wait func(context.Context, *Container) error
	// afterEnd says that the condition may be met by what the command did before it ended.
	afterEnd bool
}

// WaitFor returns when all conditions hold, or as soon as one cannot hold any more, such as
// when the command has ended. Cancel ctx to wait for a limited time.
//
// Errors: [ErrUnavailable] when the command has ended, [ErrInvalid] for a condition that
// the container can never meet.
func (c *Container) WaitFor(ctx context.Context, conditions ...Condition) error {
	all, cancel := context.WithCancel(ctx)
	defer cancel()
	alive, end := context.WithCancelCause(all)
	defer end(nil)
	over := make(chan struct{})
	go func() {
		defer close(over)
		if code, err := c.exit(all); err == nil {
			end(c.notReady(fmt.Sprintf("its command has ended with status %d", code)))
		}
	}()
	results := make(chan error, len(conditions))
	for _, cond := range conditions {
		go func() { results <- c.waitFor(all, alive, cond) }()
	}
	var failed error
	for range conditions {
		if err := <-results; err != nil && failed == nil {
			failed = err
			cancel()
		}
	}
	cancel()
	<-over
	if failed != nil && ctx.Err() != nil {
		return canceled(ctx, "wait for container of", c.Image)
	}
	return failed
}

func (c *Container) waitFor(all, alive context.Context, cond Condition) error {
	if cond.afterEnd {
		alive = all
	}
	err := cond.wait(alive, c)
	if err != nil && all.Err() == nil && alive.Err() != nil {
		return context.Cause(alive)
	}
	return wrap(all, "wait for "+cond.what+" of", c.Image, err)
}

func (c *Container) notReady(why string) error {
	return &Error{Op: "wait for container of", Subject: c.Image, Kind: ErrUnavailable, Reason: "unavailable: " + why}
}

// ForPort holds when a published port accepts connections.
func ForPort(port string) Condition {
	return Condition{what: "port " + port, wait: func(ctx context.Context, c *Container) error {
		address, err := c.Address(ctx, port)
		if err != nil {
			return err
		}
		return until(ctx, func() error {
			var d net.Dialer
			conn, err := d.DialContext(ctx, "tcp", address)
			if err == nil {
				conn.Close()
			}
			return err
		})
	}}
}

// ForHTTP holds when a published port answers GET path with a status from 200 to 399.
func ForHTTP(port, path string) Condition {
	return Condition{what: "HTTP at port " + port, wait: func(ctx context.Context, c *Container) error {
		address, err := c.Address(ctx, port)
		if err != nil {
			return err
		}
		transport := &http.Transport{DisableKeepAlives: true}
		defer transport.CloseIdleConnections()
		return until(ctx, func() error { return get(ctx, transport, "http://"+address+path) })
	}}
}

func get(ctx context.Context, rt http.RoundTripper, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second) // of one question
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return backoff.Permanent(&Error{Op: "ask", Subject: url, Kind: ErrInvalid, Reason: err.Error(), Err: err})
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
	if resp.StatusCode < 200 || resp.StatusCode > 399 {
		return fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	return nil
}

// until asks a foreign program again and again, for ports have no events to wait for.
func until(ctx context.Context, f func() error) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 10*time.Millisecond, 250*time.Millisecond
	_, err := backoff.Retry(ctx, func() (struct{}, error) { return struct{}{}, f() },
		backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(0))
	return err
}

// ForLog holds when the command has written a line that contains text, to standard output
// or standard error.
func ForLog(text string) Condition {
	return Condition{what: fmt.Sprintf("%q in the log", text), afterEnd: true, wait: func(ctx context.Context, c *Container) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		logs, err := c.e.client.ContainerLogs(ctx, c.ID, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Follow: true})
		if err != nil {
			return err
		}
		r, w := io.Pipe()
		defer r.Close()
		go func() {
			err := c.split(w, w, logs)
			logs.Close()
			w.CloseWithError(err)
		}()
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if strings.Contains(lines.Text(), text) {
				return nil
			}
		}
		if err := lines.Err(); err != nil {
			return err
		}
		return c.notReady(fmt.Sprintf("its output ended without %q", text))
	}}
}

// ForHealthy holds when the image's health check says so.
func ForHealthy() Condition {
	return Condition{what: "health", wait: func(ctx context.Context, c *Container) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		// First listen, then look: nothing can happen in between unnoticed.
		stream := c.e.client.Events(ctx, client.EventsListOptions{Filters: client.Filters{}.Add("container", c.ID).Add("event", "health_status")})
		r, err := c.Inspect(ctx)
		if err != nil {
			return err
		}
		if r.State == nil || r.State.Health == nil || r.State.Health.Status == container.NoHealthcheck {
			return &Error{Op: "wait for health of", Subject: c.Image, Kind: ErrInvalid, Reason: "invalid argument: the container has no health check"}
		}
		if r.State.Health.Status == container.Healthy {
			return nil
		}
		for {
			select {
			case m := <-stream.Messages:
				if m.Action == events.ActionHealthStatusHealthy {
					return nil
				}
			case err := <-stream.Err:
				return err
			}
		}
	}}
}
