package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/berth-dev/berth/test/vm/job"
)

// kernel is a Debian kernel made ready to boot.
type kernel struct {
	image   string // vmlinuz
	modules string // ext4 image of /usr/lib/modules
	initrd  string // loads what the disks need, and goes on from there
}

// bootModules are needed before the disks are seen; those that a kernel has built in are
// not among its modules and are left out.
var bootModules = []string{"virtio_pci", "virtio_blk", "virtio_console", "ext4", "crc32c_generic", "crc32c-intel"}

// bootScript is process 1 until the root file system is mounted. The word probe on the
// kernel's command line has it say so and stop.
const bootScript = `#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
if grep -qw probe /proc/cmdline; then echo ` + probeAnswer + `; poweroff -f; fi
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read module; do insmod /modules/$module; done </modules/order
fail() { echo "initramfs: $*"; /bin/busybox poweroff -f; }
# The disks are probed in the background.
for n in 1 2 3 4 5 6 7 8 9 10; do [ -b /dev/vdd ] && break; sleep 1; done
mount -t ext4 /dev/vda /root || fail "no root disk"
mount -t ext4 -o ro /dev/vdb /root/usr/lib/modules || fail "no disk of modules"
mount -t ext4 -o ro /dev/vdc /root` + job.Dir + ` || fail "no work disk"
for fs in proc sys dev; do mount -o move /$fs /root/$fs; done
for word in $(cat /root/proc/cmdline); do
	case $word in berth.fs=*) fs=${word#*=} ;; berth.init=*) init=${word#*=} ;; esac
done
chroot /root /usr/sbin/modprobe $fs || [ $fs = ext4 ] || fail "no $fs"
# Room for data roots; the system's own /var goes with it.
case $fs in ext4) flags="-q -F -E lazy_itable_init=1,lazy_journal_init=1";; *) flags="-q -f";; esac
chroot /root /usr/sbin/mkfs.$fs $flags /dev/vdd || fail "mkfs.$fs"
mkdir /var
mount -t $fs /root/dev/vdd /var || fail "mount $fs"
cp -a /root/var/. /var/
mount -o move /var /root/var
case $init in
systemd) exec switch_root /root /usr/lib/systemd/systemd ;;
*) exec switch_root /root /usr/lib/berth-vm/init ;;
esac
fail "no $init in the root file system"
`

const probeAnswer = "berth-vm-probe-ok"

// makeKernel makes the kernel ready, once for each version.
func makeKernel(ctx context.Context, s settings) (kernel, error) {
	d, err := kernelPackage(ctx, s.Kernel)
	if err != nil {
		return kernel{}, err
	}
	busybox, err := staticBusybox(ctx, s)
	if err != nil {
		return kernel{}, err
	}
	dir := filepath.Join(s.Cache, "kernel-"+content([]deb{d}, bootScript+strings.Join(bootModules, " ")))
	k := kernel{filepath.Join(dir, "vmlinuz"), filepath.Join(dir, "modules.img"), filepath.Join(dir, "initrd")}
	if _, err := os.Stat(k.initrd); err == nil {
		return k, nil
	}
	say("preparing kernel %s %s", d.name, d.version)
	if err := download(ctx, s.debs(), []deb{d}); err != nil {
		return k, err
	}
	tree := dir + ".tree"
	defer os.RemoveAll(tree)
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755), os.MkdirAll(tree, 0o755)); err != nil {
		return k, err
	}
	if err := unpack(ctx, s.debs(), tree, []deb{d}); err != nil {
		return k, err
	}
	return k, buildKernel(ctx, k, tree, busybox)
}

func buildKernel(ctx context.Context, k kernel, tree, busybox string) error {
	images, _ := filepath.Glob(filepath.Join(tree, "boot/vmlinuz-*"))
	if len(images) != 1 {
		return fmt.Errorf("the kernel's package has %d kernels", len(images))
	}
	if err := os.Rename(images[0], k.image); err != nil {
		return err
	}
	release := strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")
	if _, err := command(ctx, "", "depmod", "-b", tree, release); err != nil {
		return err
	}
	lib := filepath.Join(tree, "lib/modules")
	if err := makeImage(ctx, k.modules, lib, 32); err != nil {
		return err
	}
	return writeInitrd(k.initrd, filepath.Join(lib, release), busybox)
}

// kernelPackage follows a package to the kernel image that it depends on.
func kernelPackage(ctx context.Context, name string) (deb, error) {
	debs, err := withDependencies(ctx, []string{name}, nil)
	if err != nil {
		return deb{}, err
	}
	for _, d := range debs {
		// linux-image-6.1.0-1-amd64 is an image, linux-image-amd64 the latest of its kind.
		if rest, ok := strings.CutPrefix(d.name, "linux-image-"); ok && strings.ContainsAny(rest[:1], "0123456789") {
			return d, nil
		}
	}
	return deb{}, fmt.Errorf("KERNEL=%s leads to no package linux-image-VERSION", name)
}

func writeInitrd(path, modules, busybox string) error {
	order, err := loadOrder(modules)
	if err != nil {
		return err
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	a := &archive{w: z}
	for _, dir := range []string{"bin", "dev", "proc", "sys", "root", "modules"} {
		a.dir(dir)
	}
	a.file("bin/busybox", program)
	a.file("init", []byte(bootScript))
	var names []string
	for _, file := range order {
		data, err := os.ReadFile(filepath.Join(modules, file))
		if err != nil {
			return err
		}
		a.file("modules/"+filepath.Base(file), data)
		names = append(names, filepath.Base(file)+"\n")
	}
	a.file("modules/order", []byte(strings.Join(names, "")))
	if err := errors.Join(a.close(), z.Close()); err != nil {
		return err
	}
	return os.WriteFile(path, buf.Bytes(), 0o644) // last: its presence says that all is there
}

// loadOrder lists the boot modules' files with what they depend on, in the order of
// loading, from what depmod(8) found out.
func loadOrder(modules string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(modules, "modules.dep"))
	if err != nil {
		return nil, err
	}
	depends, byName := map[string][]string{}, map[string]string{}
	for line := range strings.Lines(string(text)) {
		file, rest, ok := strings.Cut(strings.TrimSpace(line), ":")
		if ok {
			depends[file] = strings.Fields(rest)
			name, _, _ := strings.Cut(filepath.Base(file), ".")
			byName[name] = file
		}
	}
	var out []string
	seen := map[string]bool{}
	var add func(file string)
	add = func(file string) {
		if seen[file] {
			return
		}
		seen[file] = true
		for _, d := range depends[file] {
			add(d)
		}
		out = append(out, file)
	}
	for _, name := range bootModules {
		if file, ok := byName[name]; ok {
			add(file)
		}
	}
	return out, nil
}

func (s settings) debs() string { return filepath.Join(s.Cache, "debs") }
