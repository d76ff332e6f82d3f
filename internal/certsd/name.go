package certsd

import (
	"fmt"
	"net"
	"strconv"

	"github.com/berth-dev/berth/internal/lazyregexp"
)

// registryPattern is the host[:port] of an image's name (the distribution project's reference grammar).
var registryPattern = lazyregexp.New(`^(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?$`)

// CheckRegistry finds fault with the name of a registry: a host or host:port, as image
// names have it.
func CheckRegistry(name string) error {
	if !registryPattern().MatchString(name) {
		return fmt.Errorf("%q is not a registry's host or host:port, as image names have it, without https://", name)
	}
	if _, port, err := net.SplitHostPort(name); err == nil {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("%q: the port is not one of 1 to 65535", name)
		}
	}
	return nil
}
