package network

import (
	"fmt"
	"net/netip"
)

// Addresses of engines come from the range reserved for benchmarks of interconnected
// networks (RFC 2544), which is not routed on the Internet and rarely used in private
// networks. Each half has a pair of addresses for every slot: the second is used where the
// host already uses the first.
var pools = [...]netip.Prefix{
	netip.MustParsePrefix("198.18.0.0/16"),
	netip.MustParsePrefix("198.19.0.0/16"),
}

// Pool is the range that all engines' addresses come from.
var Pool = netip.MustParsePrefix("198.18.0.0/15")

// MaxSlot is the last slot that has addresses.
const MaxSlot = 1<<15 - 1

// LinkPrefix begins the name of every interface that berth makes on the host.
const LinkPrefix = "bth"

// LinkName is the name of the host's interface for an engine: it begins with [LinkPrefix],
// goes on with the engine's id, and fits the kernel's 15 characters.
func LinkName(engineID string) string {
	const most = 15 - len(LinkPrefix)
	if len(engineID) > most {
		engineID = engineID[:most]
	}
	return LinkPrefix + engineID
}

// Pairs are the address pairs that a slot may use, the preferred one first: an even address
// and the odd one after it (a /31, RFC 3021). It fails for a slot out of range.
func Pairs(slot int) ([]netip.Prefix, error) {
	if slot < 0 || slot > MaxSlot {
		return nil, fmt.Errorf("network slot %d is out of range: there are addresses for slots 0 to %d", slot, MaxSlot)
	}
	pairs := make([]netip.Prefix, 0, len(pools))
	for _, pool := range pools {
		a := pool.Addr().As4()
		a[2], a[3] = byte(slot>>7), byte(slot<<1)
		pairs = append(pairs, netip.PrefixFrom(netip.AddrFrom4(a), 31))
	}
	return pairs, nil
}
