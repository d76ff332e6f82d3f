package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/berth-dev/berth/test/vm/job"
)

// trialLimit is how long a boot to the first process may take with KVM. A /dev/kvm that
// exists and does not work hangs for ever; one that works takes a second.
const trialLimit = 6 * time.Second

// Accelerator is how a machine's processors are made.
type Accelerator struct {
	Name  string // kvm or tcg
	Scale int    // how much longer than on an ordinary machine things may take
	args  []string
	with  emulator
}

var (
	kvm = Accelerator{Name: "kvm", Scale: 1, args: []string{"-accel", "kvm", "-cpu", "host"}}
	tcg = Accelerator{Name: "tcg", Scale: 8, args: []string{"-accel", "tcg,thread=multi,tb-size=512", "-cpu", "Nehalem-v1"}}
)

// Accelerator returns the one that is asked for, kvm or tcg; for "", KVM if the kernel
// boots with it within a few seconds, and else TCG. It is an error to ask for a KVM that
// does not.
func (s Store) Accelerator(ctx context.Context, name string, k Kernel) (Accelerator, error) {
	e := s.emulator(ctx)
	if name == tcg.Name {
		return tcg.on(e), nil
	}
	err := tryKVM(ctx, e, k)
	switch {
	case err == nil:
		return kvm.on(e), nil
	case name == kvm.Name:
		return Accelerator{}, err
	case !errors.Is(err, fs.ErrNotExist):
		s.say("%v; using TCG", err)
	}
	return tcg.on(e), nil
}

func (a Accelerator) on(e emulator) Accelerator {
	a.with = e
	return a
}

// tryKVM boots the kernel to its first process.
func tryKVM(ctx context.Context, e emulator, k Kernel) error {
	device, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	device.Close()
	trial, cancel := context.WithTimeout(ctx, trialLimit)
	defer cancel()
	m := Machine{Kernel: k, Accelerator: kvm.on(e), MiB: 512, Words: []string{"probe"}}
	out, err := m.qemu(trial, "-serial", "stdio").Output()
	if err == nil && strings.Contains(string(out), probeAnswer) {
		return nil
	}
	return fmt.Errorf("/dev/kvm is there and boots nothing within %v", trialLimit)
}

// Machine is what to boot. All disks are raw images; only what is written to Data is kept.
type Machine struct {
	Kernel      Kernel
	Accelerator Accelerator
	MiB         int      // memory
	Processors  int      // 2 unless set
	Words       []string // for the kernel's command line
	Root        string   // ext4, mounted at /
	Work        string   // ext4, mounted read-only at [job.Dir]
	Data        string   // made into FS at the start, mounted at /var
	FS          string   // ext4, xfs or btrfs
	Init        string   // busybox or systemd
	Cgroup      string   // v2, hybrid or v1; systemd is told, for busybox it is the guest's to mount
	Console     string   // file for the console's output
}

// qemu prepares a machine. It ends when ctx is cancelled or this thread dies.
func (m Machine) qemu(ctx context.Context, more ...string) *exec.Cmd {
	processors := max(m.Processors, 2)
	args := append(slices.Clone(m.Accelerator.with.args), "-machine", "q35", "-smp", fmt.Sprint(processors), "-m", fmt.Sprint(m.MiB),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-kernel", m.Kernel.image, "-initrd", m.Kernel.initrd,
		"-append", strings.Join(append([]string{"console=ttyS0 quiet panic=-1 mitigations=off psi=1"}, m.Words...), " "))
	cmd := exec.CommandContext(ctx, m.Accelerator.with.program, append(append(args, m.Accelerator.args...), more...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 2 * time.Second
	return cmd
}

// Start boots the machine. What the guest writes to the virtio port [job.Port] can be read
// from the pipe, to its end when the machine's. The machine ends when ctx is cancelled, or
// when the calling thread does: lock it.
func (m Machine) Start(ctx context.Context) (*exec.Cmd, io.ReadCloser, error) {
	cmd := m.Command(ctx)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	cmd.Stderr = os.Stderr
	return cmd, out, cmd.Start()
}

// Command prepares the machine: its standard output is what the guest writes to the virtio
// port [job.Port]. more are further arguments of QEMU's.
func (m Machine) Command(ctx context.Context, more ...string) *exec.Cmd {
	m.Words = append([]string{"berth.fs=" + m.FS, "berth.init=" + m.Init}, m.Words...)
	if m.Init == "systemd" {
		m.Words = append(m.Words, "systemd.unified_cgroup_hierarchy="+zeroOne(m.Cgroup == "v2"), "systemd.legacy_systemd_cgroup_controller="+zeroOne(m.Cgroup == "v1"))
	}
	args := append(disks(m.Root, m.Kernel.modules, m.Work, m.Data),
		"-device", "virtio-serial-pci", "-chardev", "file,id=report,path=/dev/stdout", "-device", "virtserialport,chardev=report,name="+job.Port,
		"-serial", "file:"+m.Console)
	return m.qemu(ctx, append(args, more...)...)
}

// disks are in the order in which the boot script expects them. Only the last is kept
// as the guest leaves it.
func disks(images ...string) (args []string) {
	for i, image := range images {
		snapshot := "on"
		if i == len(images)-1 {
			snapshot = "off"
		}
		args = append(args, "-drive", fmt.Sprintf("if=none,id=d%d,format=raw,cache=unsafe,snapshot=%s,file=%s", i, snapshot, image),
			"-device", fmt.Sprintf("virtio-blk-pci,drive=d%d", i))
	}
	return args
}

func zeroOne(b bool) string {
	if b {
		return "1"
	}
	return "0"
}
