package boot

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/berth-dev/berth/internal/cgroup"
	"github.com/berth-dev/berth/internal/engine"
	"github.com/berth-dev/berth/internal/linux"
	"github.com/berth-dev/berth/internal/network/resolvconf"
	"github.com/berth-dev/berth/internal/pid1"
	"github.com/berth-dev/berth/internal/state"
)

// tlsDir is where an engine finds the certificates that it serves with.
const tlsDir = "/etc/berth/tls"

// nested is an engine in namespaces of its own, whose monitor is this process.
type nested struct {
	*engine.Engine
	ports    *ports
	patience time.Duration
	say      func(string, ...any)
}

func (s *starter) startNested(ctx context.Context, isolation Isolation) (started, error) {
	if err := forward(); err != nil {
		return nil, err
	}
	n, err := s.nest()
	if err != nil {
		return nil, err
	}
	var h *hints
	if s.plan.wantsHints() {
		h = serveHints(s.env["DOCKER_TLS_CERTDIR"], s.Log)
	}
	p, err := servePorts(filepath.Join(runtimeDir, "ports.sock"), h, s.Log)
	if err != nil {
		return nil, err
	}
	n.Ports = p.path
	// Nothing of this outlives the container: its data root is elsewhere.
	paths := state.Paths{Run: runtimeDir, State: filepath.Join(runtimeDir, "state")}
	m, err := engine.New(engine.Options{Paths: paths, Log: s.Log, Nest: n})
	if err != nil {
		p.close()
		return nil, err
	}
	spec := s.plan.spec
	spec.Isolation = engine.Isolation(isolation)
	e, err := m.Start(ctx, spec)
	if err != nil {
		p.close()
		return nil, err
	}
	inner := &nested{e, p, s.plan.patience, s.say}
	go inner.tell()
	return inner, nil
}

// nest says what of the container the engine gets.
func (s *starter) nest() (*engine.Nest, error) {
	p := s.plan
	if err := os.MkdirAll(p.dataRoot, 0o711); err != nil {
		return nil, err
	}
	if err := checkData(p.dataRoot); err != nil {
		return nil, err
	}
	parent, err := cgroup.Own()
	if err != nil {
		return nil, err
	}
	n := &engine.Nest{
		Data: p.dataRoot, IDMapped: linux.TryIDMap(p.dataRoot) == nil,
		Listeners: s.listeners.files, CgroupParent: parent, Console: s.Out,
		Args: p.args, Env: s.daemonEnv(), Without: append(slices.Collect(maps.Keys(p.given)), "log-level"),
	}
	if n.Resolv, err = resolvconf.Rest(resolvconf.Path); err != nil {
		return nil, err
	}
	if n.Volumes, err = volumes(p.dataRoot, s.env["DOCKER_TLS_CERTDIR"]); err != nil {
		return nil, err
	}
	for i := range n.Volumes {
		n.Volumes[i].IDMapped = linux.TryIDMap(n.Volumes[i].Path) == nil
	}
	if n.Files, err = s.files(); err != nil {
		return nil, err
	}
	n.Args = append(n.Args, p.tlsArgs(tlsDir)...)
	s.legacy(n)
	return n, nil
}

// files are what the engine has in its /etc because the container has it.
func (s *starter) files() ([]pid1.File, error) {
	var all []pid1.File
	for _, read := range []func() ([]pid1.File, error){s.plan.dockerFiles, s.plan.authorities, s.plan.tlsFiles} {
		files, err := read()
		if err != nil {
			return nil, err
		}
		all = append(all, files...)
	}
	return all, nil
}

func (p *plan) tlsFiles() ([]pid1.File, error) {
	if p.tls == nil {
		return nil, nil
	}
	var out []pid1.File
	for name, data := range map[string][]byte{"ca.pem": p.tls.CA, "cert.pem": p.tls.Cert, "key.pem": p.tls.Key} {
		if data != nil {
			out = append(out, pid1.File{Path: filepath.Join(tlsDir, name), Mode: 0o600, Data: string(data)})
		}
	}
	return out, nil
}

func (p *plan) tlsArgs(dir string) []string {
	if p.tls == nil {
		return []string{"--tls=false"} // said, or dockerd waits 16 s to make a point
	}
	args := []string{"--tls", "--tlscert=" + dir + "/cert.pem", "--tlskey=" + dir + "/key.pem"}
	if p.tls.Verify {
		args[0] = "--tlsverify"
	}
	if p.tls.CA != nil {
		args = append(args, "--tlscacert="+dir+"/ca.pem")
	}
	return args
}

// legacy has dockerd use the iptables programs for old kernels, if DOCKER_IPTABLES_LEGACY says so.
func (s *starter) legacy(n *engine.Nest) {
	if s.env["DOCKER_IPTABLES_LEGACY"] == "" {
		return
	}
	const dir = "/etc/berth/iptables-legacy"
	for name, target := range legacyPrograms() {
		n.Files = append(n.Files, pid1.File{Path: filepath.Join(dir, name), Link: target})
	}
	n.Env = append(n.Env, "PATH="+dir+":/usr/bin:/usr/sbin")
	n.Without = append(n.Without, "firewall-backend")
	n.Args = append(n.Args, "--firewall-backend=iptables")
}

// legacyPrograms are the iptables programs for old kernels by the names that dockerd calls.
func legacyPrograms() map[string]string {
	links := map[string]string{}
	for _, name := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			links[name+suffix] = "/usr/sbin/" + name + "-legacy" + suffix
		}
	}
	return links
}

// passed are the variables that dockerd itself reads, by name or by how they begin.
var passed = []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy", "TZ"}

func (s *starter) daemonEnv() []string {
	var out []string
	for _, kv := range s.Environ {
		name, _, _ := strings.Cut(kv, "=")
		own := strings.HasPrefix(name, "DOCKER_TLS") || name == "DOCKER_HOST" || name == "DOCKER_CERT_PATH" || name == "DOCKER_CONTEXT"
		if slices.Contains(passed, name) || strings.HasPrefix(name, "DOCKER_") && !own ||
			strings.HasPrefix(name, "OTEL_") || strings.HasPrefix(name, "BUILDKIT_") {
			out = append(out, kv)
		}
	}
	return append(out, "container=docker")
}

// tell says what the engine's user should know, until the engine ends.
func (e *nested) tell() {
	for {
		select {
		case note := <-e.Notes():
			e.say("%s", note)
		case <-e.Done():
			return
		}
	}
}

// tellRest says what is left to say when the engine has ended.
func (e *nested) tellRest() {
	for {
		select {
		case note := <-e.Notes():
			e.say("%s", note)
		default:
			return
		}
	}
}

func (e *nested) socket() string { return e.Info().Socket }

// patience is for how long containers are given to stop, unless --stop-timeout says it; the
// container's runtime, which has its own idea of that, ends this process when it has none left.
const patience = 60 * time.Second

func (e *nested) wait(ctx context.Context) (int, error) {
	defer e.ports.close()
	defer e.tellRest()
	select {
	case <-e.Done():
		err := e.Err()
		closeErr := e.Close(context.WithoutCancel(ctx))
		if err != nil {
			return 1, err
		}
		return 0, closeErr
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.patience)
	defer cancel()
	if err := e.Shutdown(stop); err != nil {
		return 1, fmt.Errorf("end the engine: %w", err)
	}
	return 0, nil
}
