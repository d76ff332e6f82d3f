// Package bundle turns an engine's settings into an OCI runtime configuration
// (https://github.com/opencontainers/runtime-spec, config.json). It is pure: it reads and
// writes nothing, and what it needs to know of the machine is given to it.
package bundle

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// InitPath is where PID 1 is inside an engine.
const InitPath = "/usr/sbin/berth-init"

// DataPath is where the data root is inside an engine.
const DataPath = "/var/lib/docker"

// PathEnv is where programs are looked for inside an engine, as an environment variable.
const PathEnv = "PATH=/usr/bin:/usr/sbin"

// version is the oldest of the specification that has what is used here; a runtime refuses
// one that it does not know yet. (Mounts with id maps are a runtime's extension until 1.2.)
const version = "1.0.2"

// Config is all that a bundle depends on.
type Config struct {
	Hostname string
	Rootfs   string // the engine's own root directory on the host
	Usr      string // the payload's usr directory on the host
	Data     string // the data root on the host
	// DataIDs map ids on the data root's disk as Share.UIDs do; empty: it is the engine's own.
	DataIDs []specs.LinuxIDMapping
	// Recursive has binds bring what is mounted below: in a container that may be a lot, and
	// a user namespace is not allowed to leave it out (mount_namespaces(7)).
	Recursive bool

	// IDs is the id range of the engine's user namespace; nil for none (rootful).
	IDs *IDRange

	Cgroup  string // path below the root of every hierarchy
	Memory  int64  // bytes; 0 for no limit
	Swap    bool   // the kernel can limit swap
	CPUs    float64
	PIDs    int64
	Devices []string // existing host devices to offer, such as /dev/fuse
	Caps    []string // capabilities that can be had, CAP_SYS_ADMIN form
	Shares  []Share

	// Volatile says that nothing the engine writes need survive a crash of the machine:
	// requests to write through to disk are answered at once.
	Volatile bool
}

// IDRange is a run of ids that belongs to one engine.
type IDRange struct {
	First uint32 // on the host
	Size  uint32
}

// Share is a host directory or file inside the engine.
type Share struct {
	Source   string // what to mount
	Path     string // where it appears
	ReadOnly bool
	// UIDs and GIDs map ids on disk (ContainerID) to ids of the host's initial namespace
	// (HostID), as mount_setattr(2) has it. Empty: the mount is not idmapped.
	UIDs, GIDs []specs.LinuxIDMapping
}

// Spec returns the OCI configuration of the engine that c describes.
func Spec(c Config) *specs.Spec {
	s := &specs.Spec{
		Version:  version,
		Hostname: c.Hostname,
		Root:     &specs.Root{Path: c.Rootfs, Readonly: true},
		Process:  process(c),
		Mounts:   append(mounts(c), shares(c)...),
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace}, {Type: specs.MountNamespace}, {Type: specs.CgroupNamespace},
			},
			CgroupsPath: c.Cgroup,
			Resources:   resources(c),
			Devices:     devices(c),
			// Nothing of /proc is masked: the kernel lets a nested container mount its own
			// proc only when the outer one is seen whole (mount_namespaces(7)). What is not
			// the engine's there is guarded by the user namespace.
			MaskedPaths: []string{}, ReadonlyPaths: []string{},
		},
	}
	if c.Volatile {
		s.Linux.Seccomp = ignoreSync()
	}
	if c.IDs != nil {
		m := []specs.LinuxIDMapping{{ContainerID: 0, HostID: c.IDs.First, Size: c.IDs.Size}}
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		s.Linux.UIDMappings, s.Linux.GIDMappings = m, m
	}
	return s
}

// ignoreSync lets the calls that wait for the disk succeed without doing anything, which
// halves dockerd's start and speeds up databases in containers; systemd-nspawn(1) has the
// same as --suppress-sync. Everything else is allowed: what an engine may do is decided by
// its namespaces, and containers in it have Docker's own filter on top.
func ignoreSync() *specs.LinuxSeccomp {
	success := uint(0)
	return &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow,
		Syscalls: []specs.LinuxSyscall{{
			Names:  []string{"fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "msync"},
			Action: specs.ActErrno, ErrnoRet: &success,
		}},
	}
}

func process(c Config) *specs.Process {
	return &specs.Process{
		Args: []string{InitPath},
		Cwd:  "/",
		Env: []string{
			PathEnv,
			"HOME=/root",
			// Programs take it as "in a container"; containerd leaves AppArmor alone then.
			"container=oci",
		},
		Capabilities: &specs.LinuxCapabilities{Bounding: c.Caps, Effective: c.Caps, Permitted: c.Caps},
	}
}

// mounts lists the engine's own file systems, in the order in which they are made.
func mounts(c Config) []specs.Mount {
	tmpfs := func(path string, options ...string) specs.Mount {
		return specs.Mount{Destination: path, Type: "tmpfs", Source: "tmpfs", Options: append([]string{"nosuid", "nodev"}, options...)}
	}
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		// Writable: a nested privileged container asks for a writable sysfs.
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		tmpfs("/run", "mode=755"),
		// Read-only once the shares are in it: see the note on bind mounts in internal/pid1.
		tmpfs("/tmp", "mode=1777", "ro"),
		tmpfs("/etc", "mode=755"),
		tmpfs("/root", "mode=700"),
		{Destination: "/usr", Type: "bind", Source: c.Usr, Options: c.bind(nil, "ro", "nosuid", "nodev")},
		{Destination: DataPath, Type: "bind", Source: c.Data, Options: c.bind(c.DataIDs, "rw"), UIDMappings: c.DataIDs, GIDMappings: c.DataIDs},
	}
}

// bind are the options of a bind mount. Only the mount itself is idmapped: what is mounted
// below may be of a kind that cannot be, and is shared by itself.
func (c Config) bind(idmapped []specs.LinuxIDMapping, options ...string) []string {
	if !c.Recursive {
		return append([]string{"bind"}, options...)
	}
	if len(idmapped) > 0 {
		options = append(options, "idmap")
	}
	return append([]string{"rbind"}, options...)
}

func shares(c Config) []specs.Mount {
	var out []specs.Mount
	// A directory right before what is in it: else its mount would hide the other.
	byPath := slices.SortedFunc(slices.Values(c.Shares), func(a, b Share) int {
		return slices.Compare(strings.Split(a.Path, "/"), strings.Split(b.Path, "/"))
	})
	for i, s := range byPath {
		mode := "rw"
		if s.ReadOnly {
			mode = "ro"
		}
		// Set-user-id bits and devices on the host's file system mean nothing to an engine.
		bind := c.bind
		if !c.Recursive && i+1 < len(byPath) && strings.HasPrefix(byPath[i+1].Path, s.Path+"/") {
			bind = bindAll
		}
		out = append(out, specs.Mount{
			Destination: s.Path, Type: "bind", Source: s.Source, Options: bind(s.UIDs, mode, "nosuid", "nodev"),
			UIDMappings: s.UIDs, GIDMappings: s.GIDs,
		})
	}
	return out
}

// bindAll are the options of a share in which there is another, which is a mount by then: a user
// namespace may not bind the one without the other (mount_namespaces(7)).
func bindAll(idmapped []specs.LinuxIDMapping, options ...string) []string {
	if len(idmapped) > 0 {
		options = append(options, "ridmap")
	}
	return append([]string{"rbind"}, options...)
}

func resources(c Config) *specs.LinuxResources {
	r := &specs.LinuxResources{
		// Which devices exist is decided by what is in /dev; mknod is refused in a user
		// namespace. Containers inside need to be given any of them.
		Devices: []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}},
	}
	if c.Memory > 0 {
		r.Memory = &specs.LinuxMemory{Limit: &c.Memory}
		if c.Swap {
			r.Memory.Swap = &c.Memory // memory and swap together, as in Docker's --memory-swap
		}
	}
	if c.CPUs > 0 {
		period := uint64(100_000) // microseconds, the kernel's default
		quota := int64(c.CPUs * float64(period))
		r.CPU = &specs.LinuxCPU{Period: &period, Quota: &quota}
	}
	if c.PIDs > 0 {
		r.Pids = &specs.LinuxPids{Limit: &c.PIDs}
	}
	return r
}

// knownDevices are the devices an engine may be offered beyond the runtime's default ones
// (numbers: Linux, Documentation/admin-guide/devices.txt).
var knownDevices = map[string]specs.LinuxDevice{
	"/dev/fuse":    {Type: "c", Major: 10, Minor: 229},
	"/dev/net/tun": {Type: "c", Major: 10, Minor: 200},
}

// KnownDevices lists the host devices that Config.Devices may name.
func KnownDevices() []string { return []string{"/dev/fuse", "/dev/net/tun"} }

func devices(c Config) []specs.LinuxDevice {
	mode, root := os.FileMode(0o666), uint32(0)
	var out []specs.LinuxDevice
	for _, path := range c.Devices {
		d, ok := knownDevices[path]
		if !ok {
			panic(fmt.Sprintf("bundle: device %s is not known", path))
		}
		d.Path, d.FileMode, d.UID, d.GID = path, &mode, &root, &root
		out = append(out, d)
	}
	return out
}
