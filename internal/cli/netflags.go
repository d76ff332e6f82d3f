package cli

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"github.com/berth-dev/berth/internal/engine"
)

// Bounds of an MTU in bytes: what every IPv6 link must carry (RFC 8200), and the largest packet.
const (
	minMTU = 1280
	maxMTU = 65535
)

// hostName is the form of a name in the DNS (RFC 1123, section 2.1).
var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*$`)

func (f *engineFlags) parseNetwork(spec *engine.Spec) error {
	switch f.net {
	case "veth", "none":
		spec.Network.Driver = f.net
	case netHost: // concerns the command only; verbs without one refuse it before
		spec.Network.Driver = "veth"
	default:
		return fmt.Errorf("--net %s: choose veth or none", f.net)
	}
	if f.mtu != 0 && (f.mtu < minMTU || f.mtu > maxMTU) {
		return fmt.Errorf("--mtu %d: give %d to %d bytes", f.mtu, minMTU, maxMTU)
	}
	spec.Network.MTU = f.mtu
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
	if !hostName.MatchString(name) || len(name) > 253 {
		return engine.Host{}, fmt.Errorf("%q is not a host name", name)
	}
	if addr == engine.HostGateway {
		return engine.Host{Name: name, Addr: addr}, nil
	}
	ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(addr, "["), "]"))
	if err != nil || ip.Zone() != "" {
		return engine.Host{}, fmt.Errorf("%q is neither an IP address nor %s", addr, engine.HostGateway)
	}
	return engine.Host{Name: name, Addr: ip.String()}, nil
}
