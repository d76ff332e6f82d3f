package machine

import (
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/berth-dev/berth/test/vm/job"
)

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
	a := &cpio{w: z}
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
