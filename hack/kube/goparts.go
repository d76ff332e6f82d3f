package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/berth-dev/berth/hack/task"
)

// module is a directory below test/kube/pins with the Go programs that it pins.
type module struct {
	dir      string
	packages []string
	stamps   []string // linker -X settings; {version} is that of the module upstream
	upstream string   // upstream's module path
}

const kubeVersion = "k8s.io/component-base/version."

var modules = []module{
	{
		dir: "containerd", upstream: "github.com/containerd/containerd/v2",
		packages: []string{
			"github.com/containerd/containerd/v2/cmd/containerd",
			"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
			"github.com/containerd/containerd/v2/cmd/ctr",
		},
		stamps: []string{"github.com/containerd/containerd/v2/version.Version={version}"},
	},
	{
		dir: "kubernetes", upstream: "k8s.io/kubernetes",
		packages: []string{
			"k8s.io/kubernetes/cmd/kube-apiserver", "k8s.io/kubernetes/cmd/kube-controller-manager",
			"k8s.io/kubernetes/cmd/kube-proxy", "k8s.io/kubernetes/cmd/kube-scheduler",
			"k8s.io/kubernetes/cmd/kubectl", "k8s.io/kubernetes/cmd/kubelet",
		},
		stamps: []string{
			kubeVersion + "gitVersion={version}", kubeVersion + "gitTreeState=clean",
			kubeVersion + "gitMajor={major}", kubeVersion + "gitMinor={minor}",
			"k8s.io/client-go/pkg/version.gitVersion={version}",
		},
	},
	{dir: "coredns", upstream: "github.com/coredns/coredns", packages: []string{"."}},
}

// flags are for all of them: no cgo, and paths left out so that the compiler's cache
// serves every copy of the repository.
var flags = []string{"-trimpath", "-buildvcs=false", "-tags", "netgo osusergo"}

func goParts() []*part {
	var list []*part
	for _, m := range modules {
		p := &part{name: m.dir, inputs: m.inputs, build: m.build}
		for _, pkg := range m.packages {
			p.programs = append(p.programs, m.program(pkg))
		}
		list = append(list, p)
	}
	return list
}

func (m module) path() string { return filepath.Join(pinsDir, m.dir) }

func (m module) program(pkg string) string {
	if pkg == "." {
		return m.dir
	}
	return filepath.Base(pkg)
}

// inputs are the pins with any source beside them, the settings here and the toolchain.
func (m module) inputs(ctx context.Context, w io.Writer) error {
	toolchain, err := m.output(ctx, "env", "GOVERSION", "GOARCH", "GOAMD64", "GOARM64")
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%+v %v %s", m, flags, toolchain)
	files, err := filepath.Glob(filepath.Join(m.path(), "*"))
	if err != nil {
		return err
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s %d\n%s", name, len(data), data)
	}
	return nil
}

func (m module) build(ctx context.Context, bin string) error {
	out, err := m.output(ctx, "list", "-m", "-f", "{{.Version}}", m.upstream)
	if err != nil {
		return err
	}
	version := strings.TrimSpace(string(out))
	numbers := strings.Split(strings.TrimPrefix(version, "v"), ".")
	fill := strings.NewReplacer("{version}", version, "{major}", numbers[0], "{minor}", numbers[1])
	ldflags := []string{"-s", "-w", "-buildid="}
	for _, stamp := range m.stamps {
		ldflags = append(ldflags, "-X", fill.Replace(stamp))
	}
	args := append([]string{"build"}, flags...)
	args = append(args, "-ldflags", strings.Join(ldflags, " "), "-o", bin+"/")
	_, err = m.output(ctx, append(args, m.packages...)...)
	return err
}

// output runs the go command in the module's directory.
func (m module) output(ctx context.Context, args ...string) ([]byte, error) {
	return task.Output(ctx, m.path(), []string{"CGO_ENABLED=0", "GOOS=linux", "GOFLAGS=", "GOWORK=off"}, "go", args...)
}
