package mirror

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"syscall"
	"time"
)

// private are the addresses that no registry of the public Internet has (RFC 6890 and
// IANA's special-purpose registries), besides those that package netip knows by itself.
var private = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"), // carriers' networks, and some clouds' metadata
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"), // engines
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("64:ff9b::/96"), // IPv4 in disguise: RFC 6052, 8215, 3056, 4380
	netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("2001::/23"),
	netip.MustParsePrefix("::/96"),
	netip.MustParsePrefix("fec0::/10"),
}

// public tells whether an address may be reached for a registry that nobody configured.
func public(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	for _, p := range private {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// privateError refuses an address.
type privateError struct{ address string }

func (e *privateError) Error() string {
	return fmt.Sprintf("%s is not a public address; a registry there must be in the mirror's configuration by name", e.address)
}

// guard refuses connections to addresses that are not public. It looks at the address that
// is connected to, whatever the name resolved to before (net.Dialer.Control).
func guard(network, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !public(at.Addr()) || ours(at.Addr()) {
		return &privateError{address}
	}
	return nil
}

// ours tells whether an address is one of this machine's own, from which more may be reached
// than from elsewhere. Where that cannot be found out, it is.
func ours(a netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	return err != nil || slices.ContainsFunc(addrs, func(own net.Addr) bool {
		p, err := netip.ParsePrefix(own.String())
		return err == nil && p.Addr().WithZone("") == a.Unmap().WithZone("")
	})
}

// newTransport makes connections to registries; guarded ones reach public addresses only.
func newTransport(c Config, guarded bool) *http.Transport {
	d := &net.Dialer{Timeout: c.Timeouts.Dial, KeepAlive: 30 * time.Second}
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: d.DialContext, ForceAttemptHTTP2: true,
		MaxConnsPerHost: c.MaxConns, MaxIdleConnsPerHost: c.MaxConns, IdleConnTimeout: time.Minute,
		TLSHandshakeTimeout: c.Timeouts.Dial, ResponseHeaderTimeout: c.Timeouts.Header,
		ReadBufferSize: 64 << 10, DisableCompression: true,
	}
	if guarded {
		t.Proxy = guardedProxy
		d.Control = guard
		t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			return dialGuarded(ctx, d, network, address)
		}
	}
	return t
}

// guardedProxy uses the proxy of the environment for names, and refuses addresses that are
// not public. What a name means to the proxy is the proxy's to judge.
func guardedProxy(r *http.Request) (*url.URL, error) {
	if a, err := netip.ParseAddr(r.URL.Hostname()); err == nil && !public(a) {
		return nil, &privateError{a.String()}
	}
	return http.ProxyFromEnvironment(r)
}

// dialGuarded connects; the environment's own proxy may be anywhere.
func dialGuarded(ctx context.Context, d *net.Dialer, network, address string) (net.Conn, error) {
	for _, scheme := range []string{"https", "http"} {
		proxy, err := http.ProxyFromEnvironment(&http.Request{URL: &url.URL{Scheme: scheme, Host: "registry.invalid"}})
		if err == nil && proxy != nil && proxyAddress(proxy) == address {
			return (&net.Dialer{Timeout: d.Timeout}).DialContext(ctx, network, address)
		}
	}
	return d.DialContext(ctx, network, address)
}

func proxyAddress(u *url.URL) string {
	if u.Port() != "" {
		return u.Host
	}
	return net.JoinHostPort(u.Hostname(), map[string]string{"http": "80", "https": "443", "socks5": "1080"}[u.Scheme])
}
