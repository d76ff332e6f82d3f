package machine

import (
	"regexp"
	"strings"

	"github.com/berth-dev/berth/test/vm/job"
)

// Base is a small Debian that boots with either init: busybox, which calls the guest of
// the work disk to boot and then to run its job, or systemd, which has a service for the
// job. Nothing is typed at it.
func Base() Root {
	return Root{Packages: basePackages, Without: notInBase, Files: baseFiles, Links: baseLinks, Dirs: baseDirs, RoomMiB: 128}
}

var basePackages = []string{
	"base-files", "bash", "dash", "coreutils", "util-linux", "mount", "login", "findutils", "grep", "sed", "mawk", "tar", "gzip", "hostname",
	"procps", "kmod", "nftables", "iproute2", "iptables", "e2fsprogs", "xfsprogs", "btrfs-progs", "busybox-static", "ca-certificates", "tzdata",
	"systemd", "systemd-resolved", "dbus", "udev",
}

// NotNeeded matches dependencies that only installing needs. [Base] has no Python either.
const NotNeeded = `^(lib)?perl|-perl$|^usrmerge$|^initramfs-tools|^klibc|^libklibc|^libicu|^debconf|^openssl$|^adduser$|^cpio$|^linux-base$|^dpkg$|^gcc-`

var notInBase = regexp.MustCompile(NotNeeded + `|^(lib)?python3`)

// baseFiles are what the packages' installation scripts, or an administrator, would write.
var baseFiles = map[string]string{
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

var baseLinks = map[string]string{
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

var baseDirs = []string{
	"usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "usr/lib/modules", "etc/systemd/system/multi-user.target.wants", strings.TrimPrefix(job.Dir, "/"),
	"proc", "sys", "dev", "run", "tmp", "root", "mnt", "var/tmp", "var/lib", "var/log",
}
