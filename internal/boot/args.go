package boot

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-dev/berth/internal/certsd"
	"github.com/berth-dev/berth/internal/engine"
)

// plan is what the arguments and variables ask for.
type plan struct {
	command []string // what to become instead of an engine

	hosts      []string // where the Docker API is served, as dockerd's --host
	group      string   // of unix sockets
	dataRoot   string
	configFile string
	isolation  Isolation
	pids       int64         // most processes in the engine; 0 for no limit
	patience   time.Duration // for containers to end in, when the engine is told to
	wantTLS    *bool         // --tls or --tlsverify given
	verify     bool
	caFile     string
	certFile   string
	keyFile    string
	tls        *tlsFiles       // set later
	config     json.RawMessage // the user's daemon.json, without what is read here; set later
	trustFlags
	spec  engine.Spec // what the engine is to be; set later
	certs certsd.Tree // what dockerd finds about registries; set later

	args   []string // for dockerd
	given  map[string]bool
	byHand bool // `dockerd …` was typed, so nothing is added to what it says
}

// dockerd's flags that say where it works, which is berth's business. Values: takes one.
var taken = map[string]bool{
	"host": true, "group": true, "data-root": true, "config-file": true,
	"tls": false, "tlsverify": false, "tlscacert": true, "tlscert": true, "tlskey": true,
	"pidfile": true, "exec-root": true, "containerd": true,
	"isolation": true, "mirror": true, "mirror-only": false, "ca": true, "registry-ca": true, "share-ca": false, "pids": true, "stop-timeout": true, // berth's own
}

// short names of flags (dockerd --help).
var short = map[string]string{"H": "host", "G": "group", "p": "pidfile", "D": "debug", "l": "log-level", "s": "storage-driver"}

// settings are the keys in daemon.json of flags that are called something else there.
var settings = map[string]string{
	"exec-opt": "exec-opts", "default-network-opt": "default-network-opts", "storage-opt": "storage-opts",
	"insecure-registry": "insecure-registries", "registry-mirror": "registry-mirrors", "host-gateway-ip": "host-gateway-ips",
}

// parse reads the arguments as docker:dind's entry point does: flags are for dockerd, a
// subcommand of docker's is for docker, everything else is a command.
func parse(args []string, env map[string]string) (*plan, error) {
	p := &plan{given: map[string]bool{}, dataRoot: "/var/lib/docker", configFile: "/etc/docker/daemon.json", group: "docker", patience: patience}
	p.isolation = Isolation(env["BERTH_ISOLATION"])
	p.trustFlags = trustFromEnv(env)
	switch {
	case len(args) > 0 && args[0] == "dockerd":
		p.byHand, args = true, args[1:]
	case len(args) > 0 && !strings.HasPrefix(args[0], "-"):
		p.command = args
		return p, nil
	}
	for len(args) > 0 {
		var err error
		if args, err = p.flag(args); err != nil {
			return nil, err
		}
	}
	p.defaultHosts(env)
	return p, p.isolation.check()
}

// flag reads the first argument and its value, and returns the rest.
func (p *plan) flag(args []string) ([]string, error) {
	name, value, has := strings.Cut(args[0], "=")
	switch {
	case strings.HasPrefix(name, "--"):
		name = name[2:]
	case len(name) >= 2 && name[0] == '-':
		letter := name[1:2]
		if !has && len(name) > 2 { // -Htcp://…
			value, has = args[0][2:], true
		}
		if name = short[letter]; name == "" {
			name = letter
		}
	}
	p.given[name] = true
	takes, ours := taken[name]
	if !ours {
		if key := settings[name]; key != "" {
			p.given[key] = true
		}
		p.args = append(p.args, args[0])
		return args[1:], nil
	}
	rest := args[1:]
	if takes && !has {
		if len(rest) == 0 {
			return nil, fmt.Errorf("--%s needs a value", name)
		}
		value, rest = rest[0], rest[1:]
	}
	return rest, p.set(name, value)
}

func (p *plan) set(name, value string) error {
	switch name {
	case "host":
		p.hosts = append(p.hosts, value)
	case "group":
		p.group = value
	case "data-root":
		p.dataRoot = value
	case "config-file":
		p.configFile = value
	case "isolation":
		p.isolation = Isolation(value)
	case "mirror":
		p.mirror = value
	case "ca":
		p.cas = append(p.cas, value)
	case "registry-ca":
		p.registryCAs = append(p.registryCAs, value)
	case "mirror-only":
		p.mirrorOnly = isOn(value)
	case "share-ca":
		p.shareCA = isOn(value)
	case "pids":
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n < 0 {
			return fmt.Errorf("--pids %s: give a number of processes, or 0 for any number", value)
		}
		p.pids = n
	case "stop-timeout":
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 {
			return fmt.Errorf("--stop-timeout %s: give a number of seconds", value)
		}
		p.patience = time.Duration(n) * time.Second
	case "tls", "tlsverify":
		on := isOn(value)
		p.wantTLS = &on
		p.verify = p.verify || name == "tlsverify" && on
	case "tlscacert":
		p.caFile = value
	case "tlscert":
		p.certFile = value
	case "tlskey":
		p.keyFile = value
	case "pidfile", "exec-root": // inside the engine; nobody can miss them
	case "containerd":
		return fmt.Errorf("--containerd %s: the engine has its own containerd; leave the flag out", value)
	}
	return nil
}

// isOn is what a flag without a value, or with one, says.
func isOn(value string) bool { return value == "" || value == "true" || value == "1" }

// defaultHosts adds the addresses at which clients of docker:dind look for an engine.
func (p *plan) defaultHosts(env map[string]string) {
	unixHost := defaultSocket
	if h := env["DOCKER_HOST"]; strings.HasPrefix(h, "unix://") {
		unixHost = h
	}
	if p.byHand {
		if len(p.hosts) == 0 {
			p.hosts = []string{unixHost}
		}
		return
	}
	given := p.hosts
	p.hosts = []string{unixHost}
	switch {
	case p.wantTLS != nil && *p.wantTLS, p.wantTLS == nil && env["DOCKER_TLS_CERTDIR"] != "":
		p.hosts = append(p.hosts, "tcp://0.0.0.0:"+tlsPort)
	default:
		p.hosts = append(p.hosts, "tcp://0.0.0.0:"+plainPort)
	}
	p.addHosts(given)
}

func (p *plan) addHosts(hosts []string) {
	for _, h := range hosts {
		// The same socket by its other name is the same.
		if h = strings.Replace(h, "unix:///run/", "unix:///var/run/", 1); !slices.Contains(p.hosts, h) {
			p.hosts = append(p.hosts, h)
		}
	}
}

// plain reports whether the API is served over TCP without TLS, and to others than those who
// share the container's network.
func (p *plan) plain() bool {
	return p.tls == nil && slices.ContainsFunc(p.hosts, func(h string) bool {
		address, ok := strings.CutPrefix(h, "tcp://")
		host, _, err := net.SplitHostPort(address)
		ip := net.ParseIP(host)
		return ok && (err != nil || host != "localhost" && (ip == nil || !ip.IsLoopback()))
	})
}

func environ(list []string) map[string]string {
	m := map[string]string{}
	for _, kv := range list {
		k, v, _ := strings.Cut(kv, "=")
		m[k] = v
	}
	return m
}
