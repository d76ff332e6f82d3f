package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-dev/berth/internal/network"
	"github.com/berth-dev/berth/internal/network/netns"
	"github.com/berth-dev/berth/internal/network/nettest"
)

func TestMain(m *testing.M) { nettest.Main(m) }

var hostIP = netip.MustParseAddr("198.18.0.0")

// setup gives the host the listed name servers and returns a forwarder's address on a
// free port of this namespace, with the path of the resolv.conf.
func setup(t testing.TB, servers ...string) (at, conf string) {
	t.Helper()
	nettest.Need(t)
	nettest.Must(t, upLoopback())
	conf = t.TempDir() + "/resolv.conf"
	write(t, conf, servers...)
	s, err := Serve(t.Context(), Config{
		Listen:     []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")},
		ResolvConf: conf,
		Hosts:      map[string]netip.Addr{network.HostName: hostIP, "six.test": netip.MustParseAddr("2001:db8::6")},
	})
	nettest.Must(t, err)
	t.Cleanup(func() { s.Close() })
	return s.Addr().String(), conf
}

func write(t testing.TB, path string, servers ...string) {
	t.Helper()
	var b strings.Builder
	for _, s := range servers {
		fmt.Fprintln(&b, "nameserver", s)
	}
	nettest.Must(t, os.WriteFile(path, []byte(b.String()), 0o644))
}

// resolver asks the server at one address only; ns is where it does so, nil for here.
func resolver(at string, ns *os.File) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (c net.Conn, err error) {
		dial := func() error {
			c, err = (&net.Dialer{}).DialContext(ctx, network, at)
			return err
		}
		if ns == nil {
			return c, dial()
		}
		err = netns.Do(ns, dial)
		return c, err
	}}
}

func lookup(t *testing.T, r *net.Resolver, name, want string) {
	t.Helper()
	got, err := r.LookupHost(t.Context(), name)
	if err != nil || strings.Join(got, " ") != want {
		t.Errorf("%s: got %v, %v; want %s", name, got, err, want)
	}
}

func TestAnswers(t *testing.T) {
	at, _ := setup(t, "127.0.0.53")
	up := startNameServer(t, "127.0.0.53:53", 1)
	r := resolver(at, nil)
	lookup(t, r, "example.test.", "192.0.2.1")
	lookup(t, r, "host.berth.internal.", hostIP.String())
	lookup(t, r, "HOST.Berth.Internal.", hostIP.String())
	lookup(t, r, "six.test.", "2001:db8::6")
	before := up.asked.Load()
	if _, err := r.LookupCNAME(t.Context(), "host.berth.internal."); err != nil {
		t.Error(err)
	}
	if up.asked.Load() != before {
		t.Error("a name of our own was asked upstream")
	}
	var failure *net.DNSError
	if _, err := r.LookupHost(t.Context(), "none.test."); !errors.As(err, &failure) || !failure.IsNotFound {
		t.Errorf("a name that does not exist: %v", err)
	}
}

// A big answer does not fit UDP: the client is told so, and gets it by TCP.
func TestBigAnswer(t *testing.T) {
	at, _ := setup(t, "127.0.0.53")
	startNameServer(t, "127.0.0.53:53", 1)
	got, err := resolver(at, nil).LookupTXT(t.Context(), "big.test.")
	if err != nil || len(got) != 60 {
		t.Errorf("got %d records, %v; want 60", len(got), err)
	}
}

func TestFailover(t *testing.T) {
	at, _ := setup(t, "127.0.0.51", "127.0.0.52", "127.0.0.53") // nothing listens on the first
	mute, good := startNameServer(t, "127.0.0.52:53", 2), startNameServer(t, "127.0.0.53:53", 3)
	mute.mute.Store(true)
	r := resolver(at, nil)
	start := time.Now()
	lookup(t, r, "a.test.", "192.0.2.3")
	if took := time.Since(start); took > 2*tryTime {
		t.Errorf("took %v", took)
	}
	asked := mute.asked.Load()
	lookup(t, r, "b.test.", "192.0.2.3")
	if mute.asked.Load() != asked {
		t.Error("the mute server was asked again at once")
	}
	if good.asked.Load() == 0 {
		t.Error("the good server was not asked")
	}
}

// A client gets a failure in time, rather than nothing.
func TestUpstreamDown(t *testing.T) {
	for name, server := range map[string]string{"refusing": "127.0.0.51", "mute": "127.0.0.52", "failing": "127.0.0.53"} {
		t.Run(name, func(t *testing.T) {
			at, _ := setup(t, server)
			startNameServer(t, "127.0.0.52:53", 2).mute.Store(true)
			startNameServer(t, "127.0.0.53:53", 3)
			start := time.Now()
			c, err := net.Dial("udp", at)
			nettest.Must(t, err)
			defer c.Close()
			c.SetDeadline(start.Add(5 * time.Second))
			_, err = c.Write(question("fail.test."))
			nettest.Must(t, err)
			buf := make([]byte, 512)
			n, err := c.Read(buf)
			if err != nil || n < 12 || buf[3]&0xf != 2 {
				t.Errorf("after %v: %x, %v; want SERVFAIL", time.Since(start), buf[:n], err)
			}
		})
	}
}

func TestResolvConfChanges(t *testing.T) {
	at, conf := setup(t, "127.0.0.52")
	startNameServer(t, "127.0.0.52:53", 2)
	startNameServer(t, "127.0.0.53:53", 3)
	lookup(t, resolver(at, nil), "a.test.", "192.0.2.2")
	next := conf + ".new"
	write(t, next, "127.0.0.53")
	nettest.Must(t, os.Rename(next, conf))
	lookup(t, resolver(at, nil), "a.test.", "192.0.2.3")
}

// A forwarder must not ask itself.
func TestNoLoop(t *testing.T) {
	nettest.Need(t)
	nettest.Must(t, upLoopback())
	conf := t.TempDir() + "/resolv.conf"
	write(t, conf, "127.0.0.99")
	s, err := Serve(t.Context(), Config{Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.99:53")}, ResolvConf: conf})
	nettest.Must(t, err)
	defer s.Close()
	start := time.Now()
	if _, err := resolver("127.0.0.99:53", nil).LookupHost(t.Context(), "a.test."); err == nil || time.Since(start) > 4*time.Second {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
}

// Many at once are all answered, and closing waits for none of them.
func TestManyThenClose(t *testing.T) {
	at, _ := setup(t, "127.0.0.53")
	up := startNameServer(t, "127.0.0.53:53", 1)
	var all sync.WaitGroup
	for i := range 4 * maxQueries {
		all.Go(func() { lookup(t, resolver(at, nil), fmt.Sprintf("n%d.test.", i), "192.0.2.1") })
	}
	all.Wait()
	up.mute.Store(true)
	conf := t.TempDir() + "/resolv.conf"
	write(t, conf, "127.0.0.53")
	s, err := Serve(t.Context(), Config{Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, ResolvConf: conf})
	nettest.Must(t, err)
	c, err := net.Dial("udp", s.Addr().String())
	nettest.Must(t, err)
	defer c.Close()
	asked := up.asked.Load()
	c.Write(question("slow.test."))
	for up.asked.Load() == asked {
		time.Sleep(time.Millisecond)
	}
	start := time.Now()
	s.Close()
	if took := time.Since(start); took > time.Second {
		t.Errorf("Close took %v", took)
	}
}

func TestBadMessages(t *testing.T) {
	at, _ := setup(t, "127.0.0.53")
	startNameServer(t, "127.0.0.53:53", 1)
	c, err := net.Dial("udp", at)
	nettest.Must(t, err)
	defer c.Close()
	answered := question("x.test.")
	answered[2] |= 0x80 // an answer
	noQuestion := question("x.test.")[:12]
	noQuestion[5] = 0
	for _, msg := range [][]byte{{}, {0}, answered, make([]byte, 600)} {
		c.Write(msg)
	}
	c.Write(noQuestion)
	c.SetDeadline(time.Now().Add(3 * time.Second))
	buf := make([]byte, 512)
	// Only messages without a question get an answer, FORMERR.
	for range 2 {
		if n, err := c.Read(buf); err != nil || n != 12 || buf[3]&0xf != 1 {
			t.Errorf("%x, %v", buf[:n], err)
		}
	}
	lookup(t, resolver(at, nil), "example.test.", "192.0.2.1")
}

// BenchmarkQuery is what a query costs on its way to a server on the same machine.
func BenchmarkQuery(b *testing.B) {
	at, _ := setup(b, "127.0.0.53")
	startNameServer(b, "127.0.0.53:53", 1)
	for name, to := range map[string]string{"forwarded": at, "direct": "127.0.0.53:53"} {
		b.Run(name, func(b *testing.B) {
			r := resolver(to, nil)
			for b.Loop() {
				if _, err := r.LookupNetIP(b.Context(), "ip4", "example.test."); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
