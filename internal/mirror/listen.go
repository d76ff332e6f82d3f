package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/berth-dev/berth/internal/linux"
)

const (
	readHeader = 30 * time.Second
	idle       = 2 * time.Minute
	// drain is for how long clients may finish when the mirror is told to end.
	drain = 5 * time.Second
)

// Handler serves the registry protocol, and with operator also the figures and health.
func (m *Mirror) Handler(operator bool) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/v2/", m)
	mux.Handle("/v2", m)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", m.ready)
	if operator {
		mux.Handle("GET /metrics", m.Metrics())
	}
	return mux
}

// ready says whether content can be stored.
func (m *Mirror) ready(w http.ResponseWriter, _ *http.Request) {
	if m.store.full(1) {
		http.Error(w, "the mirror's disk is full", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// Status is what `berth mirror status` shows.
type Status struct {
	Summary
	Downloads []Progress `json:"downloads"`
	PID       int        `json:"pid"`
	Listen    []string   `json:"listen"`
	Offline   bool       `json:"offline,omitempty"`
}

// Progress is a blob being fetched.
type Progress struct {
	Registry string `json:"registry"`
	Repo     string `json:"repository"`
	Digest   string `json:"digest"`
	Bytes    int64  `json:"bytes"`
	Size     int64  `json:"size"` // -1: not known
	Clients  int    `json:"clients"`
}

// Status says what the mirror holds and does. listen are the addresses that it serves.
func (m *Mirror) Status(listen []string) (Status, error) {
	sum, err := m.store.Summary()
	s := Status{Summary: sum, PID: os.Getpid(), Listen: listen, Offline: m.conf.Offline, Downloads: []Progress{}}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.downloads {
		d.mu.Lock()
		s.Downloads = append(s.Downloads, Progress{d.t.registry, d.t.repo, d.t.digest.String(), d.written, d.size, d.readers})
		d.mu.Unlock()
	}
	return s, err
}

// Endpoint is a listener and what it serves.
type Endpoint struct {
	Listener net.Listener
	Handler  http.Handler
}

// Serve serves until parent is cancelled; clients then have a few seconds to finish. It closes
// the listeners. An error means that one of them failed.
func Serve(parent context.Context, endpoints []Endpoint) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, e := range endpoints {
		s := &http.Server{Handler: e.Handler, ReadHeaderTimeout: readHeader, IdleTimeout: idle, MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
		wg.Go(func() {
			if err := s.Serve(e.Listener); !errors.Is(err, http.ErrServerClosed) {
				cancel(fmt.Errorf("serve on %s: %w", e.Listener.Addr(), err))
			}
		})
		wg.Go(func() {
			<-ctx.Done()
			late, stop := context.WithTimeout(context.WithoutCancel(ctx), drain)
			defer stop()
			if s.Shutdown(late) != nil {
				s.Close()
			}
		})
	}
	<-ctx.Done()
	wg.Wait()
	if parent.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}

// ListenUnix makes a socket that only its owner can use. It takes the place of one that
// nobody listens on any more.
func ListenUnix(path string) (net.Listener, error) {
	if conn, err := net.Dial("unix", path); err == nil {
		conn.Close()
		return nil, fmt.Errorf("%s: %w", path, syscall.EADDRINUSE)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".") // where nobody else gets at it
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	l, err := linux.ListenUnix(filepath.Join(dir, "s"), 0o600)
	if err != nil {
		return nil, err
	}
	if err := os.Rename(filepath.Join(dir, "s"), path); err != nil {
		l.Close()
		return nil, err
	}
	return &named{l, path}, nil
}

// named is a listener whose socket has got another name since.
type named struct {
	*net.UnixListener
	path string
}

// Close ends listening and removes the socket.
func (n *named) Close() error {
	err := n.UnixListener.Close()
	if err == nil {
		err = os.Remove(n.path)
	}
	return err
}
