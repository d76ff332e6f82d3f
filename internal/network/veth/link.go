package veth

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/network"
	"github.com/berth-dev/berth/internal/network/netns"
)

// engineLink is what the engine calls its side of the pair.
const engineLink = "eth0"

// lastResort is the metric of a route that is never taken while there is another
// (ip-route(8): the highest number loses).
const lastResort = 1<<31 - 1

// connectHost makes the pair, its far end already in the engine's namespace, and gives the
// near end its address and the route to the engine.
func connectHost(rec network.Record, ns *os.File) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open a netlink socket: %w", err)
	}
	defer h.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = rec.Link, rec.MTU
	pair := netlink.NewVeth(attrs)
	pair.PeerName, pair.PeerMTU = engineLink, uint32(rec.MTU)
	pair.PeerNamespace = netlink.NsFd(ns.Fd())
	if err := h.LinkAdd(pair); err != nil {
		return fmt.Errorf("make veth pair %s: %w", rec.Link, err)
	}
	// Before the interface is up, so that no packet sees other settings.
	if err := setHostSettings(rec.Link); err != nil {
		return err
	}
	// Without a prefix route of the kernel's own, the explicit one below notices when
	// another interface has the same addresses.
	if err := h.AddrAdd(pair, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(rec.HostIP, 32))}); err != nil {
		return fmt.Errorf("give %s address %s: %w", rec.Link, rec.HostIP, err)
	}
	if err := h.LinkSetUp(pair); err != nil {
		return fmt.Errorf("bring %s up: %w", rec.Link, err)
	}
	to := netip.PrefixFrom(rec.EngineIP, 32)
	route := &netlink.Route{LinkIndex: pair.Index, Dst: ipNet(to), Src: rec.HostIP.AsSlice(), Scope: netlink.SCOPE_LINK}
	if err := h.RouteAdd(route); errors.Is(err, unix.EEXIST) {
		return &network.ConflictError{Pair: netip.PrefixFrom(rec.HostIP, 31), With: "another route to " + rec.EngineIP.String()}
	} else if err != nil {
		return fmt.Errorf("add a route to %s: %w", rec.EngineIP, err)
	}
	return nil
}

// connectEngine brings up what is inside the engine's namespace.
func connectEngine(rec network.Record, ns *os.File) error {
	return netns.Do(ns, func() error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open a netlink socket in the engine: %w", err)
		}
		defer h.Close()
		if err := netns.LoopbackUp(h); err != nil {
			return err
		}
		// No IPv6 on the pair, so none of its chatter either.
		if err := setOptional("net/ipv6/conf/"+engineLink+"/disable_ipv6", "1"); err != nil {
			return err
		}
		link, err := h.LinkByName(engineLink)
		if err != nil {
			return fmt.Errorf("find %s in the engine: %w", engineLink, err)
		}
		if err := h.AddrAdd(link, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(rec.EngineIP, 31))}); err != nil {
			return fmt.Errorf("give the engine address %s: %w", rec.EngineIP, err)
		}
		if err := h.LinkSetUp(link); err != nil {
			return fmt.Errorf("bring %s up in the engine: %w", engineLink, err)
		}
		if err := h.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: rec.HostIP.AsSlice()}); err != nil {
			return fmt.Errorf("add the engine's default route by %s: %w", rec.HostIP, err)
		}
		return reserve(h, link.Attrs().Index, rec)
	})
}

// reserve keeps dockerd from choosing networks that the host is attached to, which
// containers could not reach any more: it avoids those that its routing table has without
// a gateway. Such a route is added for each, and a better one by the host that is used.
func reserve(h *netlink.Handle, index int, rec network.Record) error {
	for _, p := range rec.Reserved {
		if p.Overlaps(netip.PrefixFrom(rec.HostIP, 31)) {
			continue
		}
		used := &netlink.Route{LinkIndex: index, Dst: ipNet(p), Gw: rec.HostIP.AsSlice()}
		shown := &netlink.Route{LinkIndex: index, Dst: ipNet(p), Scope: netlink.SCOPE_LINK, Priority: lastResort}
		for _, r := range []*netlink.Route{used, shown} {
			if err := h.RouteAdd(r); err != nil && !errors.Is(err, unix.EEXIST) {
				return fmt.Errorf("add a route to %s in the engine: %w", p, err)
			}
		}
	}
	return nil
}

// retire takes the route to an engine away, so that nobody counts the engine any more (see
// [survivors]), and returns what deletes its interface, which takes the kernel longer.
func retire(rec network.Record) (remove func() error, err error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	remove = func() error { h.Close(); return nil }
	link, err := h.LinkByName(rec.Link)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return remove, nil
	}
	if err == nil && link.Type() != "veth" {
		err = fmt.Errorf("it is a %s, not berth's: rename it", link.Type())
	}
	if err == nil {
		// There is none when connecting was interrupted. The interface may go by itself
		// meanwhile, with the engine's namespace.
		to := netip.PrefixFrom(rec.EngineIP, 32)
		err = h.RouteDel(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(to), Scope: netlink.SCOPE_LINK})
		if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENODEV) {
			err = nil
		}
	}
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("take interface %s out of use: %w", rec.Link, err)
	}
	return func() error { return deleteLink(h, link) }, nil
}

func deleteLink(h *netlink.Handle, link netlink.Link) error {
	defer h.Close()
	if err := h.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("delete interface %s: %w", link.Attrs().Name, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
