package boot

import (
	"encoding/json"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/berth-dev/berth/internal/pid1"
)

const (
	certsD   = "/etc/docker/certs.d"
	hubHosts = certsD + "/docker.io/hosts.toml"
)

// hubMirrorFiles has the mirrors of --registry-mirror trusted by the certificates in their own
// directories below certs.d, as they were before dockerd had containerd's image store: with
// that, dockerd reads those of docker.io for a mirror (mergeLegacyConfig in moby's
// daemon/hosts.go), which would be to trust the mirror's authority for Docker Hub itself. It
// returns nothing when no mirror has certificates, or somebody has settings for docker.io.
func (p *plan) hubMirrorFiles(docker []pid1.File) []pid1.File {
	named := func(host, ending string) (found []string) {
		for _, f := range docker {
			if path.Dir(f.Path) == path.Join(certsD, host) && strings.HasSuffix(f.Path, ending) {
				found = append(found, f.Path)
			}
		}
		return found
	}
	mirrors := p.hubMirrors()
	if len(named("docker.io", "")) > 0 || p.given["insecure-registries"] || slices.Contains(mirrors, nil) {
		return nil
	}
	text, certificates := "server = \"https://registry-1.docker.io\"\n", false
	for _, u := range mirrors {
		text += fmt.Sprintf("[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", strings.TrimSuffix(u.String(), "/"))
		if cas := named(u.Host, ".crt"); len(cas) > 0 {
			text, certificates = text+"  ca = "+tomlList(cas)+"\n", true
		}
		for _, cert := range named(u.Host, ".cert") {
			key := strings.TrimSuffix(cert, ".cert") + ".key"
			text, certificates = text+fmt.Sprintf("  client = [%s]\n", tomlList([]string{cert, key})), true
		}
	}
	if !certificates {
		return nil
	}
	return []pid1.File{{Path: hubHosts, Mode: 0o644, Data: text}}
}

// hubMirrors are the mirrors of Docker Hub that the flags and daemon.json name; nil stands for
// one that is no URL of a mirror with TLS.
func (p *plan) hubMirrors() []*url.URL {
	var c struct {
		Mirrors  []string          `json:"registry-mirrors"`
		Insecure []json.RawMessage `json:"insecure-registries"`
	}
	_ = json.Unmarshal(p.config, &c) // dockerd says what is wrong with it
	var list []*url.URL
	for i, arg := range p.args {
		if value, ok := strings.CutPrefix(arg, "--registry-mirror="); ok {
			c.Mirrors = append(c.Mirrors, value)
		} else if arg == "--registry-mirror" && i+1 < len(p.args) {
			c.Mirrors = append(c.Mirrors, p.args[i+1])
		}
	}
	for _, mirror := range c.Mirrors {
		u, err := url.Parse(mirror)
		if err != nil || u.Scheme != "https" || u.Host == "" || len(c.Insecure) > 0 {
			u = nil
		}
		list = append(list, u)
	}
	return list
}

func tomlList(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = fmt.Sprintf("%q", n)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
