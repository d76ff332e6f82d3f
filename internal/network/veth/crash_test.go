package veth

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/google/nftables"

	"github.com/berth-dev/berth/internal/network/nettest"
)

// A process that dies between any two steps leaves nothing that Detach does not take away.
// newDriver compares the host with what it was.
func TestCrashBetweenSteps(t *testing.T) {
	for n := range 5 {
		t.Run(fmt.Sprint("after ", n), func(t *testing.T) {
			d := newDriver(t)
			nettest.NewWorld(t, 1500)
			rec, ns := plan(t, d, 0), nettest.New(t)
			for _, step := range d.attachSteps(rec, ns)[:n] {
				nettest.Must(t, step(t.Context()))
			}
			nettest.Must(t, d.Detach(t.Context(), rec))
			nettest.Must(t, d.Detach(t.Context(), rec))
		})
	}
}

// The same within the first step: rules are there, forwarding not yet.
func TestCrashWithinAdmit(t *testing.T) {
	d := newDriver(t)
	nettest.NewWorld(t, 1500)
	rec := plan(t, d, 0)
	c, r := &nftables.Conn{}, newRuleset()
	nettest.Must(t, r.define(c))
	nettest.Must(t, c.SetAddElements(r.engines, r.engine(rec)))
	nettest.Must(t, c.SetAddElements(r.uplinks, []nftables.SetElement{r.uplink(nettest.Uplink, "ip_forward=0")}))
	nettest.Must(t, c.Flush())
	nettest.Must(t, d.Detach(t.Context(), rec))
}

// And in Detach: forwarding was put back, the table is still there. The next engine works.
func TestCrashWithinDismiss(t *testing.T) {
	d := newDriver(t)
	world := nettest.NewWorld(t, 1500)
	nettest.ServePeer(t, world.NS, "203.0.113.1:80")
	e := attach(t, d, 0)
	remove, err := retire(e.rec)
	nettest.Must(t, err)
	nettest.Must(t, remove())
	c, r := &nftables.Conn{}, newRuleset()
	nettest.Must(t, c.SetDeleteElements(r.engines, r.engine(e.rec)))
	nettest.Must(t, c.Flush())
	uplinks, err := c.GetSetElements(r.uplinks)
	nettest.Must(t, err)
	nettest.Must(t, closeUplinks(uplinks))

	next := attach(t, d, 1)
	next.reaches(t, "203.0.113.1:80", nettest.HostAddr.String())
	next.detach(t, d)
	e.detach(t, d)
}

// The kernel takes its time over an interface: the next engine may come when the rules of
// the last one have gone and its interface has not. It must not take that for an engine.
func TestNextEngineWhileTheLastLeaves(t *testing.T) {
	d := newDriver(t)
	nettest.NewWorld(t, 1500)
	last, next := plan(t, d, 0), plan(t, d, 1)
	nettest.Must(t, d.Attach(t.Context(), last, nettest.New(t)))
	remove, err := retire(last)
	nettest.Must(t, err)
	nettest.Must(t, d.locked(t.Context(), func() error { return dismiss(last) }))
	nettest.Must(t, d.Attach(t.Context(), next, nettest.New(t)))
	nettest.Must(t, remove())
	nettest.Must(t, d.Detach(t.Context(), next))
}

// The engine's namespace dies first, and its interface with it.
func TestNamespaceDies(t *testing.T) {
	d := newDriver(t)
	nettest.NewWorld(t, 1500)
	rec, ns := plan(t, d, 0), nettest.New(t)
	nettest.Must(t, d.Attach(t.Context(), rec, ns))
	ns.Close()
	nettest.Must(t, d.Detach(t.Context(), rec))
	nettest.Must(t, d.Detach(t.Context(), rec))
}

func TestAttachIsAllOrNothing(t *testing.T) {
	t.Run("cancelled", func(t *testing.T) {
		d := newDriver(t)
		nettest.NewWorld(t, 1500)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := d.Attach(ctx, plan(t, d, 0), nettest.New(t)); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Run("not a namespace", func(t *testing.T) {
		d := newDriver(t)
		nettest.NewWorld(t, 1500)
		null, err := os.Open(os.DevNull)
		nettest.Must(t, err)
		defer null.Close()
		if err := d.Attach(t.Context(), plan(t, d, 0), null); err == nil {
			t.Error("no error")
		}
	})
	t.Run("twice", func(t *testing.T) {
		d := newDriver(t)
		nettest.NewWorld(t, 1500)
		e := attach(t, d, 0)
		if err := d.Attach(t.Context(), e.rec, nettest.New(t)); err == nil {
			t.Error("no error")
		}
	})
}
