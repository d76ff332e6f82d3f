package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"github.com/berth-dev/berth/internal/certsd"
	"github.com/berth-dev/berth/internal/distrust"
	"github.com/berth-dev/berth/internal/network"
	"github.com/berth-dev/berth/internal/network/netns"
)

// reach is how the engine gets to registries, and whom it trusts there.
type reach struct {
	spec  *Spec
	roots string // file with the usual authorities

	mu    sync.Mutex // guards what follows
	net   *network.Record
	netns *os.File // nil until the engine has its network
	certs certsd.Tree
}

// watch has the certificates explained that the engine does not trust.
func (mon *monitor) watch(spec *Spec, roots string) {
	mon.reach = &reach{spec: spec, roots: roots}
	mon.certs = &distrust.Watch{Dial: mon.reach.dial, Roots: mon.reach.authorities, Say: mon.note, Log: mon.log}
}

// unwatch lets what is being explained come to its end.
func (mon *monitor) unwatch() {
	if mon.stopLook != nil {
		mon.stopLook()
	}
	mon.certs.Wait()
}

// arm says what becomes known while the engine starts.
func (r *reach) arm(rec *network.Record, ns *os.File, certs certsd.Tree) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.net, r.netns, r.certs = rec, ns, certs
}

// judgeMirror looks at the certificate of a mirror that the user has named: an engine that
// does not trust it goes to the registries themselves, and nobody would know.
func (l *launch) judgeMirror() {
	u, err := url.Parse(l.mirror)
	if l.relay || err != nil || u.Scheme != "https" {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.monitor.certs.Look(ctx, u.Host)
	}()
	l.monitor.stopLook = func() {
		cancel()
		<-done
	}
}

// authorities are those that the engine trusts for a registry.
func (r *reach) authorities(host string) []string {
	texts := []string{r.spec.Trust.CAs}
	r.mu.Lock()
	texts = append(texts, r.certs.Trusted(host))
	r.mu.Unlock()
	if usual, err := os.ReadFile(r.roots); err == nil {
		texts = append(texts, string(usual))
	}
	return texts
}

// dial connects as the engine would: with its names, in its network.
func (r *reach) dial(ctx context.Context, proto, address string) (net.Conn, error) {
	name, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	rec, ns := r.net, r.netns
	r.mu.Unlock()
	if ns == nil {
		return nil, errors.New("the engine has no network yet")
	}
	addrs, err := r.resolve(ctx, rec, name)
	if err != nil {
		return nil, err
	}
	var conn net.Conn
	err = fmt.Errorf("%s has no address", name)
	for _, a := range addrs {
		err = netns.Do(ns, func() (err error) {
			conn, err = (&net.Dialer{}).DialContext(ctx, proto, net.JoinHostPort(a.Unmap().String(), port))
			return err
		})
		if err == nil {
			return conn, nil
		}
	}
	return nil, err
}

func (r *reach) resolve(ctx context.Context, rec *network.Record, name string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{a}, nil
	}
	for _, h := range r.spec.Network.Hosts {
		if h.Name == name {
			a, err := h.address(rec)
			return []netip.Addr{a}, err
		}
	}
	return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
}

// usualAuthorities is the payload's bundle as a file of this machine.
func (m *Manager) usualAuthorities(info *Info) string {
	return filepath.Join(m.paths.Payload(), info.Payload, "rootfs", payloadCerts, filepath.Base(bundleFile))
}
