package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/berth-dev/berth/test/vm/job"
)

// rootPackages are what the tests, and a host with either init, need.
var rootPackages = []string{
	"base-files", "bash", "dash", "coreutils", "util-linux", "mount", "login", "findutils", "grep", "sed", "mawk", "tar", "gzip", "hostname",
	"procps", "kmod", "nftables", "iproute2", "iptables", "e2fsprogs", "xfsprogs", "btrfs-progs", "busybox-static", "ca-certificates", "tzdata",
	"systemd", "systemd-resolved", "dbus", "udev",
}

// dockerPackages are Debian's docker.io, for a host that has Docker. They are unpacked
// apart, where the tests look for them.
var dockerPackages = []string{"docker.io", "containerd", "runc", "tini", "libdevmapper1.02.1"}

// notNeeded are dependencies that only installing needs.
var notNeeded = regexp.MustCompile(`^(lib)?perl|-perl$|^(lib)?python3|^usrmerge$|^initramfs-tools|^klibc|^libklibc|^libicu|^debconf|^openssl$|^adduser$|^cpio$|^linux-base$|^dpkg$|^gcc-`)

const dockerDir = "/usr/lib/berth-vm/docker.io"

// rootFiles are what the packages' installation scripts, or an administrator, would write.
var rootFiles = map[string]string{
	"etc/hostname":   "berth-vm\n",
	"etc/hosts":      "127.0.0.1 localhost\n::1 localhost\n",
	"etc/machine-id": "4711deadbeef4711deadbeef4711beef\n",
	"etc/fstab":      "",
	"etc/subuid":     "",
	"etc/subgid":     "",
	"etc/passwd": "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n" +
		"messagebus:x:100:100::/nonexistent:/usr/sbin/nologin\n",
	"etc/group":       "root:x:0:\ntty:x:5:\ndisk:x:6:\nkmem:x:15:\nnogroup:x:65534:\nmessagebus:x:100:\n",
	"etc/inittab":     "::sysinit:" + job.Dir + job.Guest + " boot\n::once:" + job.Dir + job.Guest + " tests\n::ctrlaltdel:/bin/busybox poweroff -f\n",
	"etc/resolv.conf": "nameserver 127.0.0.1\n",
	// With systemd the tests are a service, as a CI runner would be.
	"etc/systemd/system/berth-vm.service": "[Unit]\nDescription=Berth's tests\nAfter=multi-user.target\n\n[Service]\nType=exec\nExecStart=" + job.Dir + job.Guest +
		" tests\nDelegate=yes\nTasksMax=infinity\nLimitNOFILE=524288\nKillMode=mixed\n\n[Install]\nWantedBy=default.target\n",
}

var rootLinks = map[string]string{
	"usr/bin/sh":                        "dash",
	"usr/bin/awk":                       "mawk",
	"usr/sbin/iptables":                 "xtables-nft-multi",
	"usr/sbin/iptables-save":            "xtables-nft-multi",
	"usr/sbin/iptables-restore":         "xtables-nft-multi",
	"usr/sbin/ip6tables":                "xtables-nft-multi",
	"usr/sbin/ip6tables-save":           "xtables-nft-multi",
	"usr/sbin/ip6tables-restore":        "xtables-nft-multi",
	"usr/lib/berth-vm/init":             "/usr/bin/busybox",
	"etc/mtab":                          "../proc/self/mounts",
	"etc/systemd/system/default.target": "/usr/lib/systemd/system/multi-user.target",
	"etc/systemd/system/multi-user.target.wants/berth-vm.service": "../berth-vm.service",
	// Nothing is typed at this machine.
	"etc/systemd/system/serial-getty@ttyS0.service":  "/dev/null",
	"etc/systemd/system/getty.target":                "/dev/null",
	"etc/systemd/system/e2scrub_reap.service":        "/dev/null",
	"etc/systemd/system/systemd-update-utmp.service": "/dev/null",
}

var rootDirs = []string{
	"usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "usr/lib/modules", "etc/systemd/system/multi-user.target.wants", strings.TrimPrefix(job.Dir, "/"),
	"proc", "sys", "dev", "run", "tmp", "root", "mnt", "var/tmp", "var/lib", "var/log", "usr/lib/berth-vm/docker.io",
}

// makeRoot makes the image of the root file system, once for each set of package versions.
func makeRoot(ctx context.Context, s settings) (image string, err error) {
	debs, err := withDependencies(ctx, rootPackages, notNeeded)
	if err != nil {
		return "", err
	}
	docker, err := withDependencies(ctx, dockerPackages, notNeeded)
	if err != nil {
		return "", err
	}
	docker = slices.DeleteFunc(docker, func(d deb) bool { return !slices.Contains(dockerPackages, d.name) })
	image = filepath.Join(s.Cache, "root-"+content(append(slices.Clone(debs), docker...), fmt.Sprint(rootFiles, rootLinks, rootDirs))+".img")
	if _, err := os.Stat(image); err == nil {
		return image, nil
	}
	say("making the root file system from %d Debian packages", len(debs)+len(docker))
	if err := download(ctx, s.debs(), append(slices.Clone(debs), docker...)); err != nil {
		return "", err
	}
	tree := image + ".tree"
	defer os.RemoveAll(tree)
	if err := os.RemoveAll(tree); err != nil {
		return "", err
	}
	if err := layOut(tree); err != nil {
		return "", err
	}
	if err := unpack(ctx, s.debs(), tree, debs); err != nil {
		return "", err
	}
	if err := unpack(ctx, s.debs(), filepath.Join(tree, dockerDir), docker); err != nil {
		return "", err
	}
	if err := configure(tree); err != nil {
		return "", err
	}
	if err := makeImage(ctx, image+".new", tree, 128); err != nil {
		return "", err
	}
	return image, os.Rename(image+".new", image)
}

// layOut makes the directories, with a merged /usr as Debian has it.
func layOut(tree string) error {
	for _, dir := range rootDirs {
		if err := os.MkdirAll(filepath.Join(tree, dir), 0o755); err != nil {
			return err
		}
	}
	for _, name := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.Symlink("usr/"+name, filepath.Join(tree, name)); err != nil {
			return err
		}
	}
	return nil
}

func configure(tree string) error {
	for _, name := range slices.Sorted(maps.Keys(rootFiles)) {
		path := filepath.Join(tree, name)
		os.Remove(path) // may be a link that leads out of the tree
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(rootFiles[name]), 0o644)); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(rootLinks)) {
		path := filepath.Join(tree, name)
		os.Remove(path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink(rootLinks[name], path)); err != nil {
			return err
		}
	}
	for dir, mode := range map[string]os.FileMode{"tmp": 0o777 | os.ModeSticky, "var/tmp": 0o777 | os.ModeSticky, "root": 0o700} {
		if err := os.Chmod(filepath.Join(tree, dir), mode); err != nil {
			return err
		}
	}
	return nil
}

// staticBusybox returns the path of Debian's.
func staticBusybox(ctx context.Context, s settings) (string, error) {
	debs, err := withDependencies(ctx, []string{"busybox-static"}, nil)
	if err != nil {
		return "", err
	}
	debs = slices.DeleteFunc(debs, func(d deb) bool { return d.name != "busybox-static" })
	dir := filepath.Join(s.Cache, "busybox-"+content(debs, ""))
	found := filepath.Join(dir, "bin/busybox")
	if _, err := os.Stat(found); err == nil {
		return found, nil
	}
	if err := download(ctx, s.debs(), debs); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return found, unpack(ctx, s.debs(), dir, debs)
}
