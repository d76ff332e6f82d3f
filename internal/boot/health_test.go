package boot

import (
	"context"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// api answers /_ping with a status on a socket.
func api(t *testing.T, status int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "docker.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })}
	go s.Serve(ln)
	t.Cleanup(func() { s.Close() })
	return path
}

func TestHealthAsksTheEngine(t *testing.T) {
	for status, want := range map[int]string{200: "", 500: "does not answer: 500"} {
		path := filepath.Join(t.TempDir(), "health.sock")
		h, err := newHealth(path)
		if err != nil {
			t.Fatal(err)
		}
		answer := make(chan error)
		go func() { answer <- askHealth(t.Context(), path, 0, false) }()
		if err := h.ready(api(t, status), &registries{}); err != nil {
			t.Fatal(err)
		} // the one above has waited, or comes now
		err = <-answer
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("status %d: %v", status, err)
		}
		h.close()
	}
}

func TestHealthIsNeverGreenBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "health.sock")
	if err := askHealth(t.Context(), path, 0, false); err == nil || !strings.Contains(err.Error(), "no engine is being started") {
		t.Errorf("without an engine: %v", err)
	}
	h, err := newHealth(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	answer := make(chan error)
	go func() { answer <- askHealth(ctx, path, 0, false) }()
	cancel()
	if err := <-answer; err == nil {
		t.Error("green before the engine was ready")
	}
	go func() { answer <- askHealth(t.Context(), path, 0, false) }()
	h.close()
	if err := <-answer; err == nil {
		t.Error("green for an engine that ended")
	}
}

// `docker exec` may come before the container's first process has got to listening, and a
// container that was killed has left its socket.
func TestHealthWaitsForTheBeginning(t *testing.T) {
	path := filepath.Join(t.TempDir(), "health.sock")
	for _, what := range []string{"none", "stale"} {
		answer := make(chan error, 1)
		go func() { answer <- askHealth(t.Context(), path, time.Minute, false) }()
		h, err := newHealth(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.ready(api(t, 200), &registries{}); err != nil {
			t.Fatal(err)
		}
		if err := <-answer; err != nil {
			t.Errorf("%s: %v", what, err)
		}
		h.ln.Close() // and the file stays
	}
	if err := askHealth(t.Context(), path, 0, false); err != errNoEngine {
		t.Errorf("a stale socket: %v", err)
	}
}
