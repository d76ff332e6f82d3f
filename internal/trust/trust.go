// Package trust makes and reads certificates: authorities and what they sign, bundles of
// authorities to be trusted, and what a registry's certificate says when it is not.
//
// Certificates are PEM (RFC 7468). Keys are ECDSA P-256, made in well under a millisecond.
// The package knows nothing of engines and mirrors.
package trust

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ErrNoCertificate says that a file has no certificate in it.
var ErrNoCertificate = errors.New("no certificate in it; give a PEM file with -----BEGIN CERTIFICATE-----")

const blockCertificate = "CERTIFICATE"

// maxFile bounds a file of certificates, in bytes: a larger one is not what it should be.
const maxFile = 4 << 20

// Certificates returns the certificates in data, each once, and nothing else: a private
// key in the same file does not get further. It returns [ErrNoCertificate] when there are none.
func Certificates(data []byte) (string, error) {
	var out bytes.Buffer
	var seen [][]byte
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != blockCertificate || slices.ContainsFunc(seen, func(b []byte) bool { return bytes.Equal(b, block.Bytes) }) {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return "", fmt.Errorf("a certificate in it cannot be read: %w", err)
		}
		seen = append(seen, block.Bytes)
		if err := pem.Encode(&out, &pem.Block{Type: block.Type, Bytes: block.Bytes}); err != nil {
			return "", err
		}
	}
	if out.Len() == 0 {
		return "", ErrNoCertificate
	}
	return out.String(), nil
}

// ReadFor is [Read] of HOST[:PORT]=FILE, which says for which registry the certificates are. The
// registry's name is not checked.
func ReadFor(s string) (host, text string, err error) {
	host, path, _ := strings.Cut(s, "=")
	if path == "" {
		return "", "", errors.New("give HOST[:PORT]=FILE")
	}
	text, err = Read(path)
	return host, text, err
}

// Read returns the certificates of a file, or of the files in a directory whose names end
// in .crt, .pem or .cer. Errors name the file.
func Read(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return readFile(path)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return "", err
	}
	var all strings.Builder
	for _, e := range entries {
		if !slices.Contains([]string{".crt", ".pem", ".cer"}, filepath.Ext(e.Name())) {
			continue
		}
		text, err := readFile(filepath.Join(path, e.Name()))
		if errors.Is(err, ErrNoCertificate) {
			continue // a key beside its certificate
		}
		if err != nil {
			return "", err
		}
		all.WriteString(text)
	}
	if all.Len() == 0 {
		return "", fmt.Errorf("%s: no file with a certificate (*.crt, *.pem, *.cer) in it", path)
	}
	return Certificates([]byte(all.String()))
}

func readFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return "", err
	}
	if len(data) > maxFile {
		return "", fmt.Errorf("%s: larger than %d MiB; is this the right file?", path, maxFile>>20)
	}
	text, err := Certificates(data)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return text, nil
}

// Pool is the system's authorities and more of them. Text that holds no certificate adds none.
func Pool(more ...string) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a machine without any; what is given may do
	}
	for _, text := range more {
		if text != "" && !pool.AppendCertsFromPEM([]byte(text)) {
			return nil, ErrNoCertificate
		}
	}
	return pool, nil
}

// Client makes requests with the system's authorities and more of them.
func Client(more string) (*http.Client, error) {
	pool, err := Pool(more)
	if err != nil {
		return nil, err
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	return &http.Client{Transport: t}, nil
}
