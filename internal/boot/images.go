package boot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// imagesDir holds archives that are loaded when the engine starts.
const imagesDir = "/images"

// loadImages loads every archive (.tar, .tar.gz, .tgz) in dir. One that cannot be loaded
// does not keep the others from it.
func loadImages(ctx context.Context, socket, dir string, say func(string, ...any)) error {
	archives, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return err
	}
	client := apiClient(socket)
	defer client.CloseIdleConnections()
	var errs []error
	for _, a := range archives {
		if !strings.HasSuffix(a, ".tar") && !strings.HasSuffix(a, ".tar.gz") && !strings.HasSuffix(a, ".tgz") {
			continue
		}
		if err := load(ctx, client, a); err != nil {
			errs = append(errs, fmt.Errorf("load %s: %w", a, err))
			continue
		}
		say("loaded %s", a)
	}
	return errors.Join(errs...)
}

// apiClient speaks the Docker API on a socket.
func apiClient(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}}
}

// ping asks an engine whether it answers, which takes no lock of dockerd's.
func ping(ctx context.Context, socket string) error {
	client := apiClient(socket)
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/_ping", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

func load(ctx context.Context, client *http.Client, archive string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://docker/images/load?quiet=1", f)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-tar")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(b)))
	}
	// The answer is a stream of messages; any of them may be the error.
	for dec := json.NewDecoder(resp.Body); ; {
		var m struct{ Error string }
		if err := dec.Decode(&m); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if m.Error != "" {
			return errors.New(m.Error)
		}
	}
}
