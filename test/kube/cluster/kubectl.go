package cluster

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Command prepares kubectl as the cluster's administrator.
func (c *Cluster) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, "kubectl"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.pki("admin.kubeconfig"), "KUBECACHEDIR="+filepath.Join(c.dir, "cache"))
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// Kubectl runs kubectl with stdin and returns its standard output without the last line
// end. A failure's error holds standard error.
func (c *Cluster) Kubectl(ctx context.Context, stdin string, args ...string) (string, error) {
	return output(c.Command(ctx, args...), stdin)
}

// Load gives the node the images of an archive (`docker save` or OCI) under the names in it.
func (c *Cluster) Load(ctx context.Context, archive string) error {
	_, err := c.Ctr(ctx, "images", "import", "--snapshotter", "overlayfs", archive)
	return err
}

// Ctr runs containerd's own client on the node's images and containers.
func (c *Cluster) Ctr(ctx context.Context, args ...string) (string, error) {
	args = append([]string{"--address", runtimeSocket, "-n", "k8s.io"}, args...)
	return output(exec.CommandContext(ctx, filepath.Join(c.bin, "ctr"), args...), "")
}

func output(cmd *exec.Cmd, stdin string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	out := strings.TrimRight(stdout.String(), "\n")
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(append([]string{filepath.Base(cmd.Path)}, cmd.Args[1:]...), " "), err, strings.TrimSpace(stderr.String()))
	}
	return out, err
}
