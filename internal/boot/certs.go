package boot

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// tlsFiles is what dockerd needs to serve TLS; the content, because the files are in the
// container and dockerd may be elsewhere.
type tlsFiles struct {
	CA, Cert, Key []byte
	Verify        bool // clients need a certificate of CA's
}

// findTLS reads the certificates that the arguments name, or those below
// DOCKER_TLS_CERTDIR, which are made first where they are missing. It returns nil for none.
func (p *plan) findTLS(env map[string]string) (*tlsFiles, error) {
	dir := env["DOCKER_TLS_CERTDIR"]
	switch {
	case p.wantTLS != nil && !*p.wantTLS, p.wantTLS == nil && (p.byHand || dir == ""):
		return nil, nil
	case p.certFile != "" || p.byHand || dir == "":
		return readTLS(p.caFile, p.certFile, p.keyFile, p.verify)
	}
	if err := makeCertificates(dir, names(env["DOCKER_TLS_SAN"])); err != nil {
		return nil, fmt.Errorf("make certificates in %s: %w; mount a directory that can be written to, or set DOCKER_TLS_CERTDIR", dir, err)
	}
	server := filepath.Join(dir, "server")
	return readTLS(filepath.Join(server, "ca.pem"), filepath.Join(server, "cert.pem"), filepath.Join(server, "key.pem"), true)
}

func readTLS(ca, cert, key string, verify bool) (*tlsFiles, error) {
	t := &tlsFiles{Verify: verify}
	for _, f := range []struct {
		flag, path string
		to         *[]byte
	}{{"--tlscacert", ca, &t.CA}, {"--tlscert", cert, &t.Cert}, {"--tlskey", key, &t.Key}} {
		if f.path == "" {
			if f.to == &t.CA && !verify {
				continue
			}
			return nil, fmt.Errorf("TLS needs a file for %s", f.flag)
		}
		b, err := os.ReadFile(f.path)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", f.flag, err)
		}
		*f.to = b
	}
	return t, nil
}

// sans are the names and addresses of a server.
type sans struct {
	dns []string
	ips []net.IP
}

// names are those under which clients may reach this container, and those of extra, in
// OpenSSL's form: DNS:name,IP:address.
func names(extra string) sans {
	s := sans{dns: []string{"docker", "localhost"}, ips: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}}
	if h, err := os.Hostname(); err == nil {
		s.dns = append(s.dns, h)
	}
	if addrs, err := net.InterfaceAddrs(); err == nil {
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() {
				s.ips = append(s.ips, n.IP)
			}
		}
	}
	for _, e := range strings.FieldsFunc(extra, func(r rune) bool { return r == ',' || r == ' ' }) {
		kind, value, ok := strings.Cut(e, ":")
		ip := net.ParseIP(value)
		switch {
		case ok && kind == "IP" && ip != nil:
			s.ips = append(s.ips, ip)
		case ok && kind == "DNS":
			s.dns = append(s.dns, value)
		case !ok && net.ParseIP(e) != nil:
			s.ips = append(s.ips, net.ParseIP(e))
		case !ok:
			s.dns = append(s.dns, e)
		}
	}
	return s
}

// Lives of certificates, as docker:dind has them.
const (
	caLife   = 825 * 24 * time.Hour
	leafLife = 825 * 24 * time.Hour
	renewal  = 7 * 24 * time.Hour // a certificate that ends sooner is made anew
)

// makeCertificates completes the directories ca, server and client below dir:
//
//   - an authority without its key is somebody's own, and so are the certificates, as are a
//     server's of an authority that is not here at all: nothing is made;
//   - an authority with its key signs what is missing, has ended or lacks a name;
//   - without an authority, everything is made.
//
// Every file appears whole, and a certificate after its key, so that a client waiting for
// the files never reads half of one.
func makeCertificates(dir string, s sans) error {
	ca := filepath.Join(dir, "ca")
	crt, key := filepath.Join(ca, "cert.pem"), filepath.Join(ca, "key.pem")
	if !filled(key) && (filled(crt) || complete(filepath.Join(dir, "server"))) {
		return nil
	}
	a, err := openAuthority(crt, key)
	if errors.Is(err, fs.ErrNotExist) {
		a, err = newAuthority(crt, key)
	}
	if err != nil {
		return err
	}
	server := &x509.Certificate{DNSNames: s.dns, IPAddresses: s.ips, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if err := a.ensure(filepath.Join(dir, "server"), "docker:dind server", server, 0o600); err != nil {
		return err
	}
	client := &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	// Clients run as anybody; who can read the volume may use the engine.
	return a.ensure(filepath.Join(dir, "client"), "docker:dind client", client, 0o644)
}

// complete reports whether dir has all that one side of TLS needs.
func complete(dir string) bool {
	return filled(filepath.Join(dir, "ca.pem")) && filled(filepath.Join(dir, "cert.pem")) && filled(filepath.Join(dir, "key.pem"))
}

func filled(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Size() > 0
}

type authority struct {
	cert *x509.Certificate
	pem  []byte
	key  crypto.Signer
}

func openAuthority(crt, key string) (*authority, error) {
	if !filled(crt) || !filled(key) {
		return nil, fs.ErrNotExist
	}
	a := &authority{}
	var err error
	if a.cert, a.pem, err = readCertificate(crt); err != nil {
		return nil, err
	}
	if a.key, err = readKey(key); err != nil {
		return nil, err
	}
	if time.Until(a.cert.NotAfter) < renewal {
		return nil, fmt.Errorf("the authority in %s ends %s; remove it to have a new one made", crt, a.cert.NotAfter.Format(time.DateOnly))
	}
	return a, nil
}

func readCertificate(path string) (*x509.Certificate, []byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, nil, fmt.Errorf("%s: no certificate in it", path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return cert, b, nil
}

// readKey reads a private key in any of the forms that OpenSSL writes without a passphrase.
func readKey(path string) (crypto.Signer, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if k, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if s, ok := k.(crypto.Signer); ok {
				return s, nil
			}
		}
		if k, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
			return k, nil
		}
		if k, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
			return k, nil
		}
	}
	return nil, fmt.Errorf("%s: no private key without a passphrase in it", path)
}

func newAuthority(crt, key string) (*authority, error) {
	if err := os.MkdirAll(filepath.Dir(crt), 0o755); err != nil {
		return nil, err
	}
	k, err := newKey(key, 0o600)
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	a := &authority{key: k}
	if a.cert, a.pem, err = a.sign(t, t, "docker:dind CA", caLife, k.Public()); err != nil {
		return nil, err
	}
	return a, replace(crt, a.pem, 0o644)
}

func newKey(path string, mode os.FileMode) (crypto.Signer, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, err
	}
	return k, replace(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), mode)
}

func (a *authority) sign(t, parent *x509.Certificate, name string, life time.Duration, key crypto.PublicKey) (*x509.Certificate, []byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	t.SerialNumber, t.Subject = serial, pkix.Name{CommonName: name}
	t.NotBefore, t.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(life)
	der, err := x509.CreateCertificate(rand.Reader, t, parent, key, a.key)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), err
}

// ensure completes one of the directories: key.pem, then cert.pem, then ca.pem.
func (a *authority) ensure(dir, name string, want *x509.Certificate, mode os.FileMode) error {
	if a.covers(dir, want) {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	// A client that looks now must not find the old certificate with the new key.
	for _, f := range []string{"ca.pem", "cert.pem"} {
		if err := os.Remove(filepath.Join(dir, f)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	k, err := newKey(filepath.Join(dir, "key.pem"), mode)
	if err != nil {
		return err
	}
	want.KeyUsage = x509.KeyUsageDigitalSignature
	life := min(leafLife, time.Until(a.cert.NotAfter))
	_, text, err := a.sign(want, a.cert, name, life, k.Public())
	if err != nil {
		return err
	}
	if err := replace(filepath.Join(dir, "cert.pem"), text, 0o644); err != nil {
		return err
	}
	return replace(filepath.Join(dir, "ca.pem"), a.pem, 0o644)
}

// covers reports whether what is in dir will do: it is the authority's, for these names,
// and has not nearly ended.
func (a *authority) covers(dir string, want *x509.Certificate) bool {
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil || string(ca) != string(a.pem) || !filled(filepath.Join(dir, "key.pem")) {
		return false
	}
	cert, _, err := readCertificate(filepath.Join(dir, "cert.pem"))
	if err != nil || cert.CheckSignatureFrom(a.cert) != nil || time.Until(cert.NotAfter) < renewal {
		return false
	}
	for _, n := range want.DNSNames {
		if cert.VerifyHostname(n) != nil {
			return false
		}
	}
	for _, ip := range want.IPAddresses {
		if cert.VerifyHostname(ip.String()) != nil {
			return false
		}
	}
	return true
}

// replace makes a file appear whole.
func replace(path string, data []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // finds nothing after the rename
	_, err = f.Write(data)
	if err := errors.Join(err, f.Chmod(mode), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
