package boot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/berth-dev/berth/internal/engine"
	"github.com/berth-dev/berth/internal/pid1"
)

// maxFile bounds a file of the container's /etc that the engine is given, in bytes.
const maxFile = 4 << 20

// tree reads all files below dir, following symbolic links (Kubernetes mounts a ConfigMap
// as links). They are given to the engine as they are now.
func tree(dir string, leave func(string) bool) ([]pid1.File, error) {
	var out []pid1.File
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if strings.HasPrefix(e.Name(), "..") || leave(path) { // ..data: where the links lead
			continue
		}
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist): // a link to nowhere
		case err != nil:
			return nil, err
		case info.IsDir():
			files, err := tree(path, leave)
			if err != nil {
				return nil, err
			}
			out = append(out, files...)
		case info.Mode().IsRegular():
			if info.Size() > maxFile {
				return nil, fmt.Errorf("%s is larger than %d MiB; is it the right file?", path, maxFile>>20)
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			out = append(out, pid1.File{Path: path, Mode: uint32(info.Mode().Perm()), Data: string(b)})
		}
	}
	return out, nil
}

// dockerFiles is the container's /etc/docker: certs.d, seccomp profiles and the like, but
// for daemon.json, which is merged with the engine's own.
func (p *plan) dockerFiles() ([]pid1.File, error) {
	return tree("/etc/docker", func(path string) bool { return path == p.configFile || path == "/etc/docker/daemon.json" })
}

// systemCerts is where programs look for the authorities to trust.
const systemCerts = "/etc/ssl/certs"

// authorities are the container's trusted authorities, if they are not just the image's.
func (p *plan) authorities() ([]pid1.File, error) {
	files, err := tree(systemCerts, func(string) bool { return false })
	if err != nil {
		return nil, err
	}
	const bundle = systemCerts + "/ca-certificates.crt"
	changed := len(files) != 1
	original, err := os.ReadFile("/usr/share/berth" + bundle)
	if err != nil {
		return nil, err
	}
	for i := range files {
		if files[i].Path != bundle {
			continue
		}
		changed = changed || files[i].Data != string(original)
		if more := p.spec.Trust.CAs; more != "" {
			files[i].Data += "\n" + more
			changed = true
		}
	}
	if !changed {
		return nil, nil
	}
	return files, nil
}

// berthKeys of a daemon.json are where the engine works, which is not its business.
var berthKeys = []string{"hosts", "data-root", "exec-root", "pidfile", "containerd", "group", "tls", "tlsverify", "tlscacert", "tlscert", "tlskey"}

// readConfig reads the user's daemon.json and takes from it what concerns this package.
func (p *plan) readConfig() (json.RawMessage, error) {
	b, err := os.ReadFile(p.configFile)
	if errors.Is(err, fs.ErrNotExist) && !p.given["config-file"] || err == nil && len(bytes.TrimSpace(b)) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read dockerd's settings: %w", err)
	}
	var c map[string]json.RawMessage
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, fmt.Errorf("%s is no JSON object: %w", p.configFile, err)
	}
	text := func(key string) (s string) { _ = json.Unmarshal(c[key], &s); return s }
	if h := c["hosts"]; h != nil {
		var hosts []string
		if err := json.Unmarshal(h, &hosts); err != nil {
			return nil, fmt.Errorf("%s: hosts: %w", p.configFile, err)
		}
		p.addHosts(hosts)
	}
	if d := text("data-root"); d != "" && !p.given["data-root"] {
		p.dataRoot = d
	}
	if text("containerd") != "" {
		return nil, fmt.Errorf("%s: the engine has its own containerd; leave the key out", p.configFile)
	}
	var on bool
	if _ = json.Unmarshal(c["tlsverify"], &on); on && p.wantTLS == nil {
		p.wantTLS, p.verify = &on, true
		p.caFile, p.certFile, p.keyFile = text("tlscacert"), text("tlscert"), text("tlskey")
	}
	for _, k := range berthKeys {
		delete(c, k)
	}
	return json.Marshal(c)
}

// hostsEntries are the names that the container's /etc/hosts has beyond those of every
// container: links and --add-host.
func hostsEntries(path string) []engine.Host {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	hostname, _ := os.Hostname()
	var out []engine.Host
	for line := range strings.Lines(string(b)) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(fields[0])
		if err != nil || !addr.Is4() || addr.IsLoopback() {
			continue
		}
		for _, name := range fields[1:] {
			if name != hostname {
				out = append(out, engine.Host{Name: name, Addr: addr.String()})
			}
		}
	}
	return out
}
