package sandbox

import (
	"fmt"
	"net"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// The sandbox's uplink leads to a second network namespace, which plays the rest
// of the world (RFC 5737: addresses for documentation).
const (
	HostAddress     = "203.0.113.2"
	InternetAddress = "203.0.113.1"
	UplinkName      = "up0"
	UplinkMTU       = 1400 // smaller than usual, so that it can be seen to be inherited
)

// internetPath keeps the second namespace alive and findable.
const internetPath = "/run/sandbox-internet"

// uplink brings up the loopback interface and the pair to the internet.
func uplink(string) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := netns.Get()
	if err != nil {
		return err
	}
	defer own.Close()
	world, err := netns.New() // switches this thread to it
	if err != nil {
		return err
	}
	defer world.Close()
	if err := errorsOf(pin(), raise("lo"), netns.Set(own)); err != nil {
		return err
	}
	pair := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: UplinkName, MTU: UplinkMTU},
		PeerName:  "in0", PeerNamespace: netlink.NsFd(world), PeerMTU: UplinkMTU,
	}
	if err := netlink.LinkAdd(pair); err != nil {
		return fmt.Errorf("add the uplink: %w", err)
	}
	if err := errorsOf(raise("lo"), address(UplinkName, HostAddress+"/24"), raise(UplinkName)); err != nil {
		return err
	}
	if err := errorsOf(netns.Set(world), address("in0", InternetAddress+"/24"), raise("in0"), netns.Set(own)); err != nil {
		return err
	}
	return netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP(InternetAddress)})
}

// pin bind-mounts the calling thread's network namespace.
func pin() error {
	file, err := os.Create(internetPath)
	if err != nil {
		return err
	}
	file.Close()
	return unix.Mount("/proc/thread-self/ns/net", internetPath, "", unix.MS_BIND, "")
}

// Internet calls do on a thread in the namespace that plays the rest of the
// world. Sockets made there stay there.
func Internet(do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		world, err := netns.GetFromPath(internetPath)
		if err != nil {
			done <- err
			return
		}
		defer world.Close()
		if err := netns.Set(world); err != nil {
			done <- err
			return
		}
		done <- do()
	}()
	return <-done
}

func raise(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return netlink.LinkSetUp(link)
}

func address(name, cidr string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	parsed, err := netlink.ParseAddr(cidr)
	if err != nil {
		return err
	}
	return netlink.AddrAdd(link, parsed)
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
