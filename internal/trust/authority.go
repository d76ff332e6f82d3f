package trust

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
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
	"slices"
	"time"
)

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	// leafLife is below the 398 days after which some clients refuse a server's certificate.
	leafLife = 397 * 24 * time.Hour
	// skew is how far behind other machines' clocks may be.
	skew = time.Hour
)

// Authority signs certificates for servers.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes an authority. Its name is what users will see as issuer.
func NewAuthority(name string) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t, err := template(name, authorityLife)
	if err != nil {
		return nil, err
	}
	t.IsCA, t.BasicConstraintsValid, t.MaxPathLenZero = true, true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	cert, err := sign(t, t, key, key)
	if err != nil {
		return nil, err
	}
	return &Authority{cert, key}, nil
}

// OpenAuthority returns the authority kept in dir as ca.crt and ca.key (mode 0600), and
// makes it first when there is none. Two processes must not do this at once.
func OpenAuthority(dir, name string) (*Authority, error) {
	crt, key := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
	pair, err := tls.LoadX509KeyPair(crt, key)
	if err == nil {
		private, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
		if !ok || !pair.Leaf.IsCA {
			return nil, fmt.Errorf("%s is no authority that berth made; move it away", crt)
		}
		return &Authority{pair.Leaf, private}, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open the authority in %s: %w", dir, err)
	}
	a, err := NewAuthority(name)
	if err != nil {
		return nil, err
	}
	private, err := a.KeyPEM()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	// The key first: a certificate without its key would be of no use for ever.
	if err := replace(key, private, 0o600); err != nil {
		return nil, err
	}
	return a, replace(crt, []byte(a.PEM()), 0o644)
}

// replace writes a file in full or not at all.
func replace(path string, data []byte, mode os.FileMode) error {
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(tmp, data, mode); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// PEM is the authority's certificate, for those who are to trust it.
func (a *Authority) PEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: blockCertificate, Bytes: a.cert.Raw}))
}

// KeyPEM is the authority's private key (PKCS #8), for where an authority is kept.
func (a *Authority) KeyPEM() ([]byte, error) {
	key, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), nil
}

// Issue makes a server's certificate for names, each a host name or an IP address.
func (a *Authority) Issue(names []string) (*tls.Certificate, error) {
	if len(names) == 0 {
		return nil, errors.New("a server's certificate needs a name")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t, err := template(names[0], leafLife)
	if err != nil {
		return nil, err
	}
	t.KeyUsage, t.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	cert, err := sign(t, a.cert, key, a.key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{cert.Raw, a.cert.Raw}, PrivateKey: key, Leaf: cert}, nil
}

// Server returns what a TLS server presents: a certificate for names that is made anew
// before it ends, so that a server may run for years.
func (a *Authority) Server(names []string) (*tls.Config, error) {
	r := &renewed{authority: a, names: slices.Clone(names)}
	if _, err := r.get(nil); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: r.get}, nil
}

func template(name string, life time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name, Organization: []string{"Berth"}},
		NotBefore:    now.Add(-skew), NotAfter: now.Add(life),
	}, nil
}

func sign(t, parent *x509.Certificate, key, by *ecdsa.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, key.Public(), by)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
