package boot

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func read(t *testing.T, path ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestCertificatesVerify(t *testing.T) {
	dir := t.TempDir()
	s := names("DNS:engine.example,IP:192.0.2.7 other.example")
	if err := makeCertificates(dir, s); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(read(t, dir, "client/ca.pem")))
	for who, use := range map[string]x509.ExtKeyUsage{"server": x509.ExtKeyUsageServerAuth, "client": x509.ExtKeyUsageClientAuth} {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, who, "cert.pem"), filepath.Join(dir, who, "key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{use}}); err != nil {
			t.Errorf("%s: %v", who, err)
		}
		if who == "server" {
			for _, name := range []string{"docker", "localhost", "engine.example", "other.example", "192.0.2.7", "127.0.0.1"} {
				if err := pair.Leaf.VerifyHostname(name); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

func TestCertificatesAreKeptAndCompleted(t *testing.T) {
	dir := t.TempDir()
	s := sans{dns: []string{"docker"}}
	make := func(s sans) {
		t.Helper()
		if err := makeCertificates(dir, s); err != nil {
			t.Fatal(err)
		}
	}
	make(s)
	ca, server, client := read(t, dir, "ca/cert.pem"), read(t, dir, "server/cert.pem"), read(t, dir, "client/cert.pem")
	make(s)
	if read(t, dir, "server/cert.pem") != server || read(t, dir, "client/cert.pem") != client {
		t.Error("certificates that will do were replaced")
	}
	make(sans{dns: []string{"docker", "new"}, ips: []net.IP{net.IPv4(192, 0, 2, 1)}})
	if read(t, dir, "server/cert.pem") == server {
		t.Error("a new name is not in the certificate")
	}
	if read(t, dir, "ca/cert.pem") != ca || read(t, dir, "client/cert.pem") != client {
		t.Error("a new name changed what has nothing to do with it")
	}
	os.Remove(filepath.Join(dir, "client/key.pem"))
	make(s)
	if _, err := tls.LoadX509KeyPair(filepath.Join(dir, "client/cert.pem"), filepath.Join(dir, "client/key.pem")); err != nil {
		t.Error(err)
	}
	// An authority without its key is somebody's own.
	os.Remove(filepath.Join(dir, "ca/key.pem"))
	os.Remove(filepath.Join(dir, "server/cert.pem"))
	make(s)
	if _, err := os.Stat(filepath.Join(dir, "server/cert.pem")); err == nil {
		t.Error("a certificate was made for somebody's own authority")
	}
	left, _ := filepath.Glob(filepath.Join(dir, "*", ".new-*"))
	if len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestNamesOfSAN(t *testing.T) {
	s := names("DNS:a,IP:192.0.2.7,IP:nonsense")
	if !slices.Contains(s.dns, "a") || slices.Contains(s.dns, "nonsense") {
		t.Errorf("%v", s.dns)
	}
}

func TestBadAuthorityIsAnError(t *testing.T) {
	dir := t.TempDir()
	os.MkdirAll(filepath.Join(dir, "ca"), 0o755)
	for _, f := range []string{"cert.pem", "key.pem"} {
		os.WriteFile(filepath.Join(dir, "ca", f), []byte("nonsense"), 0o644)
	}
	if err := makeCertificates(dir, sans{}); err == nil {
		t.Error("nonsense was accepted")
	}
}

// Certificates of an authority that is elsewhere are left alone.
func TestCertificatesOfAServerAlone(t *testing.T) {
	dir := t.TempDir()
	if err := makeCertificates(dir, sans{dns: []string{"docker"}}); err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{"ca", "client"} {
		if err := os.RemoveAll(filepath.Join(dir, gone)); err != nil {
			t.Fatal(err)
		}
	}
	server := read(t, dir, "server/cert.pem")
	if err := makeCertificates(dir, sans{dns: []string{"another"}}); err != nil {
		t.Fatal(err)
	}
	if read(t, dir, "server/cert.pem") != server {
		t.Error("the server's certificate was replaced")
	}
	if filled(filepath.Join(dir, "ca/cert.pem")) {
		t.Error("an authority was made that nothing is signed by")
	}
}
