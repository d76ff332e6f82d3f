// Package host reads the network configuration of the network namespace that berth itself
// runs in: routes, addresses, interfaces. It changes nothing and knows nothing of engines
// but the names of their interfaces, which it leaves out. Only IPv4 is looked at. MTUs are
// bytes.
package host

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/network"
)

// defaultMTU is that of Ethernet (RFC 894), for a host without any route out.
const defaultMTU = 1500

// View is the configuration at one moment.
type View struct {
	links  map[int]netlink.LinkAttrs // by index
	routes []netlink.Route           // of all tables but local
	addrs  []netlink.Addr
}

// Read takes a view of the calling thread's network namespace. It takes no lock: what
// changes meanwhile may be seen in part.
func Read() (*View, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket to read the host's routes: %w", err)
	}
	defer h.Close()
	v := &View{links: map[int]netlink.LinkAttrs{}}
	links, err := again(h.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list the host's network interfaces: %w", err)
	}
	for _, l := range links {
		v.links[l.Attrs().Index] = *l.Attrs()
	}
	v.routes, err = again(func() ([]netlink.Route, error) {
		all := &netlink.Route{Table: unix.RT_TABLE_UNSPEC}
		return h.RouteListFiltered(netlink.FAMILY_V4, all, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, fmt.Errorf("list the host's routes: %w", err)
	}
	v.addrs, err = again(func() ([]netlink.Addr, error) { return h.AddrList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return nil, fmt.Errorf("list the host's addresses: %w", err)
	}
	return v, nil
}

// again repeats a listing that the kernel says was disturbed by a change, a few times;
// then what was read must do.
func again[T any](list func() ([]T, error)) ([]T, error) {
	for range 4 {
		got, err := list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return got, err
		}
	}
	got, err := list()
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		err = nil
	}
	return got, err
}

// Uplinks are the names of the interfaces that packets of an engine may leave by: those
// that a route leads to, without loopback and engines' own.
func (v *View) Uplinks() []string {
	var names []string
	seen := map[int]bool{}
	for i := range v.routes {
		r := &v.routes[i]
		if r.Table == unix.RT_TABLE_LOCAL || r.Type != unix.RTN_UNICAST {
			continue
		}
		for _, index := range exits(r) {
			link, ok := v.links[index]
			if !ok || seen[index] || link.Flags&net.FlagLoopback != 0 || isEngine(link.Name) {
				continue
			}
			seen[index] = true
			names = append(names, link.Name)
		}
	}
	return names
}

// Default is the name of the interface of the default route, empty without one.
func (v *View) Default() string {
	if r := v.defaultRoute(); r != nil {
		for _, index := range exits(r) {
			return v.links[index].Name
		}
	}
	return ""
}

// MTU is the largest packet that fits through the default route: the route's own metric
// (ip-route(8), mtu), else that of its narrowest interface.
func (v *View) MTU() int {
	r := v.defaultRoute()
	if r == nil {
		return defaultMTU
	}
	if r.MTU > 0 {
		return r.MTU
	}
	mtu := 0
	for _, index := range exits(r) {
		if link, ok := v.links[index]; ok && (mtu == 0 || link.MTU < mtu) {
			mtu = link.MTU
		}
	}
	if mtu == 0 {
		mtu = defaultMTU
	}
	return mtu
}

// OnLink are the networks that the host reaches without a gateway, at most limit of them.
func (v *View) OnLink(limit int) []netip.Prefix {
	var nets []netip.Prefix
	seen := map[netip.Prefix]bool{}
	for i := range v.routes {
		r := &v.routes[i]
		p, ok := destination(r)
		if !ok || r.Table != unix.RT_TABLE_MAIN || r.Scope != netlink.SCOPE_LINK || p.Bits() == 0 || p.Bits() == 32 ||
			p.Addr().IsLinkLocalUnicast() || p.Addr().IsLoopback() || seen[p] || isEngine(v.links[r.LinkIndex].Name) {
			continue
		}
		if len(nets) == limit {
			break
		}
		seen[p] = true
		nets = append(nets, p)
	}
	return nets
}

// widest is the shortest prefix that counts as a use of the addresses in it: shorter ones
// are ways out, such as the two halves of everything that VPNs set.
const widest = 8

// Conflict returns a [*network.ConflictError] when the host has an address or a route, or
// asks a name server, in pair.
func (v *View) Conflict(pair netip.Prefix, servers []netip.Addr) error {
	for _, s := range servers {
		if pair.Contains(s) {
			return &network.ConflictError{Pair: pair, With: "name server " + s.String()}
		}
	}
	for _, a := range v.addrs {
		if ip, ok := netip.AddrFromSlice(a.IP); ok && pair.Contains(ip.Unmap()) {
			return &network.ConflictError{Pair: pair, With: "address " + ip.Unmap().String() + " of " + v.links[a.LinkIndex].Name}
		}
	}
	for i := range v.routes {
		p, ok := destination(&v.routes[i])
		if ok && p.Bits() >= widest && p.Overlaps(pair) {
			return &network.ConflictError{Pair: pair, With: "route " + p.String() + " of " + v.links[v.routes[i].LinkIndex].Name}
		}
	}
	return nil
}

func (v *View) defaultRoute() *netlink.Route {
	var best *netlink.Route
	for i := range v.routes {
		r := &v.routes[i]
		p, ok := destination(r)
		if !ok || p.Bits() != 0 || r.Table != unix.RT_TABLE_MAIN || r.Type != unix.RTN_UNICAST {
			continue
		}
		if best == nil || r.Priority < best.Priority {
			best = r
		}
	}
	return best
}

// exits are the indices of the interfaces that a route leads to.
func exits(r *netlink.Route) []int {
	var indices []int
	if r.LinkIndex > 0 {
		indices = append(indices, r.LinkIndex)
	}
	for _, hop := range r.MultiPath {
		indices = append(indices, hop.LinkIndex)
	}
	return indices
}

// destination is where a route leads; a missing one is everywhere.
func destination(r *netlink.Route) (netip.Prefix, bool) {
	if r.Dst == nil {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0), true
	}
	ip, ok := netip.AddrFromSlice(r.Dst.IP)
	ones, size := r.Dst.Mask.Size()
	if !ok || size != 32 || !ip.Unmap().Is4() {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(ip.Unmap(), ones).Masked(), true
}

func isEngine(name string) bool { return strings.HasPrefix(name, network.LinkPrefix) }
