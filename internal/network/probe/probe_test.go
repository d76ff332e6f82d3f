package probe

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/berth-dev/berth/internal/network/netns"
	"github.com/berth-dev/berth/internal/network/nettest"
)

func TestMain(m *testing.M) { nettest.Main(m) }

func find(t *testing.T, name string) Finding {
	t.Helper()
	for _, f := range Run(t.Context()) {
		if f.Name == name {
			return f
		}
	}
	t.Fatalf("no finding about %s", name)
	return Finding{}
}

func TestGoodHost(t *testing.T) {
	nettest.Need(t)
	nettest.NewWorld(t, 1400)
	before, err := netlink.LinkList()
	nettest.Must(t, err)
	for _, f := range Run(t.Context()) {
		if f.Level != OK || f.Remedy != "" || f.Detail == "" {
			t.Errorf("%+v", f)
		}
	}
	if f := find(t, "uplink"); !strings.Contains(f.Detail, nettest.Uplink) || !strings.Contains(f.Detail, "1400") {
		t.Errorf("%+v", f)
	}
	after, err := netlink.LinkList()
	nettest.Must(t, err)
	if len(before) != len(after) {
		t.Errorf("%d interfaces before, %d after", len(before), len(after))
	}
}

func TestNoUplink(t *testing.T) {
	nettest.Need(t)
	nettest.Must(t, netlink.LinkSetUp(netns.Loopback()))
	if f := find(t, "uplink"); f.Level != Warn {
		t.Errorf("%+v", f)
	}
}

func TestFirewalls(t *testing.T) {
	nettest.Need(t)
	for _, test := range []struct {
		name, setup    string
		level          Level
		detail, remedy string
	}{
		{"accepting", "iptables -P FORWARD ACCEPT", OK, "lets engines through", ""},
		{"iptables policy", "iptables -P FORWARD DROP", Warn, "table ip filter, chain FORWARD drops", "iptables -I FORWARD -i bth+ -j ACCEPT"},
		{"Docker", "iptables -P FORWARD DROP; iptables -N DOCKER-USER", OK, "DOCKER-USER", ""},
		{"excepted", "iptables -P FORWARD DROP; iptables -A FORWARD -i bth+ -j ACCEPT", OK, "lets engines through", ""},
		{"nft policy", "nft 'add table inet fw; add chain inet fw passing { type filter hook forward priority 0; policy drop; }'",
			Warn, "table inet fw, chain passing drops", `nft insert rule inet fw passing iifname '"bth*"' accept`},
		{"last rule", "nft 'add table inet firewalld; add chain inet firewalld passing { type filter hook forward priority 10; };" +
			"add rule inet firewalld passing ct state established accept; add rule inet firewalld passing reject'",
			Warn, "table inet firewalld", "firewall-cmd"},
		{"rule with a condition", "nft 'add table ip fw; add chain ip fw passing { type filter hook forward priority 0; }; add rule ip fw passing ip saddr 192.0.2.1 drop'",
			OK, "lets engines through", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Cleanup(func() { exec.Command("nft", "flush", "ruleset").Run() })
			if out, err := exec.Command("sh", "-ec", test.setup).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			f := find(t, "host firewall")
			if f.Level != test.level || !strings.Contains(f.Detail, test.detail) || !strings.Contains(f.Remedy, test.remedy) {
				t.Errorf("%+v", f)
			}
			if test.level != Warn {
				return
			}
			// The remedy works as it is printed, where its program is there.
			if strings.HasPrefix(test.remedy, "firewall-cmd") {
				return
			}
			if out, err := exec.Command("sh", "-ec", f.Remedy).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v: %s", f.Remedy, err, out)
			}
			if f := find(t, "host firewall"); f.Level != OK {
				t.Errorf("after its remedy: %+v", f)
			}
		})
	}
}

func TestParseLegacy(t *testing.T) {
	for rules, want := range map[string]string{
		"-P INPUT DROP\n-P FORWARD ACCEPT\n":                         "",
		"-P FORWARD DROP\n-A FORWARD -i eth0 -j ACCEPT\n":            "iptables-legacy -I FORWARD -i bth+ -j ACCEPT && iptables-legacy -I FORWARD -o bth+ -j ACCEPT",
		"-P FORWARD DROP\n-N DOCKER-USER\n":                          "iptables-legacy -I DOCKER-USER -i bth+ -j ACCEPT && iptables-legacy -I DOCKER-USER -o bth+ -j ACCEPT",
		"-P FORWARD DROP\n-A FORWARD -i bth+ -j ACCEPT\n":            "",
		"-P FORWARD DROP\n-N DOCKER-USER\n-A DOCKER-USER -o bth+ \n": "",
	} {
		got := ""
		for _, d := range parseLegacy(rules) {
			got += d.Remedy
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", rules, got, want)
		}
	}
}
