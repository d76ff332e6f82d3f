package cli

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/berth-dev/berth/internal/engine"
)

func (f *engineFlags) parseNetwork(spec *engine.Spec) error {
	spec.Network.Driver, spec.Network.MTU = f.net, f.mtu
	if f.net == netHost { // concerns the command only; verbs without one refuse it before
		spec.Network.Driver = engine.NetworkVeth
	}
	for _, s := range f.addHosts {
		h, err := parseHost(s)
		if err != nil {
			return fmt.Errorf("--add-host %s: %w", s, err)
		}
		spec.Network.Hosts = append(spec.Network.Hosts, h)
	}
	return nil
}

// parseHost understands what docker run --add-host does: NAME:IP, NAME=IP, with an IPv6
// address in brackets or not.
func parseHost(s string) (engine.Host, error) {
	i := strings.IndexAny(s, ":=")
	if i < 0 {
		return engine.Host{}, fmt.Errorf("give NAME:IP or NAME:%s", engine.HostGateway)
	}
	name, addr := strings.ToLower(s[:i]), s[i+1:]
	if addr == engine.HostGateway {
		return engine.Host{Name: name, Addr: addr}, nil
	}
	ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(addr, "["), "]"))
	if err != nil || ip.Zone() != "" {
		return engine.Host{}, fmt.Errorf("%q is neither an IP address nor %s", addr, engine.HostGateway)
	}
	return engine.Host{Name: name, Addr: ip.String()}, nil
}
