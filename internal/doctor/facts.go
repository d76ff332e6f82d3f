package doctor

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/cgroup"
	"github.com/berth-dev/berth/internal/linux"
)

// Unknown stands for a number that the machine does not tell.
const Unknown = -1

// Facts are what the checks judge.
type Facts struct {
	UID           int
	Capabilities  uint64 // effective set, as a bit mask (capabilities(7))
	Kernel        string // release, as uname -r
	MaxUserNS     int64  // user.max_user_namespaces, or Unknown
	NoUserNS      bool   // the kernel has been built without user namespaces
	Overlay       bool   // overlayfs is in the kernel
	OverlayModule bool   // it is a module that the kernel can load
	CgroupVersion string
	CgroupMissing []string // controllers that limits need

	// The rest is gathered for `berth doctor` only.

	IDMap      error  // why an idmapped mount of the state directory fails
	StateDir   string // an existing directory: the state directory or its closest parent
	DiskFree   uint64
	Payload    string // what is known of the payload
	PayloadErr error
	Unpacked   bool // the payload is on disk
	User       string
	SubIDs     int64 // size of the user's subordinate range; 0 without one
	OpenFiles  uint64
	Fuse, Tun  bool
	Resolvers  []string // name servers of /etc/resolv.conf
	Network    []Result // what the network's own probes found
}

// Cheap gathers what [Preflight] judges: a few small files, in well under a millisecond.
func Cheap() Facts {
	f := Facts{UID: os.Geteuid(), CgroupVersion: cgroup.Version(), CgroupMissing: cgroup.Missing()}
	f.Capabilities = effective()
	f.Kernel = release()
	f.MaxUserNS, f.NoUserNS = userNamespaces()
	f.Overlay = listed("/proc/filesystems", "overlay")
	if !f.Overlay {
		f.OverlayModule = module(f.Kernel, "overlay")
	}
	return f
}

// Sources are what [Gather] is told by its caller.
type Sources struct {
	StateDir string
	User     string // name or number of the user engines are for
	// Payload describes the payload, unpacked or not.
	Payload func(context.Context) (about string, unpacked bool, err error)
	// Network runs the network's own probes.
	Network func(context.Context) []Result
}

// Gather gathers everything. Nothing it tries stays on the machine.
func Gather(ctx context.Context, s Sources) Facts {
	f := Cheap()
	f.User = s.User
	f.StateDir = existing(s.StateDir)
	if f.UID == 0 && !f.NoUserNS {
		f.IDMap = linux.TryIDMap(f.StateDir)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(f.StateDir, &fs); err == nil {
		f.DiskFree = fs.Bavail * uint64(fs.Bsize)
	}
	f.Payload, f.Unpacked, f.PayloadErr = s.Payload(ctx)
	f.SubIDs = subIDs(s.User)
	f.OpenFiles = openFiles()
	f.Fuse, f.Tun = exists("/dev/fuse"), exists("/dev/net/tun")
	f.Resolvers = resolvers("/etc/resolv.conf")
	if f.UID == 0 && s.Network != nil {
		f.Network = s.Network(ctx)
	}
	return f
}

// effective reads this process's effective capabilities (proc_pid_status(5), CapEff).
func effective() uint64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(status) {
		if value, ok := bytes.CutPrefix(line, []byte("CapEff:")); ok {
			n, _ := strconv.ParseUint(string(bytes.TrimSpace(value)), 16, 64)
			return n
		}
	}
	return 0
}

func release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

func userNamespaces() (limit int64, none bool) {
	if !exists("/proc/self/ns/user") {
		return Unknown, true
	}
	value, err := os.ReadFile("/proc/sys/user/max_user_namespaces")
	if err != nil {
		return Unknown, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(value)), 10, 64)
	if err != nil {
		return Unknown, false
	}
	return n, false
}

// listed tells whether a word ends a line of a file, as in /proc/filesystems.
func listed(file, word string) bool {
	data, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[len(fields)-1] == word {
			return true
		}
	}
	return false
}

// module tells whether the kernel can load a module by itself (modules.dep(5)).
func module(kernel, name string) bool {
	for _, root := range []string{"/lib/modules", "/usr/lib/modules"} {
		data, err := os.ReadFile(root + "/" + kernel + "/modules.dep")
		if err == nil && bytes.Contains(data, []byte("/"+name+".ko")) {
			return true
		}
	}
	return false
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
