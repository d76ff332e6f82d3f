package certsd

import (
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"
)

// useMirror has dockerd ask a mirror for every registry, and the registry itself when the
// mirror fails, unless the settings forbid that. Registries of which dockerd's own settings speak are left to those, which a
// hosts.toml would silence.
func (t Tree) useMirror(mirror string, s Settings) {
	for _, registry := range s.Insecure {
		if CheckRegistry(registry) == nil { // not a network, such as 10.0.0.0/8
			t.leave(registry)
		}
	}
	if len(s.HubMirrors) > 0 {
		t.leave(hub)
	}
	own := ""
	if u, err := url.Parse(mirror); err == nil {
		own = u.Host
	}
	host, server := t.host(mirror), ""
	if s.MirrorOnly {
		server = "capabilities = [\"push\"]\n"
		t.add(fallback, hostsFile, fmt.Sprintf("server = %q\ncapabilities = [\"pull\", \"resolve\"]\n", mirror)+t.certificates(own, "", path.Join(Dir, own)+"/"))
	}
	t.add(fallback, hostsFile, host)
	for _, registry := range slices.Collect(maps.Keys(t)) {
		if !t.Own(registry) && registry != fallback && registry != own {
			t.add(registry, hostsFile, t.server(registry)+server+host)
		}
	}
}

func (t Tree) leave(registry string) {
	t.add(registry, note, "dockerd's own settings hold for this registry.\n")
}

// useHubMirrors has the mirrors of Docker Hub trusted by the certificates in their own
// directories, as they were before dockerd had containerd's image store: with that, dockerd
// takes those of docker.io for a mirror (mergeLegacyConfig in moby's daemon/hosts.go), which
// would be to trust the mirror's authority for Docker Hub itself. Nothing is said when no
// mirror has certificates, when somebody has settings for docker.io, or when a mirror may be
// an insecure registry, which a hosts.toml would make a secure one.
func (t Tree) useHubMirrors(mirrors, insecure []string) {
	var text strings.Builder
	certificates := false
	for _, mirror := range mirrors {
		u, err := url.Parse(mirror)
		if err != nil || u.Host == "" || slices.ContainsFunc(insecure, func(s string) bool { return s == u.Host || strings.Contains(s, "/") }) {
			return
		}
		text.WriteString(t.host(strings.TrimSuffix(mirror, "/")))
		certificates = certificates || len(t.Named(u.Host, ".crt"))+len(t.Named(u.Host, ".cert")) > 0
	}
	if certificates && t[hub] == nil {
		t.add(hub, hostsFile, t.server(hub)+text.String())
	}
}

// host is what a hosts.toml says of a mirror. Its certificates are named by their full paths,
// for the file is in another directory.
func (t Tree) host(mirror string) string {
	text := fmt.Sprintf("[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", mirror)
	if u, err := url.Parse(mirror); err == nil {
		text += t.certificates(u.Host, "  ", path.Join(Dir, u.Host)+"/")
	}
	return text
}

// server is what a hosts.toml says of the registry itself: without one, dockerd would take
// it from the names of the files.
func (t Tree) server(registry string) string {
	address := registry
	if registry == hub {
		address = "registry-1.docker.io"
	}
	return fmt.Sprintf("server = %q\n", "https://"+address) + t.certificates(registry, "", "")
}

// certificates names those of a registry, by their paths below dir.
func (t Tree) certificates(registry, indent, dir string) string {
	var b strings.Builder
	var cas, pairs []string
	for _, name := range t.Named(registry, ".crt") {
		cas = append(cas, fmt.Sprintf("%q", dir+name))
	}
	for _, cert := range t.Named(registry, ".cert") {
		pairs = append(pairs, fmt.Sprintf("[%q, %q]", dir+cert, dir+strings.TrimSuffix(cert, ".cert")+".key"))
	}
	if len(cas) > 0 {
		fmt.Fprintf(&b, "%sca = [%s]\n", indent, strings.Join(cas, ", "))
	}
	if len(pairs) > 0 {
		fmt.Fprintf(&b, "%sclient = [%s]\n", indent, strings.Join(pairs, ", "))
	}
	return b.String()
}
