package trust

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func authority(t *testing.T) *Authority {
	t.Helper()
	a, err := NewAuthority("Corp Root CA")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// listen serves TLS handshakes and returns the address.
func listen(t *testing.T, a *Authority, names ...string) string {
	t.Helper()
	conf, err := a.Server(names)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				c.(*tls.Conn).Handshake()
				c.Close()
			}()
		}
	}()
	return l.Addr().String()
}

func TestAdvice(t *testing.T) {
	a := authority(t)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(a.PEM()))
	for _, test := range []struct {
		name  string // in the certificate
		roots *x509.CertPool
		says  []string
	}{
		{"127.0.0.1", pool, nil},
		{"127.0.0.1", x509.NewCertPool(), []string{"Corp Root CA", "--registry-ca "}},
		{"other.test", pool, []string{"other names"}},
	} {
		at := listen(t, a, test.name)
		seen, err := Inspect(t.Context(), (&net.Dialer{}).DialContext, at, test.roots)
		if err != nil {
			t.Fatal(err)
		}
		advice := seen.Advice(at)
		if (advice == "") != (test.says == nil) {
			t.Errorf("%s: %q", test.name, advice)
		}
		for _, s := range test.says {
			if !strings.Contains(advice, s) {
				t.Errorf("%q does not say %q", advice, s)
			}
		}
	}
}

// TestAdviceIsPrintable: the names are those that a server sent.
func TestAdviceIsPrintable(t *testing.T) {
	s := Seen{Issuer: "CN=\x1b[2J", Err: x509.HostnameError{Certificate: &x509.Certificate{DNSNames: []string{"a\x1b[2J\nberth: all is well"}}, Host: "r.test"}}
	for _, err := range []error{s.Err, x509.UnknownAuthorityError{}, errors.New("a\x1b]0;b\a")} {
		s.Err = err
		if got := s.Advice("r.test"); strings.ContainsAny(got, "\x1b\n\a") || got == "" {
			t.Errorf("%q", got)
		}
	}
}

func TestInspectWithoutServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if c, err := l.Accept(); err == nil {
			c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			c.Close()
		}
	}()
	defer l.Close()
	if _, err := Inspect(t.Context(), (&net.Dialer{}).DialContext, l.Addr().String(), nil); err == nil {
		t.Error("plain HTTP has a certificate")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Inspect(ctx, (&net.Dialer{}).DialContext, "127.0.0.1:1", nil); err == nil {
		t.Error("a cancelled look saw something")
	}
}

func TestOpenAuthority(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	first, err := OpenAuthority(dir, "x")
	if err != nil {
		t.Fatal(err)
	}
	second, err := OpenAuthority(dir, "y")
	if err != nil || first.PEM() != second.PEM() {
		t.Errorf("another authority the second time: %v", err)
	}
	if info, err := os.Stat(filepath.Join(dir, "ca.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v %v", info, err)
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	text := authority(t).PEM()
	key := "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
	for name, content := range map[string]string{"a.crt": text + key + text, "b.key": key, "c.pem": key, "README": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{dir, filepath.Join(dir, "a.crt")} {
		got, err := Read(path)
		if err != nil || got != text {
			t.Errorf("%s: %v\n%s", path, err, got)
		}
	}
	if _, err := Read(filepath.Join(dir, "c.pem")); !errors.Is(err, ErrNoCertificate) {
		t.Errorf("a key alone: %v", err)
	}
	if _, err := Certificates([]byte("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n")); err == nil {
		t.Error("a broken certificate is no error")
	}
	if _, err := Read(t.TempDir()); err == nil {
		t.Error("an empty directory is no error")
	}
}
