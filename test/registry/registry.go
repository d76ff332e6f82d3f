// Package registry runs a real distribution/v3 registry inside the calling
// process, behind TLS with a certificate authority of its own.
//
// It stands for the private registry of a company: reached by a host name (an
// engine trusts loopback addresses blindly, which would prove nothing) and
// signed by an authority that no one else trusts. It knows nothing of berth
// except the address range of engines, from which it accepts connections.
package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd" // driver chosen below
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // driver chosen below
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"   // driver chosen below
	"github.com/sirupsen/logrus"
	"golang.org/x/crypto/bcrypt"
)

// DefaultHost is the name the registry goes by when Options has none. The
// domain .test is reserved and never resolves on its own.
const DefaultHost = "registry.berth.test"

// Options say how the registry is reached. The zero value is usable except for
// Dir.
type Options struct {
	Dir      string // where certificates are written (required); the caller removes it
	Host     string // name in the certificate; empty: DefaultHost
	Port     int    // TCP port; 0: any free one
	User     string // when set, basic authentication is required with
	Password string // this password
	Tokens   bool   // by tokens, which a server beside the registry gives for the password
	// OnDisk keeps content in Dir. In memory, the default, a tag called "index" is left out of lists.
	OnDisk bool
	// From are further addresses that the registry answers, such as those of a cluster's pods.
	From []netip.Prefix
	// Handler, when set, serves in place of distribution: a registry with faults.
	Handler http.Handler
}

// Registry is a running registry. Stop it with Close.
type Registry struct {
	Host   string // name in the certificate
	Port   int    // TCP port
	CAFile string // PEM file of the authority that signed the certificate

	server   *http.Server
	app      *handlers.App
	pool     *x509.CertPool
	requests atomic.Int64
}

// Start makes the certificates and serves. The registry stops when ctx ends or
// Close is called.
//
// Errors: the directory cannot be written, the port is taken.
func Start(ctx context.Context, o Options) (*Registry, error) {
	if o.Host == "" {
		o.Host = DefaultHost
	}
	pair, err := makeCertificates(o.Dir, o.Host)
	if err != nil {
		return nil, err
	}
	config, tokens, err := configure(o)
	if err != nil {
		return nil, err
	}
	logrus.SetOutput(io.Discard) // distribution logs through the global logger
	var app *handlers.App
	if o.Handler == nil {
		app = handlers.NewApp(ctx, config)
		o.Handler = app
	}
	if tokens != nil {
		mux := http.NewServeMux()
		mux.Handle(tokenPath, tokens)
		mux.Handle("/", o.Handler)
		o.Handler = mux
	}
	listener, err := net.Listen("tcp4", net.JoinHostPort("0.0.0.0", strconv.Itoa(o.Port)))
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	r := &Registry{
		Host: o.Host, Port: listener.Addr().(*net.TCPAddr).Port, CAFile: pair.caFile,
		app: app, pool: pair.pool,
	}
	r.server = &http.Server{
		Handler:   r.counting(o.Handler),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair.cert}, MinVersion: tls.VersionTLS12},
		ErrorLog:  log.New(io.Discard, "", 0),
	}
	go r.server.ServeTLS(&localListener{Listener: listener, from: append(o.From, engines)}, "", "")
	context.AfterFunc(ctx, func() { r.Close() })
	return r, nil
}

// Address is the registry's host name and port, the first part of an image's
// name.
func (r *Registry) Address() string { return net.JoinHostPort(r.Host, strconv.Itoa(r.Port)) }

// URL is the registry's base address.
func (r *Registry) URL() string { return "https://" + r.Address() }

// Requests counts the requests served so far.
func (r *Registry) Requests() int64 { return r.requests.Load() }

// Transport reaches the registry from this process: it trusts the authority and
// takes any connection to the registry's name to the loopback address.
func (r *Registry) Transport() http.RoundTripper {
	dialer := &net.Dialer{}
	return &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: r.pool, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if address == r.Address() {
				address = net.JoinHostPort("127.0.0.1", strconv.Itoa(r.Port))
			}
			return dialer.DialContext(ctx, network, address)
		},
	}
}

// Close ends every connection and frees the port. A second call does nothing.
func (r *Registry) Close() error {
	err := r.server.Close()
	if r.app != nil {
		err = errors.Join(err, r.app.Shutdown())
	}
	return err
}

func (r *Registry) counting(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.requests.Add(1)
		next.ServeHTTP(w, req)
	})
}

func configure(o Options) (*configuration.Configuration, http.Handler, error) {
	config := &configuration.Configuration{
		Storage: configuration.Storage{
			"inmemory":    configuration.Parameters{},
			"delete":      configuration.Parameters{"enabled": true},
			"maintenance": configuration.Parameters{"uploadpurging": map[any]any{"enabled": false}},
		},
	}
	if o.OnDisk {
		delete(config.Storage, "inmemory")
		config.Storage["filesystem"] = configuration.Parameters{"rootdirectory": filepath.Join(o.Dir, "content")}
	}
	config.Log.AccessLog.Disabled = true
	config.HTTP.Secret = "only for tests"
	if o.User == "" {
		return config, nil, nil
	}
	if o.Tokens {
		tokens, auth, err := newTokens(o.Dir, o.User, o.Password)
		config.Auth = auth
		return config, tokens, err
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(o.Password), bcrypt.MinCost)
	if err != nil {
		return nil, nil, fmt.Errorf("registry password: %w", err)
	}
	path := filepath.Join(o.Dir, "htpasswd")
	if err := os.WriteFile(path, []byte(o.User+":"+string(hash)+"\n"), 0o600); err != nil {
		return nil, nil, err
	}
	config.Auth = configuration.Auth{"htpasswd": configuration.Parameters{"realm": "berth", "path": path}}
	return config, nil, nil
}
