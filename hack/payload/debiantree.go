package main

// debFile is one file taken from a Debian package. Paths are without the leading
// slash and as on a merged-usr system; a package may still have it in /bin or /sbin.
type debFile struct {
	pkg, from string
	to        string // below rootfs; as from when empty
}

// debFiles are the programs of the engine's root file system that are not Go. The
// libraries and the loader that they and dockerd need are found by reading the ELF
// files. A * stands for any file name.
var debFiles = []debFile{
	// The static one: the dynamic one cannot start in a container without its libraries.
	{pkg: "tini", from: "usr/bin/tini-static", to: "usr/bin/docker-init"},

	// dockerd links libnftables; the program is for people, and for a dockerd without.
	{pkg: "nftables", from: "usr/sbin/nft"},
	{pkg: "iptables", from: "usr/sbin/xtables-nft-multi"},
	{pkg: "iptables", from: "usr/sbin/xtables-legacy-multi"},
	{pkg: "iptables", from: "usr/lib/{triplet}/xtables/*"},

	{pkg: "xz-utils", from: "usr/bin/xz"}, // layers packed with xz
	{pkg: "pigz", from: "usr/bin/pigz"},   // containerd unpacks gzip layers with unpigz when it is there
	{pkg: "procps", from: "usr/bin/ps"},   // docker top

	// What BuildKit's git contexts run; git-submodule is a shell script.
	{pkg: "git", from: "usr/bin/git"},
	{pkg: "git", from: "usr/lib/git-core/git-remote-http"},
	{pkg: "git", from: "usr/lib/git-core/git-submodule"},
	{pkg: "git", from: "usr/lib/git-core/git-sh-setup"},
	{pkg: "git", from: "usr/lib/git-core/git-sh-i18n"},
	{pkg: "git", from: "usr/lib/git-core/git-sh-i18n--envsubst"},
	{pkg: "git", from: "usr/share/git-core/templates/description"},
	{pkg: "git", from: "usr/share/git-core/templates/info/exclude"},

	{pkg: "busybox-static", from: "usr/bin/busybox"},
}

// debLinks are the links that go with them: name → target in the same directory.
var debLinks = map[string]string{
	"usr/bin/unxz":                      "xz",
	"usr/bin/xzcat":                     "xz",
	"usr/bin/unpigz":                    "pigz",
	"usr/bin/git-upload-pack":           "git",
	"usr/bin/git-receive-pack":          "git",
	"usr/lib/git-core/git":              "../../bin/git",
	"usr/lib/git-core/git-remote-https": "git-remote-http",
	"usr/sbin/iptables":                 "xtables-nft-multi",
	"usr/sbin/iptables-save":            "xtables-nft-multi",
	"usr/sbin/iptables-restore":         "xtables-nft-multi",
	"usr/sbin/iptables-nft":             "xtables-nft-multi",
	"usr/sbin/iptables-nft-save":        "xtables-nft-multi",
	"usr/sbin/iptables-nft-restore":     "xtables-nft-multi",
	"usr/sbin/iptables-legacy":          "xtables-legacy-multi",
	"usr/sbin/iptables-legacy-save":     "xtables-legacy-multi",
	"usr/sbin/iptables-legacy-restore":  "xtables-legacy-multi",
	"usr/sbin/ip6tables":                "xtables-nft-multi",
	"usr/sbin/ip6tables-save":           "xtables-nft-multi",
	"usr/sbin/ip6tables-restore":        "xtables-nft-multi",
	"usr/sbin/ip6tables-nft":            "xtables-nft-multi",
	"usr/sbin/ip6tables-nft-save":       "xtables-nft-multi",
	"usr/sbin/ip6tables-nft-restore":    "xtables-nft-multi",
	"usr/sbin/ip6tables-legacy":         "xtables-legacy-multi",
	"usr/sbin/ip6tables-legacy-save":    "xtables-legacy-multi",
	"usr/sbin/ip6tables-legacy-restore": "xtables-legacy-multi",
}

// applets are busybox's names in usr/bin. Those of real programs above are left out,
// and those that make no sense in an engine (modprobe, halt, login …).
const applets = `[ ash awk base64 basename bc bunzip2 bzcat bzip2 cat chgrp chmod chown
chroot clear cmp cp cpio cut date dd df diff dirname dmesg du echo ed egrep env expand expr
fallocate false fgrep find fold free getopt grep groups gunzip gzip head hexdump hostname id
install ionice ip kill killall less link ln ls lsof md5sum mkdir mkfifo mknod mktemp more mount
mountpoint mv nc netstat nice nl nohup nproc nsenter nslookup od paste patch pgrep pidof ping
ping6 pivot_root pkill printenv printf pwd readlink realpath renice rev rm rmdir route sed seq
setpriv setsid sh sha1sum sha256sum sha512sum shred shuf sleep sort split stat strings stty sum
sync sysctl tac tail tar taskset tee telnet test time timeout top touch tr traceroute true
truncate tty umount uname unexpand uniq unlink unshare unzip uptime usleep vi watch wc wget which
who whoami xargs xxd yes zcat ifconfig losetup`

// caBundle is where the engine finds the certificate authorities that Debian trusts.
// The engine's /etc is a tmpfs, so it cannot be at its usual place.
const caBundle = "usr/share/berth/etc/ssl/certs/ca-certificates.crt"

// debianRoots are the packages downloaded by name; libraries follow.
var debianRoots = []string{
	"tini", "nftables", "iptables", "xz-utils", "pigz", "procps", "git", "busybox-static", "ca-certificates", "libc6", "zlib1g",
}
