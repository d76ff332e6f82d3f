package veth

import (
	"fmt"
	"testing"

	"github.com/berth-dev/berth/internal/network"
	"github.com/berth-dev/berth/internal/network/nettest"
)

// BenchmarkLife is what an engine's start and end cost, with no other engine and with one.
func BenchmarkLife(b *testing.B) {
	nettest.Need(b)
	for _, others := range []int{0, 1, 50} {
		b.Run(fmt.Sprintf("others=%d", others), func(b *testing.B) { benchmarkLife(b, others) })
	}
}

func benchmarkLife(b *testing.B, others int) {
	nettest.NewWorld(b, 1500)
	dir := b.TempDir()
	d := New(Config{RunDir: dir, ResolvConf: "testdata/resolv.conf"})
	ctx := b.Context()
	made := func(slot int) network.Record {
		rec, err := d.Plan(ctx, network.Request{EngineID: fmt.Sprintf("%012x", slot), Slot: slot})
		nettest.Must(b, err)
		return rec
	}
	var rest []network.Record
	for i := range others {
		rec := made(i)
		nettest.Must(b, d.Attach(ctx, rec, nettest.New(b)))
		rest = append(rest, rec)
	}
	b.ResetTimer()
	var planned, attached, detached float64
	for i := range b.N {
		b.StopTimer()
		ns := nettest.New(b)
		b.StartTimer()
		t0 := b.Elapsed()
		rec := made(100 + i%1000)
		t1 := b.Elapsed()
		nettest.Must(b, d.Attach(ctx, rec, ns))
		t2 := b.Elapsed()
		nettest.Must(b, d.Detach(ctx, rec))
		t3 := b.Elapsed()
		b.StopTimer()
		ns.Close()
		b.StartTimer()
		planned += (t1 - t0).Seconds()
		attached += (t2 - t1).Seconds()
		detached += (t3 - t2).Seconds()
	}
	b.StopTimer()
	for _, rec := range rest {
		nettest.Must(b, d.Detach(ctx, rec))
	}
	n := float64(b.N) / 1e3
	b.ReportMetric(planned/n, "plan-ms")
	b.ReportMetric(attached/n, "attach-ms")
	b.ReportMetric(detached/n, "detach-ms")
}
