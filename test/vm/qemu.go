package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/berth-dev/berth/test/vm/job"
)

// trialLimit is how long a boot to the first process may take with KVM. A /dev/kvm that
// exists and does not work hangs for ever; one that works takes a second.
const trialLimit = 6 * time.Second

// accelerator is how the guest's processors are made.
type accelerator struct {
	name  string
	args  []string
	scale int // how much longer than on a machine things may take
}

var (
	kvm = accelerator{"kvm", []string{"-accel", "kvm", "-cpu", "host"}, 1}
	tcg = accelerator{"tcg", []string{"-accel", "tcg,thread=multi,tb-size=512", "-cpu", "Nehalem-v1"}, 8}
)

// chooseAccelerator takes KVM only if a kernel boots with it.
func chooseAccelerator(ctx context.Context, s settings, k kernel) accelerator {
	if s.Accel == "tcg" {
		return tcg
	}
	if device, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err != nil {
		if s.Accel != "kvm" {
			return tcg
		}
	} else {
		device.Close()
	}
	trial, cancel := context.WithTimeout(ctx, trialLimit)
	defer cancel()
	cmd := qemu(trial, kvm, 512, k, "probe", "-serial", "stdio")
	out, err := cmd.Output()
	if err == nil && strings.Contains(string(out), probeAnswer) || s.Accel == "kvm" {
		return kvm
	}
	say("/dev/kvm is there and boots nothing within %v; using TCG", trialLimit)
	return tcg
}

// qemu prepares a machine. It ends when ctx is cancelled or this thread dies.
func qemu(ctx context.Context, a accelerator, mib int, k kernel, kernelArgs string, more ...string) *exec.Cmd {
	args := []string{"-n", "10", "qemu-system-x86_64", "-machine", "q35", "-smp", "2", "-m", fmt.Sprint(mib),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", k.image, "-initrd", k.initrd, "-append", "console=ttyS0 quiet panic=-1 mitigations=off " + kernelArgs}
	cmd := exec.CommandContext(ctx, "nice", append(append(args, a.args...), more...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 2 * time.Second
	return cmd
}

// disks are in the order in which the boot script expects them. Only the last is kept
// as the guest leaves it, and removed after the run.
func disks(images ...string) (args []string) {
	for i, image := range images {
		args = append(args, "-drive", fmt.Sprintf("if=none,id=d%d,format=raw,cache=unsafe,snapshot=%s,file=%s", i, onOff(i < len(images)-1), image),
			"-device", fmt.Sprintf("virtio-blk-pci,drive=d%d", i))
	}
	return args
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

// start boots the machine; what the guest reports can be read from the pipe.
func start(ctx context.Context, s settings, a accelerator, k kernel, console string, images ...string) (*exec.Cmd, io.ReadCloser, error) {
	words := []string{"berth.fs=" + s.FS, "berth.init=" + s.Init}
	if !s.IPv6 {
		words = append(words, "ipv6.disable=1")
	}
	if s.Init == "systemd" {
		words = append(words, "systemd.unified_cgroup_hierarchy="+zeroOne(s.Cgroup == "v2"), "systemd.legacy_systemd_cgroup_controller="+zeroOne(s.Cgroup == "v1"))
	}
	args := append(disks(images...),
		"-device", "virtio-serial-pci", "-chardev", "file,id=report,path=/dev/stdout", "-device", "virtserialport,chardev=report,name="+job.Port,
		"-serial", "file:"+console)
	cmd := qemu(ctx, a, s.MiB, k, strings.Join(words, " "), args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	cmd.Stderr = os.Stderr
	return cmd, out, cmd.Start()
}

func zeroOne(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// ended says why a machine that is gone gave no full report.
func ended(ctx context.Context, s settings, err error, console string) error {
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return fmt.Errorf("the machine ran longer than LIMIT=%v; its console: %s", s.Limit, console)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("the machine ended before all tests had (%v); its console: %s", err, console)
}
