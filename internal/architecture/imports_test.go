package architecture

import (
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/berth-dev/berth"

// imports are one package's, without those of its tests.
type imports struct {
	path    string // relative to the module; "" is the root
	imports []string
}

func list(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Dir = root
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

func packages(t *testing.T) []imports {
	t.Helper()
	var out []imports
	for _, line := range list(t, "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...") {
		f := strings.Fields(line)
		out = append(out, imports{strings.TrimPrefix(strings.TrimPrefix(f[0], module), "/"), f[1:]})
	}
	return out
}

// within tells whether a package is one of a tree of packages. The standard library's
// are no trees: log/slog has nothing to do with log.
func within(path, tree string) bool {
	return path == tree || strings.HasPrefix(path, tree+"/") && tree != "log"
}

func TestLayers(t *testing.T) {
	all := packages(t)
	for _, rule := range []struct {
		tree, imported string   // packages of the module or of others
		except         []string // trees that may import it nevertheless
		why            string
	}{
		{"", module + "/internal/cli", []string{"cmd/berth"}, "the command line is on top"},
		{"", "github.com/spf13/cobra", []string{"internal/cli"}, "only the command line has flags"},
		{"", "github.com/vbauerster/mpb/v8", []string{"internal/cli"}, "only the command line has a terminal"},
		{"", "github.com/containerd/go-runc", []string{"internal/engine"}, "the OCI runtime is the engine's business"},
		{"", "github.com/opencontainers/cgroups", []string{"internal/cgroup"}, "only internal/cgroup knows v1 from v2"},
		{"", "github.com/google/nftables", []string{"internal/network"}, "firewall rules are the network's business"},
		{"", "github.com/vishvananda/netlink", []string{"internal/network"}, "links and routes are the network's business"},
		{"", "github.com/stretchr/testify", nil, "tests use the standard library and go-cmp"},
		{"", "log", nil, "log/slog, passed in"},
		{"internal/engine", module + "/internal/command", nil, "an engine does not know what it is used for"},
		{"internal/command", module + "/internal/engine", nil, "a command does not know what an engine is"},
		{"internal/command", module + "/internal/payload", nil, "a command does not know where docker comes from"},
		{"internal/snapshot", module + "/internal/doctor", nil, "what a machine can do is asked of internal/linux"},
		{"internal/doctor", module + "/internal/engine", nil, "the engine asks the doctor, not the other way round"},
		{"internal/payload", module + "/internal/engine", nil, "the payload is below the engine"},
		{"internal/bundle", module + "/internal/engine", nil, "a bundle is made of plain settings"},
		{"internal/network", module + "/internal/engine", nil, "networks are below the engine"},
		{"internal/pid1", module + "/internal/engine", nil, "init stays small"},
		{"internal/pid1", "github.com", []string{module}, "init stays small: every engine carries it in memory"},
		{"internal/state", module, nil, "names of files depend on nothing"},
	} {
		for _, p := range all {
			if rule.tree != "" && !within(p.path, rule.tree) || excepted(p.path, rule.except) {
				continue
			}
			for _, imported := range p.imports {
				if within(imported, rule.imported) && !excepted(imported, rule.except) {
					t.Errorf("%s imports %s: %s", p.path, imported, rule.why)
				}
			}
		}
	}
}

func excepted(path string, trees []string) bool {
	for _, tree := range trees {
		if within(path, tree) {
			return true
		}
	}
	return false
}

// TestRootModuleIsLight: whoever uses berth from Go gets its dependencies too.
func TestRootModuleIsLight(t *testing.T) {
	heavy := map[string]string{
		"k8s.io":                               "Kubernetes belongs to a nested module",
		"sigs.k8s.io":                          "Kubernetes belongs to a nested module",
		"github.com/containerd/containerd":     "containerd runs in the engine",
		"github.com/containerd/containerd/v2":  "containerd runs in the engine",
		"github.com/moby/moby/v2":              "dockerd runs in the engine",
		"github.com/docker/docker":             "dockerd runs in the engine",
		"github.com/docker/cli/cli/command":    "the docker CLI is in the payload; its configuration file is read by the registry client",
		"github.com/distribution/distribution": "a registry is needed by tests only",
		"google.golang.org/grpc":               "nothing here speaks it",
	}
	for _, p := range list(t, "-deps", "-f", "{{.ImportPath}}", "./cmd/...") {
		for tree, why := range heavy {
			if within(p, tree) {
				t.Errorf("berth contains %s: %s", p, why)
			}
		}
	}
}

// TestInitIsSmall: berth-init is in the memory of every engine.
func TestInitIsSmall(t *testing.T) {
	for _, p := range list(t, "-deps", "-f", "{{.ImportPath}}", "./cmd/berth-init") {
		for _, no := range []string{"net/http", "crypto/tls", "text/template", "github.com/spf13/cobra", "github.com/opencontainers/cgroups"} {
			if p == no {
				t.Errorf("berth-init contains %s", p)
			}
		}
	}
}
