// Package kube tests berth in a real Kubernetes cluster of one node (see package cluster),
// which runs in a sandbox (see package sandbox) and leaves nothing. It needs root, a built
// berth (BERTH names it, else ../../bin/berth) and the cluster's programs (`go run
// ./hack/kube`); `make test-kube` sees to all of it.
//
// A private registry with an authority of its own is reached as registry.berth.test.
//
// With BERTH_TEST_NODE=vm the node is a virtual machine with systemd and cgroup v2, for the tests
// that `make test-kube-vm` selects.
package kube

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/berth-dev/berth/test/image"
	"github.com/berth-dev/berth/test/kube/cluster"
	"github.com/berth-dev/berth/test/registry"
	"github.com/berth-dev/berth/test/sandbox"
)

const (
	berthImage = "localhost/berth:1"
	programs   = "../../.cache/kube/bin"
	clusterDir = "/tmp/kube"
)

// Set once by TestMain.
var (
	node         *cluster.Cluster
	nodeMachine  *cluster.Machine // is the node; nil: the sandbox is
	berthProgram string
	companyStore *registry.Registry // the private registry
	busyRef      string             // an image in it
	busyDigest   string             // of that image's manifest
)

func TestMain(m *testing.M) {
	if err := prepareNode(); err != nil {
		fmt.Fprintln(os.Stderr, "kube:", err)
		os.Exit(1)
	}
	run := func() int { return sandbox.Run(inSandbox(m)) }
	if sandbox.Outside() {
		os.Exit(leavesNothing(run))
	}
	os.Exit(run())
}

func inSandbox(m *testing.M) func() int {
	return func() int {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		if err := setUp(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "kube:", err)
			return 1
		}
		defer node.Stop()
		return m.Run()
	}
}

func setUp(ctx context.Context) error {
	bin, err := filepath.Abs(programs)
	if err != nil {
		return err
	}
	path := os.Getenv("BERTH")
	if path == "" {
		path = "../../bin/berth"
	}
	if berthProgram, err = filepath.Abs(path); err != nil {
		return err
	}
	for _, name := range []string{"BERTH_STATE_DIR", "BERTH_RUN_DIR", "DOCKER_HOST"} {
		os.Unsetenv(name)
	}
	archive, err := buildImage()
	if err != nil {
		return err
	}
	o := cluster.Options{Bin: bin, Dir: clusterDir, Images: []string{archive}, Machine: nodeMachine}
	if nodeMachine != nil {
		if o.NodeFiles, err = nodeFiles(); err != nil {
			return err
		}
	}
	if node, err = cluster.Start(ctx, o); err != nil {
		return err
	}
	return startRegistry(ctx, bin)
}

// buildImage has the berth under test make the image, once for each build of berth.
func buildImage() (string, error) {
	program, err := os.ReadFile(berthProgram)
	if err != nil {
		return "", fmt.Errorf("%w; build it with `make build`, or set BERTH", err)
	}
	dir, err := filepath.Abs("../../.cache/kube/image")
	if err != nil {
		return "", err
	}
	archive := filepath.Join(dir, fmt.Sprintf("%x.tar", sha256.Sum256(program)))
	if _, err := os.Stat(archive); err == nil {
		return archive, nil
	}
	// Those of other builds go.
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return "", err
	}
	out, err := exec.Command(berthProgram, "image", "build", "--name", berthImage, "-o", archive).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("berth image build: %w\n%s", err, out)
	}
	return archive, nil
}

// startRegistry starts the private registry, with an image in it.
func startRegistry(ctx context.Context, bin string) (err error) {
	companyStore, err = registry.Start(ctx, registry.Options{
		Dir: "/tmp", Port: 443, From: []netip.Prefix{netip.MustParsePrefix(cluster.PodRange), netip.MustParsePrefix(cluster.MachineRange)},
	})
	if err != nil {
		return err
	}
	img, err := image.Build(image.Options{Busybox: filepath.Join(bin, "busybox")})
	if err != nil {
		return err
	}
	digest, err := img.Digest()
	if err != nil {
		return err
	}
	busyRef, busyDigest = companyStore.Host+"/busy:1", digest.String()
	// As the registry of a company and as a mirror of Docker Hub.
	for _, name := range []string{busyRef, companyStore.Host + "/library/busybox:latest"} {
		if err := image.Push(name, img, companyStore.Transport(), nil); err != nil {
			return err
		}
	}
	return nil
}
