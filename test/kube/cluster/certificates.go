package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// user is one who asks the API, by a certificate (Kubernetes: the common name is the
// user's, organizations are its groups).
type user struct {
	name   string // of its files
	common string
	group  string
	names  []string // for those that serve as well
}

const masters = "system:masters"

var users = []user{
	{name: "apiserver", common: "kube-apiserver", group: masters, names: []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"}},
	{name: "admin", common: "admin", group: masters},
	{name: "manager", common: "system:kube-controller-manager"},
	{name: "scheduler", common: "system:kube-scheduler"},
	{name: "proxy", common: "system:kube-proxy"},
	{name: "dns", common: "dns", group: masters},
	{name: "kubelet", common: "system:node:" + NodeName, group: "system:nodes", names: []string{NodeName}},
}

// makeCertificates makes an authority, a key pair for each user, and the key that signs
// the service accounts' tokens.
func makeCertificates(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	caKey, err := newKey(dir, "ca")
	if err != nil {
		return err
	}
	ca := certificate(1, "test cluster", "")
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature
	if err := sign(dir, "ca", ca, ca, caKey, caKey); err != nil {
		return err
	}
	for i, u := range users {
		key, err := newKey(dir, u.name)
		if err != nil {
			return err
		}
		leaf := certificate(int64(i+2), u.common, u.group)
		leaf.DNSNames, leaf.KeyUsage = u.names, x509.KeyUsageDigitalSignature
		leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
		if len(u.names) > 0 {
			leaf.IPAddresses = []net.IP{net.ParseIP(Address), net.IPv4(127, 0, 0, 1), net.ParseIP(apiService), net.ParseIP(machineAddress)}
		}
		if err := sign(dir, u.name, leaf, ca, key, caKey); err != nil {
			return err
		}
	}
	tokens, err := newKey(dir, "tokens")
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(tokens.Public())
	if err != nil {
		return err
	}
	return writePEM(filepath.Join(dir, "tokens.pub"), "PUBLIC KEY", public)
}

func certificate(serial int64, common, group string) *x509.Certificate {
	c := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: common},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(7 * 24 * time.Hour),
	}
	if group != "" {
		c.Subject.Organization = []string{group}
	}
	return c
}

func newKey(dir, name string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, writePEM(filepath.Join(dir, name+".key"), "EC PRIVATE KEY", der)
}

func sign(dir, name string, c, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) error {
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), parentKey)
	if err != nil {
		return fmt.Errorf("certificate of %s: %w", name, err)
	}
	return writePEM(filepath.Join(dir, name+".crt"), "CERTIFICATE", der)
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
