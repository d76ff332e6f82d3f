package berth

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const userProgram = `package main

import (
	_ "github.com/berth-dev/berth"
	_ "github.com/berth-dev/berth/berthtest"
)

func main() {}
`

// TestModules lists the modules that a program's go.sum gains with package berth. Whoever
// adds one adds it to the list, and so has thought of it.
func TestModules(t *testing.T) {
	got := goSum(t)
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

// goSum builds a program of somebody else's that imports package berth, and returns the
// modules in its go.sum. What berth itself is built from is on this machine already.
func goSum(t *testing.T) []string {
	t.Helper()
	berth, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(own), "\ngo ")
	version, _, _ := strings.Cut(rest, "\n")
	dir := t.TempDir()
	for name, text := range map[string]string{
		"main.go": userProgram,
		"go.mod": "module example.com/user\n\ngo " + version + "\n\nrequire github.com/berth-dev/berth v0.0.0\n\n" +
			"replace github.com/berth-dev/berth => " + berth + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "build", "-mod=mod", "-o", os.DevNull, ".")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=off", "GOFLAGS=", "GOPROXY=off", "GOSUMDB=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build a program with package berth: %v: %s", err, out)
	}
	sum, err := os.ReadFile(filepath.Join(dir, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	var modules []string
	for line := range strings.Lines(string(sum)) {
		modules = append(modules, strings.Fields(line)[0])
	}
	slices.Sort(modules)
	return slices.Compact(modules)
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
