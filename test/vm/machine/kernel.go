package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Kernel is a Debian kernel made ready to boot.
type Kernel struct {
	Release string // such as 6.1.0-40-cloud-amd64
	image   string // vmlinuz
	modules string // ext4 image of /usr/lib/modules
	initrd  string // loads what the disks need, and goes on from there
}

// Kernel makes a kernel ready, once for each version. The name is that of a package that
// is, or depends on, a kernel image, such as linux-image-cloud-amd64. As for apt, a
// release may follow a slash: linux-image-cloud-amd64/bookworm-backports, or just /backports
// for those of the machine's own release.
func (s Store) Kernel(ctx context.Context, name string) (Kernel, error) {
	name, release, _ := strings.Cut(name, "/")
	a, err := s.archive(ctx, release)
	if err != nil {
		return Kernel{}, err
	}
	d, err := a.kernel(ctx, name)
	if err != nil {
		return Kernel{}, err
	}
	busybox, err := s.busybox(ctx)
	if err != nil {
		return Kernel{}, err
	}
	dir := filepath.Join(s.Dir, "kernel-"+content([]deb{d}, bootScript+strings.Join(bootModules, " ")))
	k := Kernel{strings.TrimPrefix(d.name, "linux-image-"), filepath.Join(dir, "vmlinuz"), filepath.Join(dir, "modules.img"), filepath.Join(dir, "initrd")}
	if _, err := os.Stat(k.initrd); err == nil {
		return k, nil
	}
	s.say("preparing kernel %s %s", d.name, d.version)
	if err := a.download(ctx, []deb{d}); err != nil {
		return k, err
	}
	tree := dir + ".tree"
	defer os.RemoveAll(tree)
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755), os.RemoveAll(tree), os.MkdirAll(tree, 0o755)); err != nil {
		return k, err
	}
	if err := a.unpack(ctx, tree, []deb{d}); err != nil {
		return k, err
	}
	return k, k.build(ctx, tree, busybox)
}

func (k Kernel) build(ctx context.Context, tree, busybox string) error {
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
	if err := Image(ctx, k.modules, lib, 32); err != nil {
		return err
	}
	return writeInitrd(k.initrd, filepath.Join(lib, release), busybox)
}

// kernel follows a package to the kernel image that it depends on.
func (a archive) kernel(ctx context.Context, name string) (deb, error) {
	debs, err := a.packages(ctx, []string{name}, nil)
	if err != nil {
		return deb{}, err
	}
	for _, d := range debs {
		// linux-image-6.1.0-1-amd64 is an image, linux-image-amd64 the latest of its kind.
		if rest, ok := strings.CutPrefix(d.name, "linux-image-"); ok && strings.ContainsAny(rest[:1], "0123456789") {
			return d, nil
		}
	}
	return deb{}, fmt.Errorf("%s leads to no package linux-image-VERSION", name)
}
