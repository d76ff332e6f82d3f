package dns

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/berth-dev/berth/internal/network"
	"github.com/berth-dev/berth/internal/network/netns"
	"github.com/berth-dev/berth/internal/network/nettest"
	"github.com/berth-dev/berth/internal/network/veth"
)

// From within an engine's namespace, every server of the host's resolv.conf, wherever it
// is, and the engine's own resolver give the same answers.
func TestInEngine(t *testing.T) {
	nettest.Need(t)
	world := nettest.NewWorld(t, 1500)
	dir := t.TempDir()
	conf := filepath.Join(dir, "resolv.conf")
	write(t, conf, "127.0.0.53", "203.0.113.1", "2001:db8::53", "::1")
	startNameServer(t, "127.0.0.53:53", 7)
	nettest.In(t, world.NS, func() error { startNameServer(t, "203.0.113.1:53", 8); return nil })

	d := veth.New(veth.Config{RunDir: dir, ResolvConf: conf})
	rec, err := d.Plan(t.Context(), network.Request{EngineID: "0123456789ab"})
	nettest.Must(t, err)
	ns := nettest.New(t)
	nettest.Must(t, d.Attach(t.Context(), rec, ns))
	t.Cleanup(func() { d.Detach(t.Context(), rec) })
	listen, err := Addresses(rec.Resolver, conf)
	nettest.Must(t, err)
	s, err := Serve(t.Context(), Config{NetNS: ns, Listen: listen, ResolvConf: conf, Hosts: map[string]netip.Addr{network.HostName: rec.HostIP}})
	nettest.Must(t, err)
	t.Cleanup(func() { s.Close() })

	servers := []string{rec.Resolver.String() + ":53", "127.0.0.53:53", "203.0.113.1:53"}
	if _, err := os.Stat("/proc/net/if_inet6"); err == nil {
		servers = append(servers, "[2001:db8::53]:53", "[::1]:53")
	}
	for _, server := range servers {
		r := resolver(server, ns)
		lookup(t, r, "host.berth.internal.", rec.HostIP.String())
		lookup(t, r, "example.test.", "192.0.2.7")
		if got, err := r.LookupTXT(t.Context(), "big.test."); err != nil || len(got) != 60 {
			t.Errorf("%s: %d records, %v", server, len(got), err)
		}
	}
}

// The process's own namespace stays what it was, on every thread.
func TestThreadsComeBack(t *testing.T) {
	nettest.Need(t)
	before, err := netns.Current()
	nettest.Must(t, err)
	defer before.Close()
	other := nettest.New(t)
	for range 20 {
		nettest.In(t, other, func() error { return nil })
	}
	tasks, err := filepath.Glob("/proc/self/task/*/ns/net")
	nettest.Must(t, err)
	want, err := before.Stat()
	nettest.Must(t, err)
	for _, task := range tasks {
		// A thread that is to end in another namespace may take a moment to end.
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
			got, err := os.Stat(task)
			if err != nil || os.SameFile(got, want) {
				break
			}
			if time.Now().After(deadline) {
				t.Errorf("%s is another namespace", task)
				break
			}
		}
	}
}
