package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/berth-dev/berth/internal/mirror"
	"github.com/berth-dev/berth/internal/state"
	"github.com/berth-dev/berth/internal/trust"
)

// accessLog opens the log of requests.
func (a *app) accessLog(name string, c *mirror.Config) (func(), error) {
	var to io.Writer = a.Out
	done := func() {}
	switch name {
	case "":
		return done, nil
	case "-":
	default:
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
		if err != nil {
			return nil, fmt.Errorf("--access-log: %w", err)
		}
		to, done = f, func() { f.Close() }
	}
	c.AccessLog = slog.New(slog.NewJSONHandler(to, nil))
	return done, nil
}

// runMirror listens and serves until it is told to end.
func (a *app) runMirror(ctx context.Context, m *mirror.Mirror, f *mirrorFlags, paths state.Paths) error {
	given, err := handedOver()
	if err != nil {
		return err
	}
	var all []mirror.Endpoint
	fail := func(err error) error {
		given.close()
		for _, e := range all {
			e.Listener.Close()
		}
		return err
	}
	var names []string
	if socket := orDefault(f.Socket, paths.MirrorSocket()); socket != "none" {
		l, err := listenPrivate(socket, &given)
		if err != nil {
			return fail(fmt.Errorf("listen for engines: %w", err))
		}
		all = append(all, mirror.Endpoint{Listener: l, Handler: m.Handler(false)})
		names = append(names, "unix://"+socket)
	}
	for _, address := range given.with(f.Listen) {
		l, err := f.listen(address, paths, &given)
		if err != nil {
			return fail(fmt.Errorf("--listen %s: %w", address, err))
		}
		all = append(all, mirror.Endpoint{Listener: l, Handler: m.Handler(true)})
		scheme := "https://"
		if f.PlainHTTP {
			scheme = "http://"
		}
		names = append(names, scheme+l.Addr().String())
	}
	if len(all) == 0 {
		return errors.New("nothing to listen on; give --listen, or leave out --socket none")
	}
	if f.Dir == "" || f.Dir == paths.Mirror() || given.has(paths.MirrorControl()) { // the machine's own mirror
		l, err := listenPrivate(paths.MirrorControl(), &given)
		if err != nil {
			return fail(fmt.Errorf("listen for `berth mirror`: %w", err))
		}
		all = append(all, mirror.Endpoint{Listener: l, Handler: m.Control(names)})
	}
	if err := errors.Join(given.unused(), tellReady()); err != nil {
		return fail(err)
	}
	if _, err := fmt.Fprintf(a.Out, "Mirror is ready on %s\n", strings.Join(names, ", ")); err != nil {
		return fail(err)
	}
	return mirror.Serve(ctx, all)
}

// listenPrivate listens on a unix socket that only its owner may use, or takes it over from systemd.
func listenPrivate(path string, given *handed) (net.Listener, error) {
	if l, err := given.takePrivate(path); l != nil || err != nil {
		return l, err
	}
	return mirror.ListenUnix(path)
}

func orDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// listen opens a TCP listener, or takes it over from systemd. Without TLS it must be one that
// only this machine reaches.
func (f *mirrorFlags) listen(address string, paths state.Paths, given *handed) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, errors.New("give ADDRESS:PORT")
	}
	var conf *tls.Config
	if f.PlainHTTP {
		if ip, err := netip.ParseAddr(host); err != nil || !ip.IsLoopback() {
			return nil, errors.New("--plain-http is for loopback addresses, such as 127.0.0.1:5080; leave it out for others")
		}
	} else {
		if conf, err = f.tls(host, paths); err != nil {
			return nil, err
		}
		conf.NextProtos = []string{"h2", "http/1.1"}
	}
	l := given.take(address)
	if l == nil {
		if l, err = net.Listen("tcp", address); err != nil {
			return nil, err
		}
	}
	if conf != nil {
		l = tls.NewListener(l, conf)
	}
	return l, nil
}

func (f *mirrorFlags) tls(host string, paths state.Paths) (*tls.Config, error) {
	if f.TLSCert != "" {
		pair, err := tls.LoadX509KeyPair(f.TLSCert, f.TLSKey)
		if err != nil {
			return nil, err
		}
		return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}, nil
	}
	names := append([]string{"localhost", "127.0.0.1", "::1"}, f.Names...)
	if ip, err := netip.ParseAddr(host); err != nil || !ip.IsUnspecified() {
		names = append(names, host)
	}
	if name, err := os.Hostname(); err == nil {
		names = append(names, name)
	}
	authority, err := trust.OpenAuthority(orDefault(f.authority, paths.MirrorTLS()), "Berth mirror on "+names[len(names)-1])
	if err != nil {
		return nil, err
	}
	return authority.Server(names)
}
