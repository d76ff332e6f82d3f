// Package probe finds out whether the veth network will work on this host, and what may be
// in its way: for `berth doctor`, and to explain an engine that has no way out. It changes
// nothing on the host. MTUs are bytes.
package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/network"
	"github.com/berth-dev/berth/internal/network/host"
	"github.com/berth-dev/berth/internal/network/netns"
	"github.com/berth-dev/berth/internal/network/resolvconf"
	"github.com/berth-dev/berth/internal/network/veth"
)

// Level is how grave a finding is.
type Level string

const (
	OK   Level = "ok"
	Warn Level = "warn" // engines start, but something will not work
	Fail Level = "fail" // no engine with a network can start
)

// Finding is the outcome of one probe, in the words of `berth doctor`.
type Finding struct {
	Name   string
	Level  Level
	Detail string
	Remedy string // empty when there is nothing to mend
}

// Run probes the calling process's network namespace; it takes some milliseconds. It needs
// root.
func Run(ctx context.Context) []Finding {
	findings := []Finding{kernel()}
	view, err := host.Read()
	if err != nil {
		return append(findings, Finding{"network", Fail, err.Error(), "give berth CAP_NET_ADMIN"})
	}
	findings = append(findings, wayOut(view), forwarding(view), addresses(view))
	return append(findings, firewalls(ctx)...)
}

// kernel tries rules and interfaces in a namespace that is thrown away.
func kernel() Finding {
	f := Finding{Name: "nftables and veth", Level: Fail}
	ns, err := netns.New()
	if err == nil {
		defer ns.Close()
		err = veth.Try(ns)
	}
	switch {
	case err == nil:
		return Finding{f.Name, OK, "work", ""}
	case errors.Is(err, veth.ErrNoRules):
		f.Remedy = "modprobe -a nf_tables nft_ct nft_nat nft_masq, or use --net none"
	case errors.Is(err, veth.ErrNoPairs):
		f.Remedy = "modprobe veth, or use --net none"
	default:
		f.Remedy = "give berth CAP_SYS_ADMIN and CAP_NET_ADMIN, or use --net none"
	}
	f.Detail = err.Error()
	return f
}

func wayOut(view *host.View) Finding {
	name := view.Default()
	if name == "" {
		return Finding{"uplink", Warn, "this host has no IPv4 default route: engines reach only what it reaches", "connect the host to a network"}
	}
	return Finding{"uplink", OK, fmt.Sprintf("%s; networks of engines get its MTU of %d", name, view.MTU()), ""}
}

// settings is where forwarding is switched on by interface (ip-sysctl.rst).
const settings = "/proc/sys/net/ipv4/conf/"

func forwarding(view *host.View) Finding {
	f := Finding{Name: "forwarding", Level: OK, Detail: "berth switches it on by interface where it is off, and back when the last engine is gone"}
	var off []string
	for _, name := range append(view.Uplinks(), "default") {
		if value, err := os.ReadFile(settings + name + "/forwarding"); err == nil && strings.TrimSpace(string(value)) == "0" {
			off = append(off, name)
		}
	}
	if len(off) == 0 {
		f.Detail = "is on"
		return f
	}
	if errors.Is(unix.Access(settings+"default/forwarding", unix.W_OK), unix.EROFS) {
		return Finding{f.Name, Fail, fmt.Sprintf("is off for %s, and /proc/sys is read-only here", strings.Join(off, ", ")),
			"sysctl -w net.ipv4.ip_forward=1 outside, or make /proc/sys writable, or use --net none"}
	}
	return f
}

// addresses looks at the first and the second choice for the first engine.
func addresses(view *host.View) Finding {
	f := Finding{Name: "addresses", Level: OK, Detail: network.Pool.String() + " is free for engines"}
	servers, err := resolvconf.Read(resolvconf.Path)
	if err != nil {
		return Finding{f.Name, Fail, err.Error(), "mend " + resolvconf.Path}
	}
	pairs, err := network.Pairs(0)
	if err != nil {
		return Finding{f.Name, Fail, err.Error(), ""}
	}
	taken := 0
	for _, pair := range pairs {
		var conflict *network.ConflictError
		if errors.As(view.Conflict(pair, servers), &conflict) {
			f.Detail = fmt.Sprintf("%s is partly in use, by %s: engines get other addresses", network.Pool, conflict.With)
			taken++
		}
	}
	if taken == len(pairs) {
		f.Level = Warn
		f.Detail = fmt.Sprintf("%s is in use in both halves: engines may find no free addresses", network.Pool)
		f.Remedy = "see `ip route`; end other users of that range, or use --net none"
	}
	return f
}

// firewalls turns what [Firewall] reports into findings.
func firewalls(ctx context.Context) []Finding {
	const name = "host firewall"
	drops, err := Firewall(ctx)
	if err != nil {
		return []Finding{{name, Warn, err.Error(), "make sure that it forwards packets of interfaces " + network.LinkPrefix + "*"}}
	}
	if len(drops) == 0 {
		return []Finding{{name, OK, "lets engines through", ""}}
	}
	var findings []Finding
	for _, d := range drops {
		if d.Handled {
			findings = append(findings, Finding{name, OK, d.Where() + " drops what it does not know; berth adds an exception in DOCKER-USER", ""})
			continue
		}
		findings = append(findings, Finding{name, Warn, d.Where() + " drops what engines send and receive", d.Remedy})
	}
	return findings
}
