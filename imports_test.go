package berth

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestModules lists the modules that a program gets with package berth: those of the
// packages that it imports, which are also what the go.sum of such a program gains. (A go.sum
// cannot be made here without asking a module proxy.) Whoever adds one adds it to the list,
// and so has thought of it.
func TestModules(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", ".", "./berthtest").Output()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Fields(string(out))
	slices.Sort(got)
	got = slices.DeleteFunc(slices.Compact(got), func(m string) bool { return m == "github.com/berth-dev/berth" })
	text, err := os.ReadFile("testdata/modules.txt")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Fields(string(text)), got); diff != "" {
		t.Errorf("modules that a program gets with package berth (-testdata/modules.txt +now):\n%s", diff)
	}
	for _, heavy := range []string{
		"k8s.io", "sigs.k8s.io", "github.com/containerd/containerd", "github.com/moby/moby/v2", "github.com/docker/docker",
		"github.com/moby/buildkit", "github.com/docker/buildx", "github.com/docker/compose", "google.golang.org/grpc",
		"github.com/opencontainers/runc", "github.com/google/nftables", "github.com/vishvananda/netlink",
	} {
		for _, m := range got {
			if m == heavy || strings.HasPrefix(m, heavy+"/") {
				t.Errorf("%s: programs would contain what belongs to the engine", m)
			}
		}
	}
}

// TestOwnPackages: the berth program does the work; programs only talk to it.
func TestOwnPackages(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range strings.Fields(string(out)) {
		if rest, ok := strings.CutPrefix(p, "github.com/berth-dev/berth/"); ok && rest != "internal/attend" {
			t.Errorf("package berth imports %s", p)
		}
	}
}
