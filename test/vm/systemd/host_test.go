package systemd

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netns"
	"golang.org/x/net/dns/dnsmessage"
)

// The world is a network namespace behind a pair of interfaces, of which networkd
// configures the host's end.
const (
	worldAddress = "203.0.113.1"
	worldName    = "web.example.test"
	network      = `[Match]
Name=up0

[Network]
Address=203.0.113.2/24
Gateway=203.0.113.1
DNS=203.0.113.1
Domains=~.
`
)

const fetch = "wget -q -O - http://" + worldName + "/"

// connect has networkd and resolved bring the machine into the world.
func connect(t *testing.T) {
	t.Helper()
	needsSystemd(t)
	for _, args := range []string{"ip netns add world", "ip link add up0 type veth peer in0 netns world",
		"ip -n world addr add " + worldAddress + "/24 dev in0", "ip -n world link set in0 up", "ip -n world link set lo up"} {
		must(t, strings.Fields(args)...)
	}
	t.Cleanup(func() {
		try("ip", "link", "del", "up0")
		try("ip", "netns", "del", "world")
		try("systemctl", "stop", "systemd-networkd.socket", "systemd-networkd", "systemd-resolved")
	})
	if err := world(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("/etc/systemd/network/up0.network", []byte(network), 0o644); err != nil {
		t.Fatal(err)
	}
	must(t, "systemctl", "start", "systemd-networkd", "systemd-resolved")
	useStub(t)
	eventually(t, "the host gets out", func() bool {
		out, err := try("busybox", "wget", "-q", "-O", "-", "http://"+worldAddress+"/")
		return err == nil && strings.Contains(out, "hello")
	})
}

// useStub has the machine ask resolved for names, until the test ends.
func useStub(t *testing.T) {
	t.Helper()
	const path, before = "/etc/resolv.conf", "/etc/resolv.conf.before"
	restore := func() error { return os.Rename(before, path) }
	if err := os.Rename(path, before); errors.Is(err, fs.ErrNotExist) {
		restore = func() error { return os.Remove(path) }
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := restore(); err != nil {
			t.Error(err)
		}
	})
	if err := os.Symlink("/run/systemd/resolve/stub-resolv.conf", path); err != nil {
		t.Fatal(err)
	}
}

// world serves names and a page.
func world() error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never back: the thread stays in the namespace
		done <- serve()
	}()
	return <-done
}

func serve() error {
	ns, err := netns.GetFromName("world")
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := netns.Set(ns); err != nil {
		return err
	}
	packets, err := net.ListenPacket("udp4", worldAddress+":53")
	if err != nil {
		return err
	}
	go serveNames(packets)
	web, err := net.Listen("tcp4", worldAddress+":80")
	if err != nil {
		return err
	}
	go http.Serve(web, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") }))
	return nil
}

func serveNames(conn net.PacketConn) {
	buf := make([]byte, 4096)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		q := m.Questions[0]
		reply := dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true, RecursionDesired: true, RecursionAvailable: true}, Questions: m.Questions}
		switch {
		case q.Name.String() != worldName+".":
			reply.RCode = dnsmessage.RCodeNameError
		case q.Type == dnsmessage.TypeA:
			reply.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1},
				Body:   &dnsmessage.AResource{A: [4]byte(net.ParseIP(worldAddress).To4())},
			}}
		}
		if answer, err := reply.Pack(); err == nil {
			conn.WriteTo(answer, from)
		}
	}
}

// getsOut checks that containers and the command reach the world by name.
func getsOut(t *testing.T, engine, when string) {
	t.Helper()
	if out, err := try("berth", "docker", "--engine", engine, "run", "--rm", imageName, "sh", "-c", fetch); err != nil || !strings.Contains(out, "hello") {
		t.Errorf("%s: a container: %v %s", when, err, out)
	}
	if out, err := try("berth", "exec", engine, "--", "busybox", "wget", "-q", "-O", "-", "http://"+worldName+"/"); err != nil || !strings.Contains(out, "hello") {
		t.Errorf("%s: the command: %v %s", when, err, out)
	}
}

// With networkd, resolved's stub and an nftables ruleset that drops what is forwarded,
// engines get out, and what these do later does not cut them off.
func TestBesideNetworkdAndResolved(t *testing.T) {
	connect(t)
	unit(t, "stub", "")
	docker(t, "stub", "load", "-q", "-i", imageTar)
	getsOut(t, "stub", "at first")
	must(t, "systemctl", "restart", "systemd-resolved")
	getsOut(t, "stub", "after a restart of resolved")
	must(t, "systemctl", "restart", "systemd-networkd")
	eventually(t, "networkd has configured again", func() bool {
		out, _ := try("networkctl", "--no-pager", "--no-legend", "list", "up0")
		return strings.Contains(out, "configured")
	})
	getsOut(t, "stub", "after a restart of networkd")
}

const ruleset = `flush ruleset
table inet filter {
	chain input { type filter hook input priority filter; policy drop; ct state established,related accept; iifname "lo" accept; iifname "up0" accept; }
	chain forward { type filter hook forward priority filter; policy %s; ct state established,related accept; %s }
}
`

// A ruleset that is loaded before the engine and admits forwarding from it works; loaded
// again, it has removed berth's table, and a restarted unit gets out again.
func TestBesideNftablesRuleset(t *testing.T) {
	connect(t)
	load := func(policy, rule string) {
		t.Helper()
		if err := os.WriteFile("/etc/nftables.conf", []byte(fmt.Sprintf(ruleset, policy, rule)), 0o644); err != nil {
			t.Fatal(err)
		}
		must(t, "nft", "-f", "/etc/nftables.conf")
	}
	t.Cleanup(func() { must(t, "nft", "flush", "ruleset") })
	load("accept", "")
	u := unit(t, "walled", "")
	docker(t, "walled", "load", "-q", "-i", imageTar)
	if out, err := try("berth", "docker", "--engine", "walled", "run", "--rm", imageName, "sh", "-c", "wget -q -O - http://"+worldAddress+"/"); err != nil {
		t.Errorf("beside a ruleset that accepts: %v %s", err, out)
	}
	load("drop", `iifname "bth*" accept; oifname "bth*" accept;`)
	must(t, "systemctl", "restart", u)
	if out, err := try("berth", "docker", "--engine", "walled", "run", "--rm", imageName, "sh", "-c", "wget -q -O - http://"+worldAddress+"/"); err != nil {
		t.Errorf("beside a ruleset that drops all but berth's interfaces: %v %s", err, out)
	}
	if rules := must(t, "nft", "list", "table", "inet", "filter"); strings.Count(rules, "accept") == 0 || !strings.Contains(rules, "policy drop") {
		t.Errorf("the ruleset has changed: %s", rules)
	}
}

// firewalld rejects what it is not told of; what `berth doctor` then says to do lets engines
// out, and neither a reload nor a restart of it cuts them off.
func TestBesideFirewalld(t *testing.T) {
	connect(t)
	if _, err := exec.LookPath("firewall-cmd"); err != nil {
		t.Skip("firewalld is not installed")
	}
	t.Cleanup(func() {
		try("systemctl", "stop", "firewalld")
		try("nft", "flush", "ruleset")
	})
	must(t, "systemctl", "start", "firewalld")
	must(t, "firewall-cmd", "--permanent", "--zone=public", "--remove-forward")
	must(t, "firewall-cmd", "--reload")
	unit(t, "fire", "")
	docker(t, "fire", "load", "-q", "-i", imageTar)
	if out, err := try("berth", "docker", "--engine", "fire", "run", "--rm", imageName, "sh", "-c", "wget -q -O - http://"+worldAddress+"/"); err == nil {
		t.Fatalf("firewalld rejects nothing here, so that this test shows nothing: %s", out)
	}
	out, _ := try("berth", "doctor")
	const remedy = "firewall-cmd --zone=trusted --add-source="
	_, source, ok := strings.Cut(out, remedy)
	if !ok {
		t.Fatalf("berth doctor does not say what to do: %s", out)
	}
	must(t, "firewall-cmd", "--permanent", "--zone=trusted", "--add-source="+strings.Fields(source)[0])
	must(t, "firewall-cmd", "--reload")
	getsOut(t, "fire", "after a reload")
	must(t, "systemctl", "restart", "firewalld")
	getsOut(t, "fire", "after a restart")
}
