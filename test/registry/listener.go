package registry

import (
	"net"
	"net/netip"
	"slices"
)

// engines is the range from which berth gives its engines their addresses.
var engines = netip.MustParsePrefix("198.18.0.0/15")

// localListener drops connections which come neither from this machine nor from
// an engine (or who else was named): the registry has to listen on every address (an engine reaches it
// through an address that does not exist yet), yet nobody else should see it.
type localListener struct {
	net.Listener
	from []netip.Prefix // besides this machine
}

func (l *localListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.allowed(conn) {
			return conn, nil
		}
		conn.Close()
	}
}

func (l *localListener) allowed(conn net.Conn) bool {
	remote, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return false
	}
	local, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil {
		return false
	}
	from := remote.Addr().Unmap()
	return from.IsLoopback() || from == local.Addr().Unmap() ||
		slices.ContainsFunc(l.from, func(p netip.Prefix) bool { return p.Contains(from) })
}
