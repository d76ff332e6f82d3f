// Package veth connects an engine by a pair of virtual Ethernet interfaces (veth(4)) with
// a point-to-point route and NAT by nftables. There is no bridge: engines cannot reach
// each other, and cannot pretend to be another one.
//
// What it adds to the host, all of it gone with the last engine:
//
//	interface bth<id>        the host's side of an engine's pair, one per engine
//	table inet berth         berth's own nftables table, see [ruleset]
//	forwarding               of the interfaces that routes lead to, where it was off
//	two rules in DOCKER-USER where a Docker on the host made that chain (iptables-nft)
//
// The kernel holds all state: which engines exist and which settings to put back are
// elements of maps in the table, so that no file can disagree with it. IPv6 is off on the
// pair. Interfaces that appear on the host later serve engines that start later.
//
// Units: MTUs are bytes. The package knows nothing of engines but their [network.Record].
package veth

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/berth-dev/berth/internal/linux"
	"github.com/berth-dev/berth/internal/network"
	"github.com/berth-dev/berth/internal/network/host"
	"github.com/berth-dev/berth/internal/network/resolvconf"
)

// Name is what a user calls this driver.
const Name = "veth"

// maxReserved bounds the networks that an engine is told to keep off.
const maxReserved = 64

// Config is what a [Driver] needs to know.
type Config struct {
	// RunDir holds the lock; it is made when it does not exist. Drivers with different
	// directories get along on one host.
	RunDir string
	// ResolvConf is the host's resolv.conf; empty for /etc/resolv.conf.
	ResolvConf string
}

// Driver implements [network.Driver] for the network namespace of the calling process.
type Driver struct{ cfg Config }

var _ network.Driver = (*Driver)(nil)

// New returns a driver. It does nothing yet.
func New(cfg Config) *Driver {
	if cfg.ResolvConf == "" {
		cfg.ResolvConf = resolvconf.Path
	}
	return &Driver{cfg: cfg}
}

// Plan implements [network.Driver].
func (d *Driver) Plan(ctx context.Context, req network.Request) (network.Record, error) {
	if err := ctx.Err(); err != nil {
		return network.Record{}, err
	}
	pairs, err := network.Pairs(req.Slot)
	if err != nil {
		return network.Record{}, err
	}
	view, err := host.Read()
	if err != nil {
		return network.Record{}, err
	}
	servers, err := resolvconf.Read(d.cfg.ResolvConf)
	if err != nil {
		return network.Record{}, fmt.Errorf("read the host's name servers: %w", err)
	}
	rec := network.Record{
		Driver:   Name,
		Slot:     req.Slot,
		Link:     network.LinkName(req.EngineID),
		MTU:      req.MTU,
		Reserved: view.OnLink(maxReserved),
	}
	if rec.MTU == 0 {
		rec.MTU = view.MTU()
	}
	for _, pair := range pairs {
		if err = view.Conflict(pair, servers); err == nil {
			rec.HostIP = pair.Addr()
			rec.EngineIP = pair.Addr().Next()
			rec.Resolver = rec.EngineIP
			return rec, check(rec)
		}
	}
	return network.Record{}, err
}

// Attach implements [network.Driver]. The order matters for safety: the rules that bound
// an engine are there before its interface is.
func (d *Driver) Attach(ctx context.Context, rec network.Record, ns *os.File) (err error) {
	if err := check(rec); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Detach(context.WithoutCancel(ctx), rec))
		}
	}()
	for _, step := range d.attachSteps(rec, ns) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := step(ctx); err != nil {
			return fmt.Errorf("connect the engine's network: %w", err)
		}
	}
	return nil
}

// attachSteps are what Attach does, in order. A crash may happen between any two of them,
// or within one.
func (d *Driver) attachSteps(rec network.Record, ns *os.File) []func(context.Context) error {
	return []func(context.Context) error{
		func(ctx context.Context) error { return d.locked(ctx, func() error { return admit(rec) }) },
		func(context.Context) error { return connectHost(rec, ns) },
		func(context.Context) error { return connectEngine(rec, ns) },
		func(context.Context) error { return d.redirectDNS(rec, ns) },
	}
}

// Detach implements [network.Driver].
func (d *Driver) Detach(ctx context.Context, rec network.Record) error {
	if err := check(rec); err != nil {
		return err
	}
	// First the route: an engine that starts meanwhile may have to write the whole table
	// anew, and then takes every interface with one for an engine that stays.
	remove, err := retire(rec)
	if err != nil {
		return errors.Join(err, d.locked(ctx, func() error { return dismiss(rec) }))
	}
	// Both take milliseconds, which the kernel spends waiting; the order does not matter,
	// since without its element an engine's packets are dropped.
	removed := make(chan error, 1)
	go func() { removed <- remove() }()
	err = d.locked(ctx, func() error { return dismiss(rec) })
	return errors.Join(err, <-removed)
}

// locked calls f while no other process with the same run directory is in it. The lock
// spares work and short interruptions; what must be atomic is one nftables transaction.
func (d *Driver) locked(ctx context.Context, f func() error) error {
	if err := os.MkdirAll(d.cfg.RunDir, 0o700); err != nil {
		return err
	}
	lock, err := linux.Lock(ctx, filepath.Join(d.cfg.RunDir, "lock"))
	if err != nil {
		return fmt.Errorf("lock the host's network settings: %w", err)
	}
	defer lock.Close()
	return f()
}

func (d *Driver) redirectDNS(rec network.Record, ns *os.File) error {
	servers, err := resolvconf.Read(d.cfg.ResolvConf)
	if err != nil {
		return fmt.Errorf("read the host's name servers: %w", err)
	}
	return RedirectDNS(ns, resolvconf.Remote(servers), rec.Resolver)
}
