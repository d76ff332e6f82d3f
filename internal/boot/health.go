package boot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/berth-dev/berth/internal/linux"
	"github.com/fsnotify/fsnotify"
)

// ready is what a ready engine says to who asks.
type ready struct {
	Socket     string     // where it serves
	Registries []registry // to be looked at; who does that answers with what is wrong, by host
}

// healthSocket is not below runtimeDir: that is mounted over at the start, and who waits for
// the socket would wait at the wrong place.
const healthSocket = "/run/berth-health.sock"

// beginning is how long a container may take from `docker run`'s return until it has the
// socket.
const beginning = 5 * time.Second

// pingTime is how long an engine may take to answer.
const pingTime = 8 * time.Second

// health answers the image's HEALTHCHECK and a pod's probes: who connects hears when the
// engine is ready, at once or later, or is cut off when it ends. Whoever asks then asks the engine
// as well, so that one that hangs is noticed, and looks at registries: a program that ends soon
// does that, and not this one, in whose memory it would stay.
type health struct {
	path   string // of the socket; removed at the end
	ln     net.Listener
	is     chan struct{} // closed when ready
	engine string        // its socket, set when ready
	plain  []byte        // what is said without registries, set when ready: probes need no encoder then
	regs   *registries   // set when ready
	ended  chan struct{}
	once   sync.Once
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
		defer linux.Forget() // probes come for good
		list := h.regs.toLook()
		if len(list) == 0 {
			_, _ = conn.Write(h.plain)
			return
		}
		var advice map[string]string
		if json.NewEncoder(conn).Encode(ready{h.engine, list}) == nil && json.NewDecoder(conn).Decode(&advice) == nil {
			h.regs.looked(advice)
		}
	case <-h.ended:
	}
}

// ready says that the engine serves on a socket, and pulls from registries.
func (h *health) ready(socket string, regs *registries) error {
	plain, err := json.Marshal(ready{Socket: socket})
	if err != nil {
		return err
	}
	h.engine, h.plain, h.regs = socket, plain, regs
	close(h.is)
	return nil
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
	var answer ready
	if err := json.NewDecoder(conn).Decode(&answer); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == io.EOF {
			err = nil
		}
		return errors.Join(errors.New("the engine ended before it was ready; its log says why"), err)
	}
	if err := askEngine(ctx, answer.Socket); err != nil || !registries || len(answer.Registries) == 0 {
		return err
	}
	advice := look(ctx, answer.Registries)
	// The engine's log has it as well, when this returns. An engine that ends now has no use for it.
	if err := json.NewEncoder(conn).Encode(advice); err == nil {
		_, _ = io.Copy(io.Discard, conn)
	}
	if wrong := slices.DeleteFunc(slices.Sorted(maps.Values(advice)), func(s string) bool { return s == "" }); len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "; "))
	}
	return nil
}

// askEngine asks an engine whether it answers.
func askEngine(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, pingTime)
	defer cancel()
	if err := ping(ctx, socket); err != nil {
		return fmt.Errorf("the engine does not answer: %w", err)
	}
	return nil
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
		case <-w.Errors: // of an event that was lost
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
