package boot

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const healthy = "ready\n"

// pingTime is how long an engine may take to answer.
const pingTime = 8 * time.Second

// health answers the image's HEALTHCHECK and a pod's probes: who connects hears when the
// engine is ready, at once or later, or is cut off when it ends. Once it is ready, the
// engine is asked each time, so that one that hangs is noticed.
type health struct {
	ln    net.Listener
	is    chan struct{}               // closed when ready
	ask   func(context.Context) error // set when ready
	ended chan struct{}
	once  sync.Once
}

func newHealth(path string) (*health, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	h := &health{ln: ln, is: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go h.answer(conn)
		}
	}()
	return h, nil
}

func (h *health) answer(conn net.Conn) {
	defer conn.Close()
	select {
	case <-h.is:
		ctx, cancel := context.WithTimeout(context.Background(), pingTime)
		defer cancel()
		answer := healthy
		if err := h.ask(ctx); err != nil {
			answer = "the engine does not answer: " + err.Error()
		}
		_, _ = io.WriteString(conn, answer)
	case <-h.ended:
	}
}

// ready says that the engine serves on a socket.
func (h *health) ready(socket string) {
	h.ask = func(ctx context.Context) error { return ping(ctx, socket) }
	close(h.is)
}

func (h *health) close() {
	h.once.Do(func() {
		close(h.ended)
		h.ln.Close()
	})
}

// Health returns nil when the container's engine is ready, for which it waits.
func Health(ctx context.Context) error {
	return askHealth(ctx, filepath.Join(runtimeDir, "health.sock"))
}

func askHealth(ctx context.Context, path string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return errors.New("no engine is being started in this container")
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	text, err := io.ReadAll(conn)
	switch {
	case string(text) == healthy:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case len(text) > 0:
		return errors.New(string(text))
	}
	return errors.Join(errors.New("the engine ended before it was ready; its log says why"), err)
}
