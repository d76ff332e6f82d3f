package veth

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/berth-dev/berth/internal/network"
	"github.com/berth-dev/berth/internal/network/netns"
	"github.com/berth-dev/berth/internal/network/nettest"
)

// An engine's packets with another sender than itself go nowhere, not even to the host.
func TestSpoofing(t *testing.T) {
	d := newDriver(t)
	nettest.NewWorld(t, 1500)
	a, b := attach(t, d, 0), attach(t, d, 1)
	heard, err := net.ListenPacket("udp4", a.rec.HostIP.String()+":9")
	nettest.Must(t, err)
	defer heard.Close()
	for _, test := range []struct {
		from netip.Addr
		want bool
	}{
		{a.rec.EngineIP, true},
		{b.rec.EngineIP, false},
		{netip.MustParseAddr("203.0.113.7"), false},
		{netip.MustParseAddr("172.17.0.2"), false}, // a container whose NAT is missing
	} {
		nettest.In(t, a.ns, func() error {
			eth0, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			if test.from != a.rec.EngineIP {
				err = netlink.AddrAdd(eth0, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(test.from, 32))})
			}
			c, dialErr := net.DialUDP("udp4", &net.UDPAddr{IP: test.from.AsSlice()}, &net.UDPAddr{IP: a.rec.HostIP.AsSlice(), Port: 9})
			if err := errors.Join(err, dialErr); err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Write([]byte("x"))
			return err
		})
		wait := brief
		if test.want {
			wait = patience
		}
		heard.SetReadDeadline(time.Now().Add(wait))
		_, from, err := heard.ReadFrom(make([]byte, 9))
		if (err == nil) != test.want {
			t.Errorf("a packet from %s: heard from %v, %v", test.from, from, err)
		}
	}
}

// There is no IPv6 between an engine and the host.
func TestNoIPv6(t *testing.T) {
	d := newDriver(t)
	nettest.NewWorld(t, 1500)
	if _, err := os.Stat("/proc/net/if_inet6"); err != nil {
		t.Skip("needs a kernel with IPv6")
	}
	e := attach(t, d, 0)
	for name, ns := range map[string]*os.File{e.rec.Link: nil, "eth0": e.ns} {
		check := func() error {
			link, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			addrs, err := netlink.AddrList(link, netlink.FAMILY_V6)
			if len(addrs) > 0 {
				t.Errorf("%s has %v", name, addrs)
			}
			return err
		}
		if ns == nil {
			nettest.Must(t, check())
		} else {
			nettest.In(t, ns, check)
		}
	}
}

// lan adds a second interface to the host, with a namespace behind it, as another network
// or as the bridge of a Docker.
func lan(t *testing.T) *os.File {
	t.Helper()
	ns := nettest.New(t)
	pair := netlink.NewVeth(netlink.LinkAttrs{Name: "lan0", TxQLen: -1})
	pair.PeerName, pair.PeerNamespace = "eth0", netlink.NsFd(ns.Fd())
	nettest.Must(t, netlink.LinkAdd(pair))
	t.Cleanup(func() { netlink.LinkDel(pair) })
	nettest.Must(t, netlink.AddrAdd(pair, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix("192.0.2.1/24"))}))
	nettest.Must(t, netlink.LinkSetUp(pair))
	nettest.In(t, ns, func() error {
		eth0, err := netlink.LinkByName("eth0")
		return errors.Join(err,
			netlink.AddrAdd(eth0, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix("192.0.2.2/24"))}),
			netlink.LinkSetUp(eth0),
			netlink.RouteAdd(&netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: net.IPv4(192, 0, 2, 1)}))
	})
	return ns
}

// viaHost makes the world send packets for p to the host.
func viaHost(t *testing.T, world *nettest.World, p string) {
	t.Helper()
	nettest.In(t, world.NS, func() error {
		gw, err := netlink.LinkByName("gw0")
		return errors.Join(err, netlink.RouteAdd(&netlink.Route{
			LinkIndex: gw.Attrs().Index, Dst: ipNet(netip.MustParsePrefix(p)), Gw: nettest.HostAddr.AsSlice(),
		}))
	})
}

// Forwarding for engines opens nothing to anybody else: no way to engines from outside,
// no way through the host between its networks.
func TestHostIsNoRouter(t *testing.T) {
	d := newDriver(t)
	world := nettest.NewWorld(t, 1500)
	side := lan(t)
	viaHost(t, world, network.Pool.String())
	viaHost(t, world, "192.0.2.0/24")
	nettest.ServePeer(t, world.NS, "203.0.113.1:80")
	nettest.ServePeer(t, side, "192.0.2.2:80")
	e := attach(t, d, 0)
	nettest.ServePeer(t, e.ns, "0.0.0.0:80")
	wantSetting(t, forwarding("lan0"), "1")
	cannot(t, "the world to an engine", world.NS, e.rec.EngineIP.String()+":80")
	cannot(t, "another network to an engine", side, e.rec.EngineIP.String()+":80")
	cannot(t, "the world through the host", world.NS, "192.0.2.2:80")
	cannot(t, "another network through the host", side, "203.0.113.1:80")
	e.reaches(t, "203.0.113.1:80", nettest.HostAddr.String())
	e.reaches(t, "192.0.2.2:80", "192.0.2.1")

	// The test can fail: without the rule that prevents it, it works.
	nft(t, "flush", "chain", "inet", tableName, uplinkChain)
	if _, err := fetch(world.NS, "192.0.2.2:80", patience); err != nil {
		t.Errorf("without the rule the host forwards: %v", err)
	}
}

// A Docker that starts on the host while an engine runs works: it forwards and publishes.
func TestDockerStartsMeanwhile(t *testing.T) {
	d := newDriver(t)
	world := nettest.NewWorld(t, 1500)
	nettest.ServePeer(t, world.NS, "203.0.113.1:80")
	e := attach(t, d, 0)
	side := lan(t) // stands for docker0
	nettest.ServePeer(t, side, "192.0.2.2:80")
	setting(t, ipForward, "1")
	nft(t, "add table ip other; add chain ip other post { type nat hook postrouting priority srcnat; };"+
		"add rule ip other post ip saddr 192.0.2.0/24 oifname "+nettest.Uplink+" masquerade;"+
		"add chain ip other pre { type nat hook prerouting priority dstnat; };"+
		"add rule ip other pre ip daddr "+nettest.HostAddr.String()+" tcp dport 8080 dnat to 192.0.2.2:80")
	t.Cleanup(func() { nft(t, "delete table ip other") })
	if got, err := fetch(side, "203.0.113.1:80", patience); err != nil || got != nettest.HostAddr.String() {
		t.Errorf("a container to the world: %q, %v", got, err)
	}
	if got, err := fetch(world.NS, nettest.HostAddr.String()+":8080", patience); err != nil || got != nettest.WorldAddr.String() {
		t.Errorf("a published port: %q, %v", got, err)
	}
	// From the next engine on, berth does not bound at all what others forward.
	viaHost(t, world, "192.0.2.0/24")
	cannot(t, "the world through a host that berth made forward", world.NS, "192.0.2.2:80")
	attach(t, d, 1).detach(t, d)
	if _, err := fetch(world.NS, "192.0.2.2:80", patience); err != nil {
		t.Errorf("through a host that is a router now: %v", err)
	}
	e.detach(t, d)
	if got, err := fetch(side, "203.0.113.1:80", patience); err != nil {
		t.Errorf("a container to the world after the last engine: %q, %v", got, err)
	}
	nettest.Must(t, set(ipForward, "0"))
}

// Nothing inside an engine's namespace can reach what listens on the host's loopback.
func TestHostLoopbackIsPrivate(t *testing.T) {
	d := newDriver(t)
	nettest.NewWorld(t, 1500)
	host, err := netns.Current()
	nettest.Must(t, err)
	defer host.Close()
	nettest.ServePeer(t, host, "127.0.0.1:81")
	e := attach(t, d, 0)
	cannot(t, "the engine's own loopback", e.ns, "127.0.0.1:81")
	cannot(t, "the host by its address", e.ns, e.rec.HostIP.String()+":81")
	nettest.In(t, e.ns, func() error {
		eth0, err := netlink.LinkByName("eth0")
		return errors.Join(err,
			set("net/ipv4/conf/eth0/route_localnet", "1"), // an engine's root may do so
			netlink.RouteAdd(&netlink.Route{LinkIndex: eth0.Attrs().Index, Dst: ipNet(netip.MustParsePrefix("127.0.0.9/32")), Gw: e.rec.HostIP.AsSlice()}))
	})
	cannot(t, "the host's loopback by a route", e.ns, "127.0.0.9:81")
}
