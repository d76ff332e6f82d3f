package veth

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/network"
	"github.com/berth-dev/berth/internal/network/host"
)

// admit lets an engine's traffic through the host: rules, NAT, forwarding, and the rules of
// a Docker on the host.
func admit(rec network.Record) error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer leave(c)
	r := newRuleset()
	elements := r.engine(rec)
	if !r.current(c) {
		// Someone who flushed all rules took those of running engines away as well.
		others, err := survivors(rec.Link)
		if err != nil {
			return err
		}
		for _, other := range others {
			elements = append(elements, r.engine(other)...)
		}
		if err := r.define(c); err != nil {
			return err
		}
	}
	if err := c.SetAddElements(r.engines, elements); err != nil {
		return err
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("write nftables table inet %s: %w", tableName, err)
	}
	return open(c, r)
}

// open switches on what engines need of the host besides the table. It may be repeated.
func open(c *nftables.Conn, r *ruleset) error {
	if err := openDockerUser(c); err != nil {
		return err
	}
	view, err := host.Read()
	if err != nil {
		return err
	}
	return openUplinks(c, r, view.Uplinks())
}

// dismiss takes away an engine's rules, and with the last engine everything else.
//
// Forwarding is put back before the table goes, because the table is the only place that
// says what to put back: whenever this is interrupted, doing it again ends it. If another
// engine came meanwhile, the table stays and what was put back is switched on again.
func dismiss(rec network.Record) error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer leave(c)
	if there, err := exists(c); err != nil || !there {
		return err
	}
	r := newRuleset()
	if err := c.SetDeleteElements(r.engines, r.engine(rec)); err != nil {
		return err
	}
	if err := c.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("take the engine out of nftables table inet %s: %w", tableName, err)
	}
	engines, err := c.GetSetElements(r.engines)
	if err != nil || len(engines) > 0 {
		return gone(c, err)
	}
	uplinks, err := c.GetSetElements(r.uplinks)
	if err != nil {
		return gone(c, err)
	}
	if err := closeDockerUser(c); err != nil {
		return err
	}
	if err := closeUplinks(uplinks); err != nil {
		return err
	}
	if err := r.remove(c, uplinks); err != nil {
		return err
	}
	switch err := c.Flush(); {
	case err == nil, errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EBUSY):
		return open(c, r)
	default:
		return fmt.Errorf("delete nftables table inet %s: %w", tableName, err)
	}
}

// survivors are the engines that have an interface and a route to it on the host, other than
// the named one; an engine that leaves has no route any more. Only their link and address
// are known.
func survivors(except string) ([]network.Record, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	defer h.Close()
	links, err := h.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list the host's network interfaces: %w", err)
	}
	var found []network.Record
	for _, link := range links {
		name := link.Attrs().Name
		if name == except || !strings.HasPrefix(name, network.LinkPrefix) || link.Type() != "veth" {
			continue
		}
		routes, err := h.RouteList(link, netlink.FAMILY_V4)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return nil, fmt.Errorf("list the routes of %s: %w", name, err)
		}
		for _, route := range routes {
			if route.Dst == nil {
				continue
			}
			if ip, ok := netip.AddrFromSlice(route.Dst.IP); ok && network.Pool.Contains(ip.Unmap()) {
				found = append(found, network.Record{Link: name, EngineIP: ip.Unmap()})
			}
		}
	}
	return found, nil
}

func dial() (*nftables.Conn, error) {
	c, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, fmt.Errorf("open an nftables socket: %w", err)
	}
	return c, nil
}

// leave closes c, without waiting: after a deletion, by anybody, the kernel lets the close
// of an nftables socket last until nothing refers to what was deleted, many milliseconds.
func leave(c *nftables.Conn) { go c.CloseLasting() }

func exists(c *nftables.Conn) (bool, error) {
	_, err := c.ListTableOfFamily(tableName, nftables.TableFamilyINet)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for nftables table inet %s: %w", tableName, err)
	}
	return true, nil
}

// gone turns an error into none when it is only that the table went meanwhile.
func gone(c *nftables.Conn, err error) error {
	if err == nil {
		return nil
	}
	if there, lookErr := exists(c); lookErr == nil && !there {
		return nil
	}
	return fmt.Errorf("read nftables table inet %s: %w", tableName, err)
}

// notThere reports whether err says that an interface went meanwhile.
func notThere(err error) bool { return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) }
