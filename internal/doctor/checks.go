package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/docker/go-units"
	"golang.org/x/sys/unix"
)

// oldest is the first kernel with all that engines need: idmapped mounts (5.12), and
// overlayfs mounted in a user namespace (5.11).
var oldest = [2]int{5, 12}

// needed are the capabilities without which an engine cannot be made.
var needed = []struct {
	bit  uint
	name string
}{
	{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN"},
	{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"},
	{unix.CAP_CHOWN, "CAP_CHOWN"},
	{unix.CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE"},
	{unix.CAP_SETUID, "CAP_SETUID"},
	{unix.CAP_SETGID, "CAP_SETGID"},
	{unix.CAP_KILL, "CAP_KILL"},
	{unix.CAP_MKNOD, "CAP_MKNOD"},
}

func checkRoot(f Facts) (Status, string, string) {
	if f.UID != 0 {
		return Fail, fmt.Sprintf("user %d is not root", f.UID), "use `sudo berth …`"
	}
	var missing []string
	for _, c := range needed {
		if f.Capabilities&(1<<c.bit) == 0 {
			missing = append(missing, c.name)
		}
	}
	if len(missing) > 0 {
		return Fail, "root without " + strings.Join(missing, ", "), "give the container or service that berth runs in these capabilities"
	}
	return OK, "root with all capabilities an engine needs", ""
}

func checkKernel(f Facts) (Status, string, string) {
	var major, minor int
	if _, err := fmt.Sscanf(f.Kernel, "%d.%d", &major, &minor); err != nil {
		return Warn, fmt.Sprintf("Linux %q: version not understood", f.Kernel), fmt.Sprintf("make sure that it is %d.%d or later", oldest[0], oldest[1])
	}
	if slices.Compare([]int{major, minor}, oldest[:]) < 0 {
		return Fail, fmt.Sprintf("Linux %s is too old", f.Kernel), fmt.Sprintf("upgrade to Linux %d.%d or later", oldest[0], oldest[1])
	}
	return OK, "Linux " + f.Kernel, ""
}

func checkUserNamespaces(f Facts) (Status, string, string) {
	switch {
	case f.NoUserNS:
		return Fail, "this kernel has none", "use a kernel with CONFIG_USER_NS=y"
	case f.MaxUserNS == 0:
		return Fail, "switched off", "sysctl -w user.max_user_namespaces=15000"
	case f.MaxUserNS > 0 && f.MaxUserNS < 64:
		return Warn, fmt.Sprintf("at most %d, one an engine", f.MaxUserNS), "sysctl -w user.max_user_namespaces=15000"
	}
	return OK, "available", ""
}

func checkOverlay(f Facts) (Status, string, string) {
	switch {
	case f.Overlay:
		return OK, "available", ""
	case f.OverlayModule:
		return OK, "a module that is loaded when needed", ""
	}
	return Fail, "this kernel has none", "modprobe overlay, or use a kernel with CONFIG_OVERLAY_FS"
}

func checkCgroups(f Facts) (Status, string, string) {
	if len(f.CgroupMissing) > 0 {
		return Fail, fmt.Sprintf("%s without controllers %s", f.CgroupVersion, strings.Join(f.CgroupMissing, ", ")),
			"enable them: a kernel parameter such as cgroup_enable=memory, or the delegation of the service or container berth runs in"
	}
	return OK, f.CgroupVersion + " with all controllers", ""
}

func checkIDMap(f Facts) (Status, string, string) {
	if f.IDMap != nil {
		return Warn, fmt.Sprintf("not on the file system of %s: %v", f.StateDir, f.IDMap),
			"sharing directories of that file system fails; use ext4, xfs, btrfs or tmpfs (Linux 6.3)"
	}
	return OK, "work on the file system of " + f.StateDir, ""
}

func checkPayload(f Facts) (Status, string, string) {
	if f.PayloadErr != nil {
		return Fail, f.PayloadErr.Error(), "build berth with `make build`, or install a release"
	}
	return OK, f.Payload, ""
}

// Free space in bytes.
const (
	unpackNeeds = 512 * units.MiB // the payload and room to start
	leastDisk   = 64 * units.MiB
	littleDisk  = 2 * units.GiB
)

func checkDisk(f Facts) (Status, string, string) {
	detail := fmt.Sprintf("%s free for %s", units.BytesSize(float64(f.DiskFree)), f.StateDir)
	remedy := "free some space, or point BERTH_STATE_DIR to a larger file system"
	switch {
	case f.DiskFree < leastDisk, !f.Unpacked && f.DiskFree < unpackNeeds:
		return Fail, detail, remedy
	case f.DiskFree < littleDisk:
		return Warn, detail, remedy
	}
	return OK, detail, ""
}

// wantSubIDs is how many ids a container may use.
const wantSubIDs = 65536

func checkSubIDs(f Facts) (Status, string, string) {
	if f.SubIDs < wantSubIDs {
		return OK, fmt.Sprintf("%s has none; files that containers give to other users are owned by a reserved range", f.User), ""
	}
	return OK, fmt.Sprintf("%s has %d", f.User, f.SubIDs), ""
}

// wantOpenFiles is what dockerd and a few dozen containers get along with.
const wantOpenFiles = 4096

func checkOpenFiles(f Facts) (Status, string, string) {
	detail := fmt.Sprintf("at most %d a process", f.OpenFiles)
	if f.OpenFiles < wantOpenFiles {
		return Warn, detail, fmt.Sprintf("raise the hard limit (ulimit -Hn) to %d or more", wantOpenFiles)
	}
	return OK, detail, ""
}

func checkSysResource(f Facts) (Status, string, string) {
	if f.Capabilities&(1<<unix.CAP_SYS_RESOURCE) == 0 {
		return Warn, "not there: limits cannot be raised, nor OOM scores lowered, for containers", "needed only for `docker run --ulimit` above this process's own limits"
	}
	return OK, "there", ""
}

func checkFuse(f Facts) (Status, string, string) {
	if !f.Fuse {
		return Warn, "not there: containers cannot use FUSE file systems", "modprobe fuse"
	}
	return OK, "there", ""
}

func checkTun(f Facts) (Status, string, string) {
	if !f.Tun {
		return Warn, "not there: containers cannot make tunnels", "modprobe tun"
	}
	return OK, "there", ""
}

func checkDNS(f Facts) (Status, string, string) {
	switch {
	case len(f.Resolvers) == 0:
		return Warn, "/etc/resolv.conf names no server", "names cannot be resolved in engines until it does"
	case slices.ContainsFunc(f.Resolvers, loopback):
		return OK, strings.Join(f.Resolvers, ", ") + ": on this machine only; berth forwards to it", ""
	}
	return OK, strings.Join(f.Resolvers, ", "), ""
}
