package integration

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/berth-dev/berth/test/sandbox"
)

// needsSandbox skips a test that would change the machine's own settings.
func needsSandbox(t *testing.T) {
	t.Helper()
	if !sandbox.Active() {
		t.Skip("changes the host's settings: runs in the sandbox only")
	}
}

// The command, containers and user networks resolve names and get out.
func TestWayOut(t *testing.T) {
	guard(t)
	needsSandbox(t)
	e := up(t, "wayout")
	e.docker("network", "create", "mine")
	fetch := "wget -q -O - http://web.example.test/"
	for title, r := range map[string]result{
		"command":        berth(t, "exec", e.ID, "--", "sh", "-c", busybox+" "+fetch),
		"container":      e.in(nil, fetch),
		"user network":   e.in([]string{"--net", "mine"}, fetch),
		"engine network": e.in([]string{"--net", "host"}, fetch),
	} {
		if r.code != 0 || r.stdout != "you are "+sandbox.HostAddress+"\n" {
			t.Errorf("%s: %s", title, r)
		}
	}
	if r := e.in(nil, "nslookup no.such.name.berth"); r.code == 0 {
		t.Errorf("a name that does not exist resolved: %s", r)
	}
}

// A resolver that listens on the host's loopback serves the engine too.
func TestLoopbackResolver(t *testing.T) {
	guard(t)
	needsSandbox(t)
	before, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		t.Fatal(err)
	}
	stub, err := net.ListenPacket("udp4", "127.0.0.53:53")
	if err != nil {
		t.Fatal(err)
	}
	go serveNames(stub)
	if err := os.WriteFile("/etc/resolv.conf", []byte("nameserver 127.0.0.53\noptions edns0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stub.Close()
		if err := os.WriteFile("/etc/resolv.conf", before, 0o644); err != nil {
			t.Error(err)
		}
	})
	e := up(t, "stub")
	fetch := "wget -q -O - http://web.example.test/"
	for title, r := range map[string]result{
		"command":   berth(t, "exec", e.ID, "--", "sh", "-c", busybox+" "+fetch),
		"container": e.in(nil, fetch),
	} {
		if r.code != 0 {
			t.Errorf("%s: %s", title, r)
		}
	}
}

// Every network inside has the MTU of the way out, or the one asked for.
func TestMTU(t *testing.T) {
	guard(t)
	mtu := fmt.Sprint(sandbox.UplinkMTU)
	if !sandbox.Active() {
		mtu = "1500"
	}
	for _, test := range []struct {
		want  string
		flags []string
	}{{mtu, nil}, {"1300", []string{"--mtu", "1300"}}} {
		e := up(t, "mtu"+test.want, test.flags...)
		e.docker("network", "create", "mine")
		for _, network := range []string{"bridge", "mine", "host"} {
			r := e.in([]string{"--net", network}, "cat /sys/class/net/eth0/mtu")
			if strings.TrimSpace(r.stdout) != test.want {
				t.Errorf("MTU in network %s: want %s, got %s", network, test.want, r)
			}
		}
	}
}

// The host is host.berth.internal, and names can be added.
func TestNamesOfTheHost(t *testing.T) {
	guard(t)
	listener, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "I am the host") })}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	port := listener.Addr().(*net.TCPAddr).Port
	e := up(t, "names", "--add-host", "my.registry.test:host-gateway", "--add-host", "fixed.test:192.0.2.77")
	for _, name := range []string{"host.berth.internal", "my.registry.test"} {
		fetch := fmt.Sprintf("wget -q -O - http://%s:%d/", name, port)
		for title, r := range map[string]result{
			"command":   berth(t, "exec", e.ID, "--", "sh", "-c", busybox+" "+fetch),
			"container": e.in(nil, fetch),
		} {
			if r.stdout != "I am the host\n" {
				t.Errorf("%s from the %s: %s", name, title, r)
			}
		}
	}
	want(t, "a fixed name", e.in(nil, "nslookup fixed.test").stdout, "192.0.2.77")
}

// An engine without a network works and has no way out.
func TestNetNone(t *testing.T) {
	guard(t)
	e := up(t, "offline", "--net", "none")
	want(t, "a container", e.in(nil, "cat /greeting").stdout, "hello")
	if r := e.in([]string{"--init"}, "timeout 3 wget -q -O - http://"+sandbox.InternetAddress+"/"); r.code == 0 {
		t.Errorf("it got out: %s", r)
	}
	links := berth(t, "exec", e.ID, "--", busybox, "ip", "link").stdout
	if strings.Contains(links, "eth0") {
		t.Errorf("interfaces: %s", links)
	}
}

// The containers of two engines cannot reach each other, the hosts' can.
func TestEnginesAreApart(t *testing.T) {
	guard(t)
	one, two := up(t, "one"), up(t, "two")
	two.docker("run", "-d", "-p", "8080:8080", imageName, "httpd", "-f", "-p", "8080", "-h", "/home")
	address := engineAddress(t, two.ID)
	reach := fmt.Sprintf("nc -w 2 %s 8080 </dev/null", address)
	if r := one.in(nil, reach); r.code == 0 {
		t.Errorf("a neighbour's container reached %s:8080: %s", address, r)
	}
	if r := berth(t, "exec", two.ID, "--", "sh", "-c", busybox+" "+reach); r.code != 0 {
		t.Errorf("control: its own command cannot reach it: %s", r)
	}
}

// On a host whose firewall drops what is forwarded, and which has Docker's chain
// for exceptions, an engine gets out, and the chain is afterwards as before.
func TestForwardPolicyDrop(t *testing.T) {
	guard(t)
	needsSandbox(t)
	for _, test := range []struct {
		title string
		user  bool // whether Docker's chain for exceptions is there
	}{{"with DOCKER-USER", true}, {"without", false}} {
		t.Run(test.title, func(t *testing.T) {
			guard(t)
			dropForwarded(t, test.user)
			e := up(t, "behind")
			r := e.in([]string{"--init"}, "timeout 3 wget -q -O - http://"+sandbox.InternetAddress+"/")
			if got := r.code == 0; got != test.user {
				t.Errorf("got out: %v, want %v: %s", got, test.user, r)
			}
			if !test.user {
				doctor := berth(t, "doctor")
				want(t, "berth doctor", strings.ToLower(doctor.stdout+doctor.stderr), "forward")
			}
		})
	}
}

func dropForwarded(t *testing.T, user bool) {
	t.Helper()
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	drop := nftables.ChainPolicyDrop
	table := conn.AddTable(&nftables.Table{Name: "filter", Family: nftables.TableFamilyIPv4})
	forward := conn.AddChain(&nftables.Chain{
		Name: "FORWARD", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter, Policy: &drop,
	})
	if user {
		conn.AddChain(&nftables.Chain{Name: "DOCKER-USER", Table: table})
		conn.AddRule(&nftables.Rule{Table: table, Chain: forward, Exprs: jump("DOCKER-USER")})
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.DelTable(table)
		if err := conn.Flush(); err != nil {
			t.Error(err)
		}
	})
}

func jump(chain string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: chain}}
}
