package boot

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-dev/berth/internal/certsd"
	"github.com/berth-dev/berth/internal/trust"
)

// A registry whose certificate another authority has issued is told of, by the probe and once in
// the log; one that is trusted is asked once.
func TestRegistriesThatAreNotTrustedAreToldOf(t *testing.T) {
	right, wrong := newAuthorityOf(t, "Right CA"), newAuthorityOf(t, "Wrong CA")
	host := serveTLS(t, right)
	dir := t.TempDir()
	give := func(host string, a *trust.Authority) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, host), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, host, "ca.crt"), []byte(a.PEM()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	give(host, wrong)
	give("127.0.0.1:1", wrong) // nobody is there
	if err := os.Mkdir(filepath.Join(dir, "_default"), 0o755); err != nil {
		t.Fatal(err)
	}
	var log []string
	certs := func() certsd.Tree {
		tree, err := certsd.Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		return tree
	}
	r := newRegistries(certs(), "", func(format string, args ...any) { log = append(log, fmt.Sprintf(format, args...)) })
	path := filepath.Join(t.TempDir(), "health.sock")
	h, err := newHealth(path)
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	if err := h.ready(api(t, 200), r); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		err := askHealth(t.Context(), path, 0, true)
		if err == nil || !strings.Contains(err.Error(), host) || !strings.Contains(err.Error(), "Right CA") || strings.Contains(err.Error(), "127.0.0.1:1:") {
			t.Fatalf("with an authority that did not sign it: %v", err)
		}
	}
	if err := askHealth(t.Context(), path, 0, false); err != nil {
		t.Errorf("who did not ask for registries: %v", err)
	}
	r.mu.Lock()
	if len(log) != 1 || !strings.Contains(log[0], host) {
		t.Errorf("the log has %q, want one line", log)
	}
	r.mu.Unlock()
	give(host, right)
	r = newRegistries(certs(), "", t.Logf)
	for range 2 {
		advice := look(t.Context(), r.toLook())
		r.looked(advice)
		if advice[host] != "" || len(r.left) > 0 {
			t.Errorf("with the right authority: %q, and it will be looked at again: %v", advice, r.left)
		}
	}
}

func newAuthorityOf(t *testing.T, name string) *trust.Authority {
	t.Helper()
	a, err := trust.NewAuthority(name)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// serveTLS answers handshakes with a certificate for 127.0.0.1, and returns the address.
func serveTLS(t *testing.T, a *trust.Authority) string {
	t.Helper()
	conf, err := a.Server([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = conn.(*tls.Conn).Handshake()
			}()
		}
	}()
	return ln.Addr().String()
}
