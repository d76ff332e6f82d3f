package none

import (
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/berth-dev/berth/internal/network"
	"github.com/berth-dev/berth/internal/network/nettest"
)

func TestMain(m *testing.M) { nettest.Main(m) }

func TestLoopbackOnly(t *testing.T) {
	nettest.Need(t)
	ns := nettest.New(t)
	rec, err := Driver{}.Plan(t.Context(), network.Request{EngineID: "0123456789ab", Slot: 3})
	nettest.Must(t, err)
	if rec.Driver != Name || rec.Link != "" || rec.Resolver.IsValid() {
		t.Errorf("planned %+v", rec)
	}
	nettest.Must(t, Driver{}.Attach(t.Context(), rec, ns))
	nettest.In(t, ns, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		addrs, err := netlink.AddrList(lo, netlink.FAMILY_V4)
		if len(addrs) != 1 {
			t.Errorf("addresses of lo: %v", addrs)
		}
		routes, routeErr := netlink.RouteList(nil, netlink.FAMILY_V4)
		if routeErr != nil || len(routes) > 0 {
			t.Errorf("routes: %v, %v", routes, routeErr)
		}
		return err
	})
	nettest.Must(t, Driver{}.Detach(t.Context(), rec))
}
