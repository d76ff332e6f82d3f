package veth

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"github.com/berth-dev/berth/internal/network"
	"github.com/berth-dev/berth/internal/network/netns"
	"github.com/berth-dev/berth/internal/network/nettest"
)

func TestMain(m *testing.M) { nettest.Main(m) }

// patience bounds what must work, brief what must not.
const (
	patience = 3 * time.Second
	brief    = 300 * time.Millisecond
)

// newDriver returns a driver with a run directory and name servers of its own, and checks
// when the test ends that the host is as it was.
func newDriver(t *testing.T, servers ...string) *Driver {
	t.Helper()
	nettest.Need(t)
	dir := t.TempDir()
	conf := ""
	for _, s := range servers {
		conf += "nameserver " + s + "\n"
	}
	nettest.Must(t, os.WriteFile(dir+"/resolv.conf", []byte(conf), 0o644))
	before := hostState(t)
	t.Cleanup(func() {
		if after := hostState(t); after != before {
			t.Errorf("the host changed:\nbefore:\n%s\nafter:\n%s", before, after)
		}
	})
	return New(Config{RunDir: dir + "/network", ResolvConf: dir + "/resolv.conf"})
}

// hostState is what a driver could change: engines' links, tables, DOCKER-USER, forwarding.
func hostState(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	links, err := netlink.LinkList()
	nettest.Must(t, err)
	for _, l := range links {
		name := l.Attrs().Name
		value, _ := get(forwarding(name))
		fmt.Fprintln(&b, name, "forwarding", value)
	}
	value, _ := get(ipForward)
	fmt.Fprintln(&b, "ip_forward", value)
	c := &nftables.Conn{}
	tables, err := c.ListTables()
	nettest.Must(t, err)
	for _, table := range tables {
		fmt.Fprintln(&b, "table", table.Family, table.Name)
	}
	rules, _ := dockerUserRules(c)
	fmt.Fprintln(&b, "DOCKER-USER rules:", len(rules))
	return b.String()
}

// engine is one attached engine.
type engine struct {
	rec network.Record
	ns  *os.File
}

func plan(t *testing.T, d *Driver, slot int) network.Record {
	t.Helper()
	rec, err := d.Plan(t.Context(), network.Request{EngineID: fmt.Sprintf("%012x", slot+0xabc), Slot: slot})
	nettest.Must(t, err)
	return rec
}

// attach makes an engine's network, which is gone with the test.
func attach(t *testing.T, d *Driver, slot int) engine {
	t.Helper()
	e := engine{rec: plan(t, d, slot), ns: nettest.New(t)}
	nettest.Must(t, d.Attach(t.Context(), e.rec, e.ns))
	t.Cleanup(func() {
		if err := d.Detach(t.Context(), e.rec); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return e
}

// detach ends it before the test does.
func (e engine) detach(t *testing.T, d *Driver) {
	t.Helper()
	nettest.Must(t, d.Detach(t.Context(), e.rec))
}

// fetch connects from ns and returns what the other side says.
func fetch(ns *os.File, to string, limit time.Duration) (string, error) {
	var c net.Conn
	err := netns.Do(ns, func() (err error) {
		c, err = net.DialTimeout("tcp4", to, limit)
		return err
	})
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(limit))
	said, err := io.ReadAll(c)
	return string(said), err
}

func (e engine) reaches(t *testing.T, to, want string) {
	t.Helper()
	if got, err := fetch(e.ns, to, patience); err != nil || got != want {
		t.Errorf("%s from the engine: got %q, %v; want %q", to, got, err, want)
	}
}

func cannot(t *testing.T, what string, ns *os.File, to string) {
	t.Helper()
	if got, err := fetch(ns, to, brief); err == nil {
		t.Errorf("%s: reached %s, which said %q", what, to, got)
	}
}
