package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// inContainer makes an image of the root file system $1 in the engine, and runs the tests of
// the tree $2 in a container of it, as privileged as the one of a CI job with docker:dind is.
// The tree goes to a volume: a share would be an idmapped mount, which cannot be so twice.
const inContainer = `
mkdir root
mount -o loop,ro "$1" root
tar -C root -c . | docker import - berth.test/root:1 >/dev/null
umount root
tar -C "$2" -c . | docker run --rm -i -v work:/berth berth.test/root:1 tar -C /berth -x
exec docker run --rm --privileged --cgroupns private --tmpfs /run --tmpfs /tmp:exec,mode=1777 -v /var -v work:/berth berth.test/root:1 /berth/bin/guest container
`

// runContainer runs the tests in a container of an engine of its own. The engine is a
// rootful one, as the container plays a machine whose root is the kernel's.
func runContainer(ctx context.Context, s settings) error {
	s.Name = "container"
	ctx, cancel := context.WithTimeout(ctx, s.Limit)
	defer cancel()
	root, err := s.store().Root(ctx, s.root())
	if err != nil {
		return fmt.Errorf("root file system: %w", err)
	}
	dir, err := os.MkdirTemp(s.Cache, "run-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	tree := filepath.Join(dir, "tree")
	if err := makeTree(ctx, s, tree, 2); err != nil { // two engines deep, on machines that do other things
		return fmt.Errorf("tests: %w", err)
	}
	if err := os.MkdirAll(s.logs(), 0o755); err != nil {
		return err
	}
	console, err := os.Create(filepath.Join(s.logs(), "console.log"))
	if err != nil {
		return err
	}
	defer console.Close()
	cmd := s.berth(ctx, s.program(), "run", "--isolation", "rootful", "--net", "none", "--user", "0:0", "--no-share-cwd",
		"--", "sh", "-ec", inContainer, "sh", root, tree)
	cmd.Dir, cmd.Stderr = dir, console
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // berth takes the rest with it
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	return judge(ctx, s, cmd, out, console.Name())
}
