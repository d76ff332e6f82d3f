package cluster

import (
	"context"
	_ "embed" // the node's script
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/vishvananda/netlink"

	"github.com/berth-dev/berth/test/vm/job"
	"github.com/berth-dev/berth/test/vm/machine"
)

// Machine is a virtual machine, with systemd, cgroup v2 and AppArmor, that can be a cluster's node: for
// what a node in namespaces of this machine cannot show. Nothing but containerd and the kubelet
// runs in it. It can be passed on as JSON.
type Machine struct {
	Command []string // of QEMU
	Guest   string   // the program that test/vm/guest is
	Scale   int      // how much longer than on an ordinary machine things may take in it
}

// The network between a machine and the sandbox (RFC 5737).
const (
	machineAddress = "198.51.100.2"
	machineGateway = "198.51.100.1"
	machineLink    = "vm0"
	// MachineRange has the addresses that such a node's pods are seen with.
	MachineRange = machineGateway + "/24"
)

// The machine's disks and console, below a cluster's directory.
const (
	workDisk = "work.img"
	dataDisk = "data.img"
	console  = "log/console"
)

// PrepareMachine makes what a machine consists of, or finds it in the store. It is called
// outside of the sandbox, as packages may have to be downloaded; dir is [Options].Dir of the
// cluster to be. The kernel is a Debian package, as [machine.Store.Kernel] takes it.
func PrepareMachine(ctx context.Context, store machine.Store, kernel, dir string) (*Machine, error) {
	if err := store.InstallMissing(ctx); err != nil {
		return nil, err
	}
	k, err := store.Kernel(ctx, kernel)
	if err != nil {
		return nil, fmt.Errorf("kernel %s: %w", kernel, err)
	}
	root, err := store.Root(ctx, machine.Base().With(machine.Root{Packages: []string{"apparmor"}}))
	if err != nil {
		return nil, fmt.Errorf("root file system: %w", err)
	}
	accelerator, err := store.Accelerator(ctx, "", k)
	if err != nil {
		return nil, err
	}
	guest := filepath.Join(store.Dir, "guest")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", guest, "github.com/berth-dev/berth/test/vm/guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the guest: %w\n%s", err, out)
	}
	m := machine.Machine{
		Kernel: k, Accelerator: accelerator, MiB: 4096, FS: "ext4", Init: "systemd", Cgroup: "v2", Words: []string{"net.ifnames=0"},
		Root: root, Work: filepath.Join(dir, workDisk), Data: filepath.Join(dir, dataDisk), Console: filepath.Join(dir, console),
	}
	cmd := m.Command(ctx, "-netdev", "tap,id=net,ifname="+machineLink+",script=no,downscript=no", "-device", "virtio-net-pci,netdev=net")
	return &Machine{Command: cmd.Args, Guest: guest, Scale: m.Accelerator.Scale}, nil
}

// linkMachine makes the sandbox's end of the network between the two.
func linkMachine() error {
	tap := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: machineLink}, Mode: netlink.TUNTAP_MODE_TAP}
	if err := netlink.LinkAdd(tap); err != nil {
		return fmt.Errorf("the machine's network: %w", err)
	}
	address, err := netlink.ParseAddr(MachineRange)
	if err != nil {
		return err
	}
	return errors.Join(netlink.AddrAdd(tap, address), netlink.LinkSetUp(tap))
}

// inMachine are the programs that a node has.
var inMachine = []string{"containerd", "containerd-shim-runc-v2", "runc", "ctr", "kubelet", "bridge", "host-local", "portmap"}

// startMachine boots the machine with a work disk that makes it into the node. Its log has what
// containerd and the kubelet write.
func (c *Cluster) startMachine(ctx context.Context) error {
	tree := c.nodeTree()
	defer os.RemoveAll(tree)
	if err := c.fillTree(tree); err != nil {
		return err
	}
	if err := machine.Image(ctx, filepath.Join(c.dir, workDisk), tree, 16); err != nil {
		return err
	}
	if err := machine.Sparse(filepath.Join(c.dir, dataDisk), 16); err != nil {
		return err
	}
	_, err := c.run("machine", exec.Command(c.machine.Command[0], c.machine.Command[1:]...))
	return err
}

// nodeTree is what becomes the machine's work disk.
func (c *Cluster) nodeTree() string { return filepath.Join(c.dir, "tree") }

//go:embed node.sh
var nodeScript []byte

func (c *Cluster) fillTree(tree string) error {
	order, err := json.Marshal(job.Job{
		Cgroup: "v2", Init: "systemd", FS: "ext4",
		Tests: []job.Test{{Package: "node", Binary: "/bin/bash", Args: []string{job.Dir + "/node.sh"}, Dir: "/"}},
		Env:   []string{"NODE=" + NodeName, "ADDRESS=" + machineAddress, "GATEWAY=" + machineGateway},
	})
	if err != nil {
		return err
	}
	err = errors.Join(os.MkdirAll(filepath.Join(tree, "bin"), 0o755), os.MkdirAll(filepath.Join(tree, "images"), 0o755), os.MkdirAll(filepath.Join(tree, "root"), 0o755),
		os.WriteFile(filepath.Join(tree, job.File), order, 0o644), os.WriteFile(filepath.Join(tree, "node.sh"), nodeScript, 0o644))
	if err != nil {
		return err
	}
	files := map[string]string{c.machine.Guest: job.Guest}
	for _, program := range inMachine {
		files[filepath.Join(c.bin, program)] = "bin/" + program
	}
	for _, name := range []string{"ca.crt", "kubelet.crt", "kubelet.key"} {
		files[c.pki(name)] = "node/pki/" + name
	}
	for _, archive := range c.images {
		files[archive] = "images/" + filepath.Base(archive)
	}
	for from, to := range files {
		data, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(tree, to), data, 0o755); err != nil {
			return err
		}
	}
	if c.nodeFiles == "" {
		return nil
	}
	return os.CopyFS(filepath.Join(tree, "root"), os.DirFS(c.nodeFiles))
}
