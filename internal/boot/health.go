package boot

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

const healthy = "ready\n"

// healthSocket is not below runtimeDir: that is mounted over at the start, and who waits for
// the socket would wait at the wrong place.
const healthSocket = "/run/berth-health.sock"

// beginning is how long a container may take from `docker run`'s return until it has the
// socket.
const beginning = 5 * time.Second

// pingTime is how long an engine may take to answer.
const pingTime = 8 * time.Second

// health answers the image's HEALTHCHECK and a pod's probes: who connects hears when the
// engine is ready, at once or later, or is cut off when it ends. Once it is ready, the
// engine is asked each time, so that one that hangs is noticed. What follows for who goes on
// reading is about registries, see registries.
type health struct {
	path  string // of the socket; removed at the end
	ln    net.Listener
	is    chan struct{}               // closed when ready
	ask   func(context.Context) error // set when ready
	regs  *registries                 // set when ready
	ended chan struct{}
	once  sync.Once
}

func newHealth(path string) (*health, error) {
	// It appears when it listens, so that who waits for it has to look but once.
	begun := path + ".new"
	for _, p := range []string{path, begun} {
		if err := os.Remove(p); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	ln, err := net.Listen("unix", begun)
	if err != nil {
		return nil, err
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := os.Rename(begun, path); err != nil {
		ln.Close()
		return nil, err
	}
	h := &health{path: path, ln: ln, is: make(chan struct{}), ended: make(chan struct{})}
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
		if _, err := io.WriteString(conn, answer); err != nil || answer != healthy {
			return
		}
		// A line tells who wants to know of registries as well.
		if _, err := bufio.NewReader(conn).ReadString('\n'); err == nil {
			_, _ = io.WriteString(conn, strings.Join(h.regs.distrusted(ctx), "; "))
		}
	case <-h.ended:
	}
}

// ready says that the engine serves on a socket, and pulls from registries.
func (h *health) ready(socket string, regs *registries) {
	h.ask, h.regs = func(ctx context.Context) error { return ping(ctx, socket) }, regs
	close(h.is)
}

func (h *health) close() {
	h.once.Do(func() {
		close(h.ended)
		h.ln.Close()
		_ = os.Remove(h.path)
	})
}

// Health returns nil when the container's engine is ready, for which it waits. In a container
// that starts none it says so after a few seconds. With registries, certificates are looked at
// too: of each registry that the container has certificates for, until it was found to be trusted;
// one that cannot be reached is no error.
func Health(ctx context.Context, registries bool) error {
	return askHealth(ctx, healthSocket, beginning, registries)
}

var errNoEngine = errors.New("no engine is being started in this container")

// askHealth asks on the socket at path, for which it waits as long as patience.
func askHealth(ctx context.Context, path string, patience time.Duration, registries bool) error {
	wait, cancel := context.WithTimeoutCause(ctx, patience, errNoEngine)
	defer cancel()
	conn, err := dialHealth(wait, path)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	in := bufio.NewReader(conn)
	text, err := in.ReadString('\n')
	if text == healthy && registries {
		return askRegistries(conn, in)
	}
	switch {
	case text == healthy:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case len(text) > 0:
		return errors.New(text)
	case err == io.EOF:
		err = nil
	}
	return errors.Join(errors.New("the engine ended before it was ready; its log says why"), err)
}

func askRegistries(conn net.Conn, in io.Reader) error {
	if _, err := io.WriteString(conn, "registries\n"); err != nil {
		return err
	}
	text, err := io.ReadAll(in)
	if len(text) > 0 {
		return errors.New(string(text))
	}
	return err
}

// dialHealth connects to the socket at path, which its maker renames to that (inotify(7)).
// One that a killed container left does not answer.
func dialHealth(ctx context.Context, path string) (net.Conn, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("wait for the engine: %w", err)
	}
	defer w.Close()
	if err := w.Add(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("wait for the engine: %w", err)
	}
	for {
		if conn, err := net.Dial("unix", path); err == nil {
			return conn, nil
		}
		select {
		case <-w.Events:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
