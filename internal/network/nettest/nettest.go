// Package nettest gives tests a network of their own: the test process runs in fresh
// network and mount namespaces that stand for "the host", and makes further namespaces
// for engines and for the rest of the world. Nothing of the real host changes.
package nettest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/network/netns"
)

const envInside = "BERTH_NETTEST_INSIDE"

// Main is to be called by TestMain. It runs the tests in a child with namespaces of its
// own; without root it runs them here, where those that call [Need] are skipped.
func Main(m *testing.M) {
	if os.Getuid() != 0 || os.Getenv(envInside) != "" {
		os.Exit(m.Run())
	}
	child := exec.Command("/proc/self/exe", os.Args[1:]...)
	child.Args[0] = os.Args[0]
	child.Env = append(os.Environ(), envInside+"=1")
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	child.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // Pdeathsig follows the thread
	err := child.Run()
	var status *exec.ExitError
	if errors.As(err, &status) {
		os.Exit(status.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "run the tests in namespaces of their own:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Need skips a test that needs root, when it is not there.
func Need(t testing.TB) {
	t.Helper()
	if os.Getenv(envInside) == "" {
		t.Skip("needs root")
	}
}

// New makes a network namespace that lasts until the test ends.
func New(t testing.TB) *os.File {
	t.Helper()
	ns, err := netns.New()
	Must(t, err)
	t.Cleanup(func() { ns.Close() })
	return ns
}

// In runs f in ns and fails the test when f does.
func In(t testing.TB, ns *os.File, f func() error) {
	t.Helper()
	if err := netns.Do(ns, f); err != nil {
		t.Fatal(err)
	}
}

// Addresses of the world that [NewWorld] makes (RFC 5737).
var (
	HostAddr  = netip.MustParseAddr("203.0.113.2") // of the host's uplink
	WorldAddr = netip.MustParseAddr("203.0.113.1") // of the rest of the world
)

// Uplink is the name of the host's interface to the world.
const Uplink = "up0"

// World is what is beyond the host's uplink.
type World struct{ NS *os.File }

// NewWorld connects the host by [Uplink], with the given MTU, to a namespace that is its
// default gateway. It is gone with the test.
func NewWorld(t testing.TB, mtu int) *World {
	t.Helper()
	w := &World{NS: New(t)}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = Uplink, mtu
	pair := netlink.NewVeth(attrs)
	pair.PeerName, pair.PeerMTU, pair.PeerNamespace = "gw0", uint32(mtu), netlink.NsFd(w.NS.Fd())
	Must(t, netlink.LinkAdd(pair))
	t.Cleanup(func() { netlink.LinkDel(pair) })
	Must(t, netlink.LinkSetUp(netns.Loopback()))
	Must(t, netlink.AddrAdd(pair, addr(HostAddr, 24)))
	In(t, w.NS, func() error {
		gw, err := netlink.LinkByName("gw0")
		return errors.Join(err, netlink.LinkSetUp(netns.Loopback()), netlink.AddrAdd(gw, addr(WorldAddr, 24)), netlink.LinkSetUp(gw))
	})
	Must(t, netlink.LinkSetUp(pair))
	Must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: pair.Index, Gw: WorldAddr.AsSlice()}))
	return w
}

// ServePeer answers each TCP connection to at in ns with the address it comes from.
func ServePeer(t testing.TB, ns *os.File, at string) {
	t.Helper()
	var l net.Listener
	In(t, ns, func() (err error) { l, err = net.Listen("tcp4", at); return err })
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			fmt.Fprint(c, host)
			c.Close()
		}
	}()
}

// Must fails the test when err is one.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func addr(ip netip.Addr, bits int) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(bits, ip.BitLen())}}
}
