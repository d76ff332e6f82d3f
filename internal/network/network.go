// Package network says how an engine reaches the world: what a driver must do, what is
// remembered of an engine's network so that it can be undone by another process, and which
// addresses an engine gets.
//
// Drivers are subpackages chosen by name by the caller: veth, none. This package itself
// touches neither the kernel nor the disk, so that anything may import it.
//
// Units: MTUs are bytes. An engine's slot is the small number that also chooses its id
// range; it is unique on a machine among the engines of one run directory.
package network

import (
	"context"
	"net/netip"
	"os"
)

// HostName is the name by which an engine and what runs in it reach the host.
const HostName = "host.berth.internal"

// Record is what is remembered of one engine's network: enough to undo it after a crash.
// It is stored as JSON with the engine before [Driver.Attach] is called.
type Record struct {
	Driver string `json:"driver"`
	Slot   int    `json:"slot"`
	// Link is the name of the host's side of the pair; empty without one.
	Link string `json:"link,omitempty"`
	// HostIP is the host as the engine sees it, EngineIP the engine as the host sees it.
	HostIP   netip.Addr `json:"host_ip,omitzero"`
	EngineIP netip.Addr `json:"engine_ip,omitzero"`
	// MTU is for the pair and for every network that the engine makes; 0 leaves Docker's default.
	MTU int `json:"mtu,omitempty"`
	// Resolver is the name server for the engine's resolv.conf, which dockerd hands on to
	// containers. The zero value means that nothing can be resolved.
	Resolver netip.Addr `json:"resolver,omitzero"`
	// Reserved are networks that the host is directly attached to. The engine's side has
	// routes for them, which keep dockerd from choosing them for its own networks.
	Reserved []netip.Prefix `json:"reserved,omitempty"`
}

// Request asks for the network of a new engine.
type Request struct {
	EngineID string // 12 lower-case hex digits
	Slot     int    // 0 … MaxSlot
	MTU      int    // bytes; 0 inherits the MTU of the host's default route
}

// Driver connects engines in one particular way. Its methods may be called by several
// processes at once, for the same host network namespace: that of the calling process.
type Driver interface {
	// Plan chooses addresses and MTU for an engine. It only reads. It returns a
	// [*ConflictError] when the slot's addresses are in use on the host: try another slot.
	Plan(ctx context.Context, req Request) (Record, error)

	// Attach connects the network namespace that netns refers to, as planned. It is all or
	// nothing: when it fails or ctx is cancelled, what it had done is undone.
	Attach(ctx context.Context, rec Record, netns *os.File) error

	// Detach takes away whatever Attach, or a part of it, left on the host. It may be called
	// again, by another process, and after the engine's network namespace is gone.
	Detach(ctx context.Context, rec Record) error
}
