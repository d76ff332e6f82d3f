package veth

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/network"
	"github.com/berth-dev/berth/internal/network/netns"
)

// Errors of [Try].
var (
	ErrNoRules = errors.New("this kernel cannot do NAT with nftables: use a kernel with nf_tables, nft_nat, nft_masq and nft_ct")
	ErrNoPairs = errors.New("this kernel has no veth interfaces: use a kernel with CONFIG_VETH")
)

// Try makes what an engine's network needs in ns, a namespace of no further use: whether a
// kernel can is best found out by doing it. It fails with ErrNoRules or ErrNoPairs.
func Try(ns *os.File) error {
	c, err := nftables.New(nftables.AsLasting(), nftables.WithNetNSFd(int(ns.Fd())))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoRules, err)
	}
	defer leave(c)
	r := newRuleset()
	if err := r.define(c); err != nil {
		return err
	}
	element := r.engine(network.Record{Link: network.LinkPrefix, EngineIP: network.Pool.Addr().Next()})
	if err := c.SetAddElements(r.engines, element); err != nil {
		return err
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("%w: %w", ErrNoRules, err)
	}
	if err := RedirectDNS(ns, []netip.Addr{network.Pool.Addr()}, network.Pool.Addr().Next()); err != nil {
		return fmt.Errorf("%w: %w", ErrNoRules, err)
	}
	return netns.Do(ns, tryPair)
}

func tryPair() error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open a netlink socket: %w", err)
	}
	defer h.Close()
	pair := netlink.NewVeth(netlink.LinkAttrs{Name: network.LinkPrefix, TxQLen: -1})
	pair.PeerName = engineLink
	if err := h.LinkAdd(pair); err != nil {
		return fmt.Errorf("%w: %w", ErrNoPairs, err)
	}
	return nil
}
