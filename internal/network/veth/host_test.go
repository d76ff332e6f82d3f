package veth

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/network"
	"github.com/berth-dev/berth/internal/network/netns"
	"github.com/berth-dev/berth/internal/network/nettest"
)

// setting writes a host setting for one test.
func setting(t *testing.T, name, value string) {
	t.Helper()
	old, err := get(name)
	nettest.Must(t, err)
	nettest.Must(t, set(name, value))
	t.Cleanup(func() { set(name, old) })
}

func wantSetting(t *testing.T, name, want string) {
	t.Helper()
	if got, err := get(name); err != nil || got != want {
		t.Errorf("%s is %q, %v; want %q", name, got, err, want)
	}
}

func TestForwardingIsPutBack(t *testing.T) {
	d := newDriver(t)
	nettest.NewWorld(t, 1500)
	wantSetting(t, forwarding(nettest.Uplink), "0")
	a, b := attach(t, d, 0), attach(t, d, 1)
	wantSetting(t, forwarding(nettest.Uplink), "1")
	wantSetting(t, forwarding("lo"), "0")
	wantSetting(t, ipForward, "0")
	a.detach(t, d)
	wantSetting(t, forwarding(nettest.Uplink), "1")
	b.detach(t, d)
	wantSetting(t, forwarding(nettest.Uplink), "0")
}

// What was on before stays on, and so does what somebody else switched on meanwhile.
func TestForwardingOfOthersStays(t *testing.T) {
	t.Run("on before", func(t *testing.T) {
		d := newDriver(t)
		nettest.NewWorld(t, 1500)
		setting(t, ipForward, "1")
		attach(t, d, 0).detach(t, d)
		wantSetting(t, forwarding(nettest.Uplink), "1")
	})
	t.Run("on meanwhile", func(t *testing.T) {
		d := newDriver(t)
		nettest.NewWorld(t, 1500)
		e := attach(t, d, 0)
		setting(t, ipForward, "1")
		e.detach(t, d)
		wantSetting(t, forwarding(nettest.Uplink), "1")
		nettest.Must(t, set(ipForward, "0"))
	})
	t.Run("off for one", func(t *testing.T) {
		d := newDriver(t)
		nettest.NewWorld(t, 1500)
		setting(t, ipForward, "1")
		setting(t, forwarding(nettest.Uplink), "0")
		attach(t, d, 0).detach(t, d)
		wantSetting(t, forwarding(nettest.Uplink), "0")
	})
}

func TestMTU(t *testing.T) {
	d := newDriver(t)
	nettest.NewWorld(t, 1400)
	e := attach(t, d, 0)
	if e.rec.MTU != 1400 {
		t.Errorf("planned MTU %d, want 1400", e.rec.MTU)
	}
	link, err := netlink.LinkByName(e.rec.Link)
	nettest.Must(t, err)
	inside := 0
	nettest.In(t, e.ns, func() error {
		eth0, err := netlink.LinkByName("eth0")
		if err == nil {
			inside = eth0.Attrs().MTU
		}
		return err
	})
	if link.Attrs().MTU != 1400 || inside != 1400 {
		t.Errorf("MTU %d outside and %d inside, want 1400", link.Attrs().MTU, inside)
	}
	rec, err := d.Plan(t.Context(), network.Request{EngineID: "0123456789ab", Slot: 9, MTU: 1280})
	if err != nil || rec.MTU != 1280 {
		t.Errorf("asked for 1280: %d, %v", rec.MTU, err)
	}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Dst: nil}, netlink.RT_FILTER_DST)
	nettest.Must(t, err)
	for _, r := range routes {
		r.MTU = 1350
		nettest.Must(t, netlink.RouteReplace(&r))
	}
	if rec, err = d.Plan(t.Context(), network.Request{EngineID: "0123456789ab", Slot: 9}); err != nil || rec.MTU != 1350 {
		t.Errorf("a route with an MTU of its own: %d, %v; want 1350", rec.MTU, err)
	}
}

func TestConflicts(t *testing.T) {
	d := newDriver(t, "198.19.0.4")
	nettest.NewWorld(t, 1500)
	up, err := netlink.LinkByName(nettest.Uplink)
	nettest.Must(t, err)
	nettest.Must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: up.Attrs().Index, Dst: ipNet(netip.MustParsePrefix("198.18.0.0/24"))}))
	// The first half of the pool is taken, so the second is used.
	if rec := plan(t, d, 0); rec.EngineIP != netip.MustParseAddr("198.19.0.1") {
		t.Errorf("slot 0 got %s", rec.EngineIP)
	}
	if rec := plan(t, d, 200); rec.EngineIP != netip.MustParseAddr("198.18.1.145") {
		t.Errorf("slot 200 got %s", rec.EngineIP)
	}
	// Slot 2 would have the name server's address there.
	_, err = d.Plan(t.Context(), network.Request{EngineID: "0123456789ab", Slot: 2})
	var conflict *network.ConflictError
	if !errors.Is(err, network.ErrConflict) || !errors.As(err, &conflict) || conflict.With != "name server 198.19.0.4" {
		t.Errorf("got %v", err)
	}
	// An engine's addresses are in use as well.
	e := attach(t, d, 201)
	if rec, err := d.Plan(t.Context(), network.Request{EngineID: "0123456789ab", Slot: 201}); err != nil || rec.EngineIP == e.rec.EngineIP {
		t.Errorf("got %v, %v", rec.EngineIP, err)
	}
	// Two that planned the same at one time: the second gets a conflict, and leaves the first alone.
	rec := e.rec
	rec.Link = "bthother"
	if err := d.Attach(t.Context(), rec, nettest.New(t)); !errors.Is(err, network.ErrConflict) {
		t.Errorf("the same addresses twice: %v", err)
	}
	e.reaches0(t)
}

// reaches0 checks that an engine has its host.
func (e engine) reaches0(t *testing.T) {
	t.Helper()
	host, err := netns.Current()
	nettest.Must(t, err)
	defer host.Close()
	nettest.ServePeer(t, host, e.rec.HostIP.String()+":8000")
	e.reaches(t, e.rec.HostIP.String()+":8000", e.rec.EngineIP.String())
}

// dockerd avoids networks that its namespace has a route to without a gateway.
func TestHostNetworksAreReserved(t *testing.T) {
	d := newDriver(t)
	world := nettest.NewWorld(t, 1500)
	up, err := netlink.LinkByName(nettest.Uplink)
	nettest.Must(t, err)
	taken := netip.MustParsePrefix("172.17.0.0/16")
	nettest.Must(t, netlink.AddrAdd(up, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix("172.17.0.2/16"))}))
	nettest.In(t, world.NS, func() error {
		gw, err := netlink.LinkByName("gw0")
		return errors.Join(err, netlink.AddrAdd(gw, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix("172.17.0.1/16"))}))
	})
	nettest.ServePeer(t, world.NS, "172.17.0.1:80")
	e := attach(t, d, 0)
	shown := false
	nettest.In(t, e.ns, func() error {
		routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
		for _, r := range routes {
			shown = shown || r.Scope == netlink.SCOPE_LINK && r.Dst != nil && r.Dst.String() == taken.String()
		}
		return err
	})
	if !shown {
		t.Errorf("%s is not reserved in the engine", taken)
	}
	e.reaches(t, "172.17.0.1:80", "172.17.0.2")
}

func TestDockerUser(t *testing.T) {
	d := newDriver(t)
	world := nettest.NewWorld(t, 1500)
	nettest.ServePeer(t, world.NS, "203.0.113.1:80")
	iptables(t, "-N DOCKER-USER")
	t.Cleanup(func() { nft(t, "delete", "table", "ip", "filter") })
	iptables(t, "-P FORWARD DROP")
	before := attach(t, d, 0)
	cannot(t, "an engine behind a policy that nothing makes an exception of", before.ns, "203.0.113.1:80")
	iptables(t, "-A FORWARD -j DOCKER-USER")
	iptables(t, "-A DOCKER-USER -s 192.0.2.7 -j DROP")
	before.reaches(t, "203.0.113.1:80", nettest.HostAddr.String())
	want := []string{
		"-A DOCKER-USER -i bth+ -m comment --comment berth -j ACCEPT",
		"-A DOCKER-USER -o bth+ -m comment --comment berth -j ACCEPT",
		"-A DOCKER-USER -s 192.0.2.7/32 -j DROP",
	}
	later := attach(t, d, 1)
	if got := iptables(t, "-S DOCKER-USER"); got != "-N DOCKER-USER\n"+strings.Join(want, "\n")+"\n" {
		t.Errorf("iptables -S DOCKER-USER:\n%s", got)
	}
	before.detach(t, d)
	later.reaches(t, "203.0.113.1:80", nettest.HostAddr.String())
	later.detach(t, d)
	if got := iptables(t, "-S DOCKER-USER"); got != "-N DOCKER-USER\n"+want[2]+"\n" {
		t.Errorf("iptables -S DOCKER-USER afterwards:\n%s", got)
	}
}

func iptables(t *testing.T, args string) string {
	return command(t, "iptables", strings.Fields(args)...)
}

func nft(t *testing.T, args ...string) string { return command(t, "nft", args...) }

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, &stderr)
	}
	return string(out)
}

// A firewall that is loaded anew takes our table along; the next engine mends it for all.
func TestFlushedByOthers(t *testing.T) {
	d := newDriver(t)
	world := nettest.NewWorld(t, 1500)
	nettest.ServePeer(t, world.NS, "203.0.113.1:80")
	a := attach(t, d, 0)
	nft(t, "flush", "ruleset")
	b := attach(t, d, 1)
	a.reaches(t, "203.0.113.1:80", nettest.HostAddr.String())
	b.reaches(t, "203.0.113.1:80", nettest.HostAddr.String())
}

// Drivers that share no lock, as those of two run directories, still leave a host in which
// every engine that is there works, and in the end the host as it was.
func TestTwoRunDirectories(t *testing.T) {
	drivers := []*Driver{newDriver(t), newDriver(t)}
	world := nettest.NewWorld(t, 1500)
	nettest.ServePeer(t, world.NS, "203.0.113.1:80")
	var all sync.WaitGroup
	for i, d := range drivers {
		rec, ns := plan(t, d, i), nettest.New(t)
		all.Go(func() {
			for range 5 {
				if err := d.Attach(t.Context(), rec, ns); err != nil {
					t.Error(err)
					return
				}
				if got, err := fetch(ns, "203.0.113.1:80", patience); err != nil {
					t.Errorf("engine %d: %q, %v", i, got, err)
				}
				if err := d.Detach(t.Context(), rec); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	wantSetting(t, forwarding(nettest.Uplink), "0")
}

// A table that a crash left without engines is put to use, or taken away, by the next.
func TestDetachKeepsTableWithElements(t *testing.T) {
	d := newDriver(t)
	nettest.NewWorld(t, 1500)
	e := attach(t, d, 0)
	c, r := &nftables.Conn{}, newRuleset()
	uplinks, err := c.GetSetElements(r.uplinks)
	nettest.Must(t, err)
	nettest.Must(t, r.remove(c, uplinks))
	if err := c.Flush(); !errors.Is(err, unix.EBUSY) {
		t.Fatalf("deleting the table under an engine: %v, want EBUSY", err)
	}
	e.detach(t, d)
	if there, _ := exists(c); there {
		t.Error("the table is still there")
	}
}

func TestWrongRecords(t *testing.T) {
	d := newDriver(t)
	good := network.Record{Driver: Name, Link: "bth0", HostIP: netip.MustParseAddr("198.18.0.0"), EngineIP: netip.MustParseAddr("198.18.0.1"), MTU: 1500}
	for name, spoil := range map[string]func(*network.Record){
		"driver":  func(r *network.Record) { r.Driver = "none" },
		"link":    func(r *network.Record) { r.Link = "eth0" },
		"path":    func(r *network.Record) { r.Link = "bth/../lo" },
		"address": func(r *network.Record) { r.HostIP = netip.MustParseAddr("10.0.0.0") },
		"pair":    func(r *network.Record) { r.EngineIP = netip.MustParseAddr("198.18.0.2") },
		"mtu":     func(r *network.Record) { r.MTU = 70000 },
		"empty":   func(r *network.Record) { *r = network.Record{} },
	} {
		rec := good
		spoil(&rec)
		if d.Detach(t.Context(), rec) == nil || d.Attach(t.Context(), rec, nil) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	// Nor is an interface deleted that only has such a name.
	foreign := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "bth0"}}
	nettest.Must(t, netlink.LinkAdd(foreign))
	defer netlink.LinkDel(foreign)
	if err := d.Detach(t.Context(), good); err == nil {
		t.Error("a foreign interface was accepted")
	}
	if _, err := net.InterfaceByName("bth0"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(d.cfg.RunDir); err != nil {
		t.Error(err)
	}
}
