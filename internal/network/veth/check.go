package veth

import (
	"fmt"
	"strings"

	"github.com/berth-dev/berth/internal/network"
)

// The smallest MTU that every host must accept (RFC 791) and the largest that an IPv4
// packet can use.
const (
	minMTU = 576
	maxMTU = 65535
)

// check refuses a record that this driver cannot have planned: records come from disk, and
// a wrong one must not make us delete a foreign interface.
func check(rec network.Record) error {
	switch {
	case rec.Driver != Name:
		return fmt.Errorf("network record of driver %q given to driver %q", rec.Driver, Name)
	case !strings.HasPrefix(rec.Link, network.LinkPrefix) || len(rec.Link) > 15 || strings.ContainsAny(rec.Link, "/ "):
		return fmt.Errorf("network record with interface name %q, which is not one of berth's", rec.Link)
	case !network.Pool.Contains(rec.HostIP) || rec.EngineIP != rec.HostIP.Next():
		return fmt.Errorf("network record with addresses %s and %s, which are not a pair in %s", rec.HostIP, rec.EngineIP, network.Pool)
	case rec.MTU < minMTU || rec.MTU > maxMTU:
		return fmt.Errorf("MTU %d is out of range: use %d to %d, or 0 for the host's", rec.MTU, minMTU, maxMTU)
	}
	return nil
}
