package host

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/network"
)

func cidr(s string) *net.IPNet {
	_, n, err := net.ParseCIDR(s)
	if err != nil {
		panic(err)
	}
	return n
}

// laptop has a wired and a wireless uplink, a VPN, a Docker and an engine.
func laptop() *View {
	return &View{
		links: map[int]netlink.LinkAttrs{
			1: {Name: "lo", MTU: 65536, Flags: net.FlagLoopback},
			2: {Name: "eth0", MTU: 1500},
			3: {Name: "wlan0", MTU: 1480},
			4: {Name: "tun0", MTU: 1420},
			5: {Name: "docker0", MTU: 1500},
			6: {Name: "bth0123456789ab", MTU: 1500},
		},
		routes: []netlink.Route{
			{Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST, LinkIndex: 3, Priority: 600, Gw: net.IPv4(192, 0, 2, 1)},
			{Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST, LinkIndex: 2, Priority: 100, Gw: net.IPv4(203, 0, 113, 1), Dst: cidr("0.0.0.0/0")},
			{Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST, LinkIndex: 2, Scope: netlink.SCOPE_LINK, Dst: cidr("203.0.113.0/24")},
			{Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST, LinkIndex: 5, Scope: netlink.SCOPE_LINK, Dst: cidr("172.17.0.0/16")},
			{Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST, LinkIndex: 2, Scope: netlink.SCOPE_LINK, Dst: cidr("169.254.0.0/16")},
			{Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST, LinkIndex: 6, Scope: netlink.SCOPE_LINK, Dst: cidr("198.18.0.1/32")},
			{Table: 52, Type: unix.RTN_UNICAST, LinkIndex: 4, Dst: cidr("128.0.0.0/1")},
			{Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL, LinkIndex: 1, Dst: cidr("127.0.0.0/8")},
		},
	}
}

func TestUplinks(t *testing.T) {
	if got := fmt.Sprint(laptop().Uplinks()); got != "[wlan0 eth0 docker0 tun0]" {
		t.Error(got)
	}
}

func TestDefaultRoute(t *testing.T) {
	v := laptop()
	if v.Default() != "eth0" || v.MTU() != 1500 {
		t.Errorf("%s, %d; want eth0, 1500", v.Default(), v.MTU())
	}
	v.routes[1].MTU = 1380
	if v.MTU() != 1380 {
		t.Errorf("a metric of the route: %d", v.MTU())
	}
	v.routes[1] = netlink.Route{Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST, MultiPath: []*netlink.NexthopInfo{{LinkIndex: 2}, {LinkIndex: 4}}}
	if v.MTU() != 1420 {
		t.Errorf("two ways: %d, want that of the narrower", v.MTU())
	}
	v.routes = nil
	if v.Default() != "" || v.MTU() != defaultMTU {
		t.Errorf("no route: %q, %d", v.Default(), v.MTU())
	}
}

func TestOnLink(t *testing.T) {
	if got := fmt.Sprint(laptop().OnLink(9), laptop().OnLink(1)); got != "[203.0.113.0/24 172.17.0.0/16] [203.0.113.0/24]" {
		t.Error(got)
	}
}

func TestConflict(t *testing.T) {
	v := laptop()
	for pair, want := range map[string]string{
		"198.18.0.0/31": "route 198.18.0.1/32 of bth0123456789ab",
		"198.18.0.2/31": "", // the VPN's half of everything does not count
		"198.18.0.4/31": "name server 198.18.0.5",
	} {
		err := v.Conflict(netip.MustParsePrefix(pair), []netip.Addr{netip.MustParseAddr("198.18.0.5")})
		var conflict *network.ConflictError
		got := ""
		if errors.As(err, &conflict) {
			got = conflict.With
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", pair, got, want)
		}
	}
}
