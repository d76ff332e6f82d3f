package engine

import (
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/netip"
	"os"

	"github.com/berth-dev/berth/internal/ids"
	"github.com/berth-dev/berth/internal/linux"
	"github.com/berth-dev/berth/internal/network"
	"github.com/berth-dev/berth/internal/network/none"
	"github.com/berth-dev/berth/internal/network/veth"
)

// Network drivers by name.
const (
	NetworkVeth = "veth"
	NetworkNone = "none"
)

func (m *Manager) driver(name string) (network.Driver, error) {
	switch name {
	case NetworkVeth:
		return veth.New(veth.Config{RunDir: m.paths.Network()}), nil
	case NetworkNone:
		return none.Driver{}, nil
	}
	return nil, &SpecError{"--net", fmt.Sprintf("%q is no network driver; there are veth and none", name)}
}

// planAttempts bounds the search for addresses that nothing on the host has.
const planAttempts = 64

// planned is what [launch.planNetwork] comes to.
type planned struct {
	rec network.Record
	err error
}

// planNetwork has the engine's addresses chosen while the container is made: what the host
// uses cannot be read while the kernel changes it, for instance at another engine's end.
// [launch.settleNetwork] takes the answer.
func (l *launch) planNetwork(ctx context.Context) error {
	spec := l.info.Spec.Network
	driver, err := l.m.driver(spec.Driver)
	if err != nil {
		return err
	}
	plan, req := make(chan planned, 1), network.Request{EngineID: l.info.ID, Slot: l.info.Slot, MTU: spec.MTU}
	go func() {
		rec, err := choose(ctx, driver, req)
		plan <- planned{rec, err}
	}()
	l.plan = plan
	return nil
}

// choose asks for the addresses of the request's slot, and then of others.
func choose(ctx context.Context, driver network.Driver, req network.Request) (network.Record, error) {
	for range planAttempts {
		rec, err := driver.Plan(ctx, req)
		if err == nil {
			return rec, nil
		}
		if !errors.Is(err, network.ErrConflict) {
			return network.Record{}, fmt.Errorf("plan the engine's network: %w", err)
		}
		req.Slot = mathrand.IntN(ids.Slots)
	}
	return network.Record{}, errors.New("plan the engine's network: the host uses all addresses of 198.18.0.0/15 that were tried; see `ip route`, or use --net none")
}

// settleNetwork enters the addresses into the engine's record, which must be saved before
// they are used.
func (l *launch) settleNetwork() error {
	p := <-l.plan
	if p.err == nil {
		l.info.Net = &p.rec
	}
	return p.err
}

// attach connects the engine while dockerd starts, and serves its names.
func (l *launch) attach(ctx context.Context) error {
	driver, err := l.m.driver(l.info.Net.Driver)
	if err != nil {
		return err
	}
	netns, err := l.info.netns()
	if err != nil {
		return err
	}
	l.monitor.netns = netns
	if _, l.info.NetNS.Inode, err = linux.Identity(netns); err != nil {
		return err
	}
	if l.info.NetNS.Cookie, err = linux.NetNSCookie(netns); err != nil {
		return fmt.Errorf("identify the engine's network namespace: %w", err)
	}
	if err := driver.Attach(ctx, *l.info.Net, netns); err != nil {
		return fmt.Errorf("connect the engine's network: %w", err)
	}
	l.monitor.reach.arm(l.info.Net, netns, l.certs)
	l.judgeMirror()
	if l.relay {
		if err := l.monitor.serveMirror(l.info.Net); err != nil {
			return err
		}
	}
	return l.monitor.serveNames(ctx, l.info.Net, l.info.Spec.Network.Hosts)
}

func (m *Manager) detach(ctx context.Context, info *Info) error {
	if info.Net == nil {
		return nil
	}
	driver, err := m.driver(info.Net.Driver)
	if err != nil {
		return err
	}
	if err := driver.Detach(ctx, *info.Net); err != nil {
		return fmt.Errorf("take the engine's network away: %w", err)
	}
	return nil
}

// killLeft ends what is inside the network namespace of an engine whose monitor was killed:
// what the command of `berth run` had started. A monitor that lives does this itself.
func (m *Manager) killLeft(info *Info) error {
	if info.NetNS == (NetNS{}) {
		return nil
	}
	netns, err := linux.FindNetNS(info.NetNS.Inode, info.NetNS.Cookie)
	if err != nil || netns == nil {
		return err
	}
	defer netns.Close()
	_, err = linux.KillInside(netns)
	return err
}

// netns opens the network namespace of a running engine.
func (i *Info) netns() (*os.File, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", i.Init.PID))
	if err != nil {
		return nil, fmt.Errorf("open the engine's network namespace: %w", err)
	}
	if !i.Init.alive() {
		f.Close()
		return nil, fmt.Errorf("%w: %s has just ended", ErrNotRunning, i.Name)
	}
	return f, nil
}

// address resolves what a host is to the engine.
func (h Host) address(rec *network.Record) (netip.Addr, error) {
	if h.Addr == HostGateway {
		if !rec.HostIP.IsValid() {
			return netip.Addr{}, &SpecError{"--add-host", h.Name + ":" + HostGateway + " needs a network; use --net veth"}
		}
		return rec.HostIP, nil
	}
	return netip.ParseAddr(h.Addr)
}
