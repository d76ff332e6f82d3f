package boot

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
)

const healthy = "ready\n"

// health answers the image's HEALTHCHECK: who connects hears when the engine is ready, at
// once or later, or is cut off when it ends.
type health struct {
	ln    net.Listener
	is    chan struct{} // closed when ready
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
		_, _ = io.WriteString(conn, healthy)
	case <-h.ended:
	}
}

func (h *health) ready() { close(h.is) }

func (h *health) close() {
	h.once.Do(func() {
		close(h.ended)
		h.ln.Close()
	})
}

// Health returns nil when the container's engine is ready, for which it waits.
func Health(ctx context.Context) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", filepath.Join(runtimeDir, "health.sock"))
	if err != nil {
		return errors.New("no engine is being started in this container")
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	text, err := io.ReadAll(conn)
	if string(text) != healthy {
		return errors.Join(errors.New("the engine did not become ready"), err)
	}
	return nil
}
