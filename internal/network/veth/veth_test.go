package veth

import (
	"testing"

	"github.com/berth-dev/berth/internal/network/netns"
	"github.com/berth-dev/berth/internal/network/nettest"
)

func TestTraffic(t *testing.T) {
	d := newDriver(t)
	world := nettest.NewWorld(t, 1400)
	host, err := netns.Current()
	nettest.Must(t, err)
	defer host.Close()
	nettest.ServePeer(t, world.NS, "203.0.113.1:80")
	nettest.ServePeer(t, host, "0.0.0.0:80")
	a, b := attach(t, d, 0), attach(t, d, 1)
	nettest.ServePeer(t, b.ns, "0.0.0.0:80")

	a.reaches(t, "203.0.113.1:80", nettest.HostAddr.String())
	b.reaches(t, "203.0.113.1:80", nettest.HostAddr.String())
	a.reaches(t, a.rec.HostIP.String()+":80", a.rec.EngineIP.String())
	if got, err := fetch(host, b.rec.EngineIP.String()+":80", patience); err != nil || got != b.rec.HostIP.String() {
		t.Errorf("the engine from the host: %q, %v", got, err)
	}
	cannot(t, "engine to engine", a.ns, b.rec.EngineIP.String()+":80")
	a.detach(t, d)
	cannot(t, "a detached engine", a.ns, "203.0.113.1:80")
	b.reaches(t, "203.0.113.1:80", nettest.HostAddr.String())
	b.detach(t, d)
}
