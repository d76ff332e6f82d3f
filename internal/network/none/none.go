// Package none is the network of an engine without a way out: it has its loopback
// interface, for its own containers and whoever is in its namespace. Nothing is added to
// the host.
package none

import (
	"context"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/network"
	"github.com/berth-dev/berth/internal/network/netns"
)

// Name is what a user calls this driver.
const Name = "none"

// Driver implements [network.Driver]; its zero value works.
type Driver struct{}

var _ network.Driver = Driver{}

// Plan implements [network.Driver]. There is nothing to conflict with.
func (Driver) Plan(ctx context.Context, req network.Request) (network.Record, error) {
	return network.Record{Driver: Name, Slot: req.Slot, MTU: req.MTU}, ctx.Err()
}

// Attach implements [network.Driver].
func (Driver) Attach(ctx context.Context, _ network.Record, ns *os.File) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return netns.Do(ns, func() error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open a netlink socket in the engine: %w", err)
		}
		defer h.Close()
		return netns.LoopbackUp(h)
	})
}

// Detach implements [network.Driver].
func (Driver) Detach(context.Context, network.Record) error { return nil }
