package veth

import (
	"net"
	"net/netip"
	"testing"

	"github.com/berth-dev/berth/internal/network/netns"
	"github.com/berth-dev/berth/internal/network/nettest"
)

// Queries to the host's name servers arrive at the engine's own address, whoever asks
// there; other traffic to those servers does not.
func TestRedirectDNS(t *testing.T) {
	d := newDriver(t, "203.0.113.1", "127.0.0.53", "2001:db8::53", "fe80::53")
	world := nettest.NewWorld(t, 1500)
	nettest.ServePeer(t, world.NS, "203.0.113.1:53")
	nettest.ServePeer(t, world.NS, "203.0.113.1:80")
	e := attach(t, d, 0)
	nettest.ServePeer(t, e.ns, e.rec.Resolver.String()+":53")
	e.reaches(t, "203.0.113.1:53", e.rec.EngineIP.String())
	e.reaches(t, "203.0.113.1:80", nettest.HostAddr.String())
	nettest.In(t, e.ns, func() error {
		l, err := net.ListenPacket("udp", "[2001:db8::53]:53")
		if err == nil {
			l.Close()
		}
		return err
	})

	var udp net.PacketConn
	nettest.In(t, e.ns, func() (err error) { udp, err = net.ListenPacket("udp4", e.rec.Resolver.String()+":53"); return err })
	defer udp.Close()
	go func() {
		buf := make([]byte, 9)
		if n, from, err := udp.ReadFrom(buf); err == nil {
			udp.WriteTo(buf[:n], from)
		}
	}()
	var c net.Conn
	nettest.In(t, e.ns, func() (err error) { c, err = net.Dial("udp4", "203.0.113.1:53"); return err })
	defer c.Close()
	c.Write([]byte("hello"))
	buf := make([]byte, 9)
	if n, err := c.Read(buf); err != nil || string(buf[:n]) != "hello" {
		t.Errorf("UDP: %q, %v", buf[:n], err)
	}

	// Other servers take the place of the old ones.
	nettest.Must(t, RedirectDNS(e.ns, []netip.Addr{nettest.HostAddr}, e.rec.Resolver))
	e.reaches(t, "203.0.113.1:53", nettest.HostAddr.String())
	e.reaches(t, nettest.HostAddr.String()+":53", e.rec.EngineIP.String())
	nettest.Must(t, RedirectDNS(e.ns, nil, e.rec.Resolver))
	host, err := netns.Current()
	nettest.Must(t, err)
	defer host.Close()
	nettest.ServePeer(t, host, nettest.HostAddr.String()+":53")
	e.reaches(t, nettest.HostAddr.String()+":53", e.rec.EngineIP.String())
}
