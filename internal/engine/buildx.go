package engine

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/berth-dev/berth/internal/certsd"
)

// builderRegistries are asked by way of the mirror in a builder's container too. BuildKit has
// no default for all registries (https://github.com/moby/buildkit/blob/master/docs/buildkitd.toml.md),
// so these are named, and those of which the engine knows anything besides.
var builderRegistries = []string{
	"docker.io", "gcr.io", "ghcr.io", "mcr.microsoft.com", "nvcr.io", "public.ecr.aws", "quay.io", "registry.access.redhat.com", "registry.gitlab.com", "registry.k8s.io",
}

// builderConfig is the file from which buildx makes the settings of every builder that it
// starts in a container: such a builder knows nothing of dockerd's.
const builderConfig = "buildkitd.default.toml"

// builder is what a builder in a container is told.
type builder struct {
	mirror   string // HOST[:PORT][/PATH], as the container reaches it; empty: none
	plain    bool   // it has no TLS
	cas      string // for every registry
	certs    certsd.Tree
	insecure []string
	dir      string // where buildx will look for the files
}

// files are the settings and the authorities they name, by name in dir; nil when there is nothing to say.
func (b *builder) files() map[string]string {
	if b.mirror == "" && b.cas == "" && len(b.certs) == 0 && len(b.insecure) == 0 {
		return nil
	}
	host, _, _ := strings.Cut(b.mirror, "/")
	names := map[string]bool{}
	for _, list := range [][]string{builderRegistries, slices.Collect(maps.Keys(b.certs)), b.insecure, {host}} {
		for _, name := range list {
			names[name] = name != "" && name != "_default"
		}
	}
	out := map[string]string{}
	var conf bytes.Buffer
	fmt.Fprintf(&conf, "# Made by berth for this engine.\n")
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if names[name] {
			b.registry(&conf, out, name, name == host)
		}
	}
	out[builderConfig] = conf.String()
	return out
}

// registry writes what holds for one.
func (b *builder) registry(conf *bytes.Buffer, out map[string]string, name string, isMirror bool) {
	fmt.Fprintf(conf, "[registry.%q]\n", name)
	// Where dockerd's own settings hold, no mirror does here either.
	if b.mirror != "" && !isMirror && !b.certs.Own(name) {
		fmt.Fprintf(conf, "  mirrors = [%q]\n", b.mirror)
	}
	switch {
	case isMirror && b.plain:
		fmt.Fprintf(conf, "  http = true\n")
		return
	case slices.Contains(b.insecure, name):
		fmt.Fprintf(conf, "  insecure = true\n  http = true\n") // BuildKit falls back to http
		return
	}
	if ca := b.cas + b.certs.Trusted(name); ca != "" {
		file := strings.NewReplacer(":", "_", "[", "", "]", "").Replace(name) + ".crt"
		out[file] = ca
		fmt.Fprintf(conf, "  ca = [%q]\n", filepath.Join(b.dir, file))
	}
}

// writeBuildx makes the directory for BUILDX_CONFIG, which belongs to who uses the engine:
// buildx keeps its builders there, and they are gone with the engine.
func (l *launch) writeBuildx() error {
	if l.m.nest != nil {
		return nil // nobody outside the container could use it
	}
	b := builder{cas: l.info.Spec.Trust.CAs, certs: l.certs, insecure: l.info.Spec.Trust.Insecure, dir: l.m.paths.Buildx(l.info.ID)}
	switch u, err := url.Parse(l.mirror); {
	case l.relay && l.info.Net.EngineIP.IsValid():
		b.mirror, b.plain = net.JoinHostPort(l.info.Net.EngineIP.String(), fmt.Sprint(mirrorPort)), true
	case !l.relay && err == nil && u.Host != "":
		b.mirror, b.plain = u.Host+strings.TrimSuffix(u.Path, "/"), u.Scheme == "http"
	}
	files := b.files()
	if files == nil {
		return nil
	}
	if err := makeOwned(b.dir, files, l.info.Spec.Owner); err != nil {
		return fmt.Errorf("write the settings of builders: %w", err)
	}
	l.info.Buildx = b.dir
	return nil
}

// makeOwned makes a directory with files, all closed to others than their owner, who gets
// the directory last: nothing in it can be his doing while root writes.
func makeOwned(dir string, files map[string]string, owner Owner) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
		if err := os.Lchown(path, owner.UID, owner.GID); err != nil {
			return err
		}
	}
	return os.Lchown(dir, owner.UID, owner.GID)
}
