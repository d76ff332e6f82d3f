package trust

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
	"unicode"
)

// patience bounds one look at a server.
const patience = 10 * time.Second

// Seen is what a server's certificate says.
type Seen struct {
	Subject string
	Issuer  string // of the last certificate that the server sent: the authority to ask for
	Expires time.Time
	Err     error // why it is not trusted, or nil
}

// Dial opens a connection, as net.Dialer.DialContext.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Inspect connects to host[:port] (443 when left out) and judges its certificate by roots;
// nil are the system's. Cancelling ctx ends it. An error means that no certificate was seen.
func Inspect(ctx context.Context, dial Dial, host string, roots *x509.CertPool) (Seen, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	name, address := split(host)
	raw, err := dial(ctx, "tcp", address)
	if err != nil {
		return Seen{}, err
	}
	defer raw.Close()
	var chain []*x509.Certificate
	// The certificate is judged here rather than by the handshake, which would not show it.
	conn := tls.Client(raw, &tls.Config{ServerName: name, InsecureSkipVerify: true, VerifyConnection: func(s tls.ConnectionState) error {
		chain = s.PeerCertificates
		return nil
	}})
	err = conn.HandshakeContext(ctx)
	if len(chain) == 0 {
		if err == nil {
			err = errors.New("it sent no certificate")
		}
		return Seen{}, fmt.Errorf("TLS with %s: %w", address, err)
	}
	return judge(chain, name, roots), nil
}

func judge(chain []*x509.Certificate, name string, roots *x509.CertPool) Seen {
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: between})
	return Seen{
		Subject: chain[0].Subject.String(), Issuer: chain[len(chain)-1].Issuer.String(),
		Expires: chain[0].NotAfter, Err: err,
	}
}

// Refused is what a failed handshake saw.
func Refused(err *tls.CertificateVerificationError) Seen {
	s := Seen{Err: err.Err}
	if chain := err.UnverifiedCertificates; len(chain) > 0 {
		s.Subject, s.Issuer, s.Expires = chain[0].Subject.String(), chain[len(chain)-1].Issuer.String(), chain[0].NotAfter
	}
	return s
}

func split(host string) (name, address string) {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name, host
	}
	return host, net.JoinHostPort(host, "443")
}

// Advice is one line for the user: what is wrong with the certificate of a registry, and
// what would mend it. It is empty when the certificate is trusted.
func (s Seen) Advice(registry string) string {
	return strings.Map(func(r rune) rune { // names in a certificate are its maker's
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s.advice(registry))
}

func (s Seen) advice(registry string) string {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case s.Err == nil:
		return ""
	case errors.As(s.Err, &unknown):
		return fmt.Sprintf("%s: its certificate was issued by %q, which is not trusted; give that authority's certificate with --registry-ca %s=FILE, or --ca FILE for every registry", registry, s.Issuer, registry)
	case errors.As(s.Err, &name):
		return fmt.Sprintf("%s: its certificate is for other names (%v); use a name that it has", registry, s.Err)
	case errors.As(s.Err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("%s: its certificate ended on %s (or this machine's clock is wrong); the registry needs a new one", registry, s.Expires.UTC().Format(time.DateOnly))
	default:
		return fmt.Sprintf("%s: its certificate, issued by %q, is not acceptable: %v", registry, s.Issuer, s.Err)
	}
}
