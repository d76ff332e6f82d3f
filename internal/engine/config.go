package engine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"github.com/berth-dev/berth/internal/bundle"
	"github.com/berth-dev/berth/internal/network"
	"github.com/berth-dev/berth/internal/pid1"
)

// dockerd is where the engine has its programs; innerSocket serves those who work inside.
const (
	dockerd     = "/usr/bin/dockerd"
	innerSocket = "unix:///run/docker.sock"
	daemonFile  = "/etc/docker/daemon.json"
)

// ownSettings are the keys of daemon.json that are the engine's business: another value
// would cut the engine off or let it reach beyond its data root.
var ownSettings = []string{"hosts", "data-root", "exec-root", "pidfile", "containerd", "cgroup-parent", "userns-remap", "tls", "tlsverify"}

// daemonConfig is the engine's daemon.json: berth's settings, the user's over them.
// (https://docs.docker.com/reference/cli/dockerd/#daemon-configuration-file)
func daemonConfig(rec *network.Record, user json.RawMessage) ([]byte, error) {
	c := map[string]any{
		"hosts":            []string{"fd://", innerSocket},
		"firewall-backend": "nftables",
		"live-restore":     false, // an engine and its containers end together
		// Said explicitly, so that dockerd fails with the reason instead of falling back to
		// something slow.
		"storage-driver": "overlayfs",
		"exec-opts":      []string{"native.cgroupdriver=cgroupfs"},
		"log-level":      "warn",
	}
	if rec.MTU > 0 {
		c["mtu"] = rec.MTU
		c["default-network-opts"] = map[string]any{"bridge": map[string]string{"com.docker.network.driver.mtu": fmt.Sprint(rec.MTU)}}
	}
	if len(user) > 0 {
		var u map[string]any
		if err := json.Unmarshal(user, &u); err != nil {
			return nil, &SpecError{"--daemon-config", fmt.Sprintf("not a JSON object: %v", err)}
		}
		for k, v := range u {
			c[k] = v
		}
	}
	return json.MarshalIndent(c, "", "  ")
}

// startMessage is what init makes of the engine.
func (l *launch) startMessage() (*pid1.Start, error) {
	settings, err := l.info.Spec.daemonSettings()
	if err != nil {
		return nil, err
	}
	daemon, err := daemonConfig(l.info.Net, settings)
	if err != nil {
		return nil, err
	}
	hosts, err := hostsFile(hostname(l.info.Name), l.info.Net, l.info.Spec.Network.Hosts)
	if err != nil {
		return nil, err
	}
	resolv := "# no name server: the engine has no network\n"
	if l.info.Net.Resolver.IsValid() {
		resolv = fmt.Sprintf("nameserver %s\n", l.info.Net.Resolver) + l.m.nest.resolv()
	}
	files := []pid1.File{
		{Path: "/etc/passwd", Mode: 0o644, Data: "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"},
		{Path: "/etc/group", Mode: 0o644, Data: "root:x:0:\ntty:x:5:\ndocker:x:999:\nnogroup:x:65534:\n"},
		{Path: "/etc/nsswitch.conf", Mode: 0o644, Data: "passwd: files\ngroup: files\nhosts: files dns\n"},
		{Path: "/etc/hostname", Mode: 0o644, Data: hostname(l.info.Name) + "\n"},
		{Path: "/etc/hosts", Mode: 0o644, Data: hosts},
		{Path: "/etc/resolv.conf", Mode: 0o644, Data: resolv},
		{Path: daemonFile, Mode: 0o600, Data: string(daemon)},
	}
	trust, err := l.trustFiles()
	if err != nil {
		return nil, err
	}
	start := &pid1.Start{Files: append(files, trust...), Args: []string{dockerd}, Env: daemonEnv(daemon)}
	return start, l.m.nest.start(start, daemon, l.info.Net)
}

// daemonEnv is dockerd's environment. The iptables programs, which are in /usr/sbin, are on
// its PATH only if it is to use them: with them in reach it would look for old rules of its
// own first, which a new network namespace cannot have.
func daemonEnv(config []byte) []string {
	path := "/usr/bin"
	if !bytes.Contains(config, []byte(`"firewall-backend": "nftables"`)) {
		path += ":/usr/sbin"
	}
	return []string{
		"PATH=" + path, "HOME=/root", "TMPDIR=" + bundle.DataPath + "/tmp", "container=oci",
		// An engine is idle for most of its life: 2 MiB less of it; see docs/design/memory.md.
		"GOGC=50",
		"GLIBC_TUNABLES=glibc.malloc.trim_threshold=65536:glibc.malloc.top_pad=0:glibc.malloc.mmap_threshold=65536:glibc.malloc.arena_max=1",
	}
}

// hostsFile is hosts(5) for the engine itself; containers ask the resolver.
func hostsFile(hostname string, rec *network.Record, extra []Host) (string, error) {
	var b strings.Builder
	line := func(addr netip.Addr, names ...string) { fmt.Fprintf(&b, "%s\t%s\n", addr, strings.Join(names, " ")) }
	line(netip.MustParseAddr("127.0.0.1"), "localhost")
	line(netip.IPv6Loopback(), "localhost", "ip6-localhost")
	if rec.EngineIP.IsValid() {
		line(rec.EngineIP, hostname)
		line(rec.HostIP, network.HostName)
	}
	for _, h := range extra {
		addr, err := h.address(rec)
		if err != nil {
			return "", err
		}
		line(addr, h.Name)
	}
	return b.String(), nil
}
