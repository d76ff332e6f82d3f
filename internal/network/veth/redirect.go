package veth

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/network/netns"
)

// dnsPort is where name servers listen (RFC 1035, 4.2).
const dnsPort = 53

// dnsTable holds the redirection in the engine's own namespace; dockerd has other tables.
const dnsTable = "berth-dns"

// RedirectDNS makes queries from the namespace ns to port 53 of servers arrive at the
// address to, which is one of the namespace's own. A program there that uses the host's
// resolv.conf then asks the forwarder, as containers do. IPv6 servers, which are out of
// reach for an engine, become addresses of its loopback interface instead: the forwarder
// can listen on them. Link-local ones are left alone. Repeating it replaces the old servers.
func RedirectDNS(ns *os.File, servers []netip.Addr, to netip.Addr) error {
	var v4, v6 []netip.Addr
	for _, s := range servers {
		switch {
		case s.Is4() && s != to:
			v4 = append(v4, s)
		case s.Is6() && !s.IsLinkLocalUnicast():
			v6 = append(v6, s)
		}
	}
	if err := redirect4(ns, v4, to); err != nil {
		return fmt.Errorf("redirect DNS queries in the engine to %s: %w", to, err)
	}
	if len(v6) == 0 {
		return nil
	}
	return netns.Do(ns, func() error { return adopt6(v6) })
}

// redirect4 writes, in the namespace ns:
//
//	table ip berth-dns {
//	  chain output { type nat hook output priority dstnat
//	    ip daddr SERVER meta l4proto udp th dport 53 dnat to TO:53    # one for each server
//	    ip daddr SERVER meta l4proto tcp th dport 53 dnat to TO:53 }  # and protocol
//	}
func redirect4(ns *os.File, servers []netip.Addr, to netip.Addr) error {
	c, err := nftables.New(nftables.AsLasting(), nftables.WithNetNSFd(int(ns.Fd())))
	if err != nil {
		return err
	}
	defer leave(c)
	if len(servers) == 0 {
		if _, err := c.ListTableOfFamily(dnsTable, nftables.TableFamilyIPv4); err != nil {
			return nil // the usual case of a host with a resolver of its own
		}
	}
	table := c.AddTable(&nftables.Table{Name: dnsTable, Family: nftables.TableFamilyIPv4})
	c.FlushTable(table)
	chain := c.AddChain(&nftables.Chain{
		Name: "output", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityNATDest,
	})
	for _, server := range servers {
		for _, proto := range []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
			c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: dnatDNS(server, to, proto)})
		}
	}
	return c.Flush()
}

func dnatDNS(server, to netip.Addr, proto byte) []expr.Any {
	port := binaryutil.BigEndian.PutUint16(dnsPort)
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: server.AsSlice()},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: port},
		&expr.Immediate{Register: 1, Data: to.AsSlice()},
		&expr.Immediate{Register: 2, Data: port},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2},
	}
}

// adopt6 adds servers to the loopback interface of the calling thread's namespace. A
// kernel without IPv6 has nobody who would ask them.
func adopt6(servers []netip.Addr) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open a netlink socket in the engine: %w", err)
	}
	defer h.Close()
	for _, s := range servers {
		// Without duplicate address detection the address can be used at once.
		addr := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(s.WithZone(""), 128)), Flags: unix.IFA_F_NODAD}
		err := h.AddrAdd(netns.Loopback(), addr)
		if err == nil || errors.Is(err, unix.EEXIST) {
			continue
		}
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EACCES) {
			return nil
		}
		return fmt.Errorf("add name server %s to the engine's loopback interface: %w", s, err)
	}
	return nil
}
