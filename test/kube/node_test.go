package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/test/deadline"
	"github.com/berth-dev/berth/test/kube/cluster"
	"github.com/berth-dev/berth/test/sandbox"
	"github.com/berth-dev/berth/test/vm/machine"
)

// What says that the node is to be a virtual machine, and what has one described.
const (
	envNode    = "BERTH_TEST_NODE"
	envMachine = "BERTH_TEST_NODE_MACHINE"
	envKernel  = "KERNEL"
)

// Kernel 6.3 is the first that maps the ids of a tmpfs, which pods in user namespaces may have.
const nodeKernel = "linux-image-cloud-amd64/bookworm-backports"

// prepareNode makes the virtual machine, where one is wanted, outside of the sandbox, and finds
// it inside.
func prepareNode() error {
	if os.Getenv(envNode) != "vm" {
		return nil
	}
	if !sandbox.Outside() {
		return json.Unmarshal([]byte(os.Getenv(envMachine)), &nodeMachine)
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	dir, err := filepath.Abs("../../.cache/vm")
	if err != nil {
		return err
	}
	kernel := os.Getenv(envKernel)
	if kernel == "" {
		kernel = nodeKernel
	}
	store := machine.Store{Dir: dir, Say: func(format string, args ...any) { fmt.Fprintf(os.Stderr, "kube: "+format+"\n", args...) }}
	m, err := cluster.PrepareMachine(ctx, store, kernel, clusterDir)
	if err != nil {
		return fmt.Errorf("the node's machine: %w", err)
	}
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	os.Setenv(deadline.EnvScale, fmt.Sprint(m.Scale))
	return os.Setenv(envMachine, string(text))
}

// nodeFiles is a directory with what an administrator gives a node for pods of the level
// unprivileged: what `berth kube node-setup` writes.
func nodeFiles() (string, error) {
	dir := filepath.Join("/tmp", "node-files")
	out, err := exec.Command(berthProgram, "kube", "node-setup", "--output", dir).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("berth kube node-setup: %w\n%s", err, out)
	}
	return dir, nil
}

// onNode runs a shell script on the node, outside of every pod's namespaces, and returns what it
// writes.
func onNode(t *testing.T, script string) string {
	t.Helper()
	if nodeMachine == nil {
		out, err := exec.Command("sh", "-c", script).Output()
		if err != nil {
			t.Fatalf("on the node: %v", err)
		}
		return strings.TrimSpace(string(out))
	}
	ns := node.Namespace(t)
	ns.Apply(`
apiVersion: v1
kind: Pod
metadata: {name: node}
spec:
  hostPID: true
  hostNetwork: true
  terminationGracePeriodSeconds: 0
  containers:
  - name: shell
    image: ` + cluster.BusyImage + `
    command: [sleep, "100000"]
    securityContext: {privileged: true}
    volumeMounts: [{name: root, mountPath: /node}]
  volumes: [{name: root, hostPath: {path: /}}]
`)
	ns.Wait("pod/node", "condition=Ready")
	return ns.Exec("node", "shell", "chroot", "/node", "sh", "-c", script)
}
