package engine

import (
	"encoding/json"
	"time"

	"github.com/berth-dev/berth/internal/ids"
	"github.com/berth-dev/berth/internal/network"
	"github.com/berth-dev/berth/internal/snapshot/layers"
)

// Isolation says how far an engine is kept from the host.
type Isolation string

const (
	// IsolationUserNS gives the engine a user namespace with 65,536 ids of its own
	// (user_namespaces(7)): its root is nobody on the host.
	IsolationUserNS Isolation = "userns"
	// IsolationRootful runs the engine as the host's root, for what a user namespace cannot do.
	IsolationRootful Isolation = "rootful"
)

// Status is where an engine is in its life.
type Status string

const (
	StatusStarting Status = "starting" // made, not usable yet
	StatusRunning  Status = "running"  // its Docker API answers
	StatusStopping Status = "stopping" // being torn down
	StatusStopped  Status = "stopped"  // only its data root is left; `start` revives it
	StatusDead     Status = "dead"     // its monitor is gone; gc removes it, or has it stopped if it is kept
)

// Spec is what a caller asks for. It is stored with the engine, so it holds no secrets.
type Spec struct {
	Name      string    `json:"name,omitempty"` // empty: the id serves as name
	Isolation Isolation `json:"isolation"`      // empty: userns
	Runtime   string    `json:"runtime,omitempty"`
	Limits    Limits    `json:"limits"`
	// CgroupParent is the control group below which the engine's is: an existing one's path,
	// "own" for that of whoever starts the engine; empty: none.
	CgroupParent string  `json:"cgroup_parent,omitempty"`
	Network      Network `json:"network"`
	Shares       []Share `json:"shares,omitempty"`
	ShareAs      ShareAs `json:"share_as,omitempty"` // empty: root
	Owner        Owner   `json:"owner"`
	// RegistryCAs are the authorities to trust, by registry host[:port].
	RegistryCAs []RegistryCA `json:"registry_cas,omitempty"`
	Trust       Trust        `json:"trust,omitzero"`
	// DaemonConfig is merged over the engine's own daemon.json.
	DaemonConfig json.RawMessage `json:"daemon_config,omitempty"`
	// From makes the engine a fork of a snapshot: NAME or NAME@VERSION. NoVolumes leaves
	// the snapshot's volumes out.
	From      string `json:"from,omitempty"`
	NoVolumes bool   `json:"no_volumes,omitempty"`
	// Keep makes the data root outlive the monitor (`up`); otherwise nothing is left (`run`).
	Keep bool `json:"keep,omitempty"`
}

// Limits bound a whole engine: dockerd and every container in it. Zero means no limit.
type Limits struct {
	Memory int64   `json:"memory,omitempty"` // bytes
	CPUs   float64 `json:"cpus,omitempty"`   // processors, 1.5 is one and a half
	PIDs   int64   `json:"pids,omitempty"`   // processes and threads
	Disk   int64   `json:"disk,omitempty"`   // bytes in the data root; shared layers of a snapshot do not count
}

// Network says how an engine reaches the world.
type Network struct {
	Driver string `json:"driver"`        // "veth" or "none"; empty: veth
	MTU    int    `json:"mtu,omitempty"` // bytes; 0 inherits the outer route's
	Hosts  []Host `json:"hosts,omitempty"`
}

// HostGateway as a host's address stands for the host as the engine sees it.
const HostGateway = "host-gateway"

// Host is a name that the engine and its containers resolve to a fixed address.
type Host struct {
	Name string `json:"name"`
	Addr string `json:"addr"` // an IP address, or HostGateway
}

// Share is a host path that the engine sees at the same path.
type Share struct {
	Path     string `json:"path"` // absolute, symbolic links resolved
	ReadOnly bool   `json:"read_only,omitempty"`
	Device   uint64 `json:"device,omitempty"` // st_dev and st_ino when the share was
	Inode    uint64 `json:"inode,omitempty"`  // agreed on; another file there is refused later
}

// ShareAs says who the owner of a share is inside the engine.
type ShareAs string

const (
	ShareAsRoot   ShareAs = "root"    // the engine's root is the owner outside
	ShareAsKeepID ShareAs = "keep-id" // the owner has the same id inside and outside
)

// Owner is the user an engine works for: owner of its socket and of what is written to shares.
type Owner struct {
	UID int `json:"uid"`
	GID int `json:"gid"`
}

// RegistryCA makes an engine trust one authority for one registry.
type RegistryCA struct {
	Host string `json:"host"` // host or host:port, as in an image's name
	PEM  string `json:"pem"`
}

// Process identifies a process for ever: its pid may be used again, not with the same start time.
type Process struct {
	PID       int    `json:"pid"`
	StartTime uint64 `json:"start_time"` // clock ticks after boot (proc_pid_stat(5), field 22)
}

// NetNS identifies a network namespace for ever, as Process does a process.
type NetNS struct {
	Inode  uint64 `json:"inode"`
	Cookie uint64 `json:"cookie"` // socket(7), SO_NETNS_COOKIE
}

// Info is an engine's record: what is stored in engine.json and shown by `berth inspect`.
type Info struct {
	ID      string     `json:"id"`
	Name    string     `json:"name"`
	Status  Status     `json:"status"`
	Error   string     `json:"error,omitempty"` // why it ended, when nobody asked it to
	Spec    Spec       `json:"spec"`
	Slot    int        `json:"slot"`
	IDs     *ids.Range `json:"ids,omitempty"` // of its user namespace; nil for rootful
	Socket  string     `json:"socket"`        // path of the Docker API's unix socket on this machine
	Payload string     `json:"payload"`
	Data    string     `json:"data"`             // the data root on this machine
	Buildx  string     `json:"buildx,omitempty"` // buildx's directory, with the settings for builders in containers
	Log     string     `json:"log"`              // what its processes wrote; that of a kept engine outlives it
	// CgroupParent is the group that Spec.CgroupParent stood for when the engine was started.
	CgroupParent string          `json:"cgroup_parent,omitempty"`
	Monitor      Process         `json:"monitor"`
	Init         Process         `json:"init"`
	NetNS        NetNS           `json:"netns,omitzero"`
	Net          *network.Record `json:"network_state,omitempty"`
	// ShareUIDs and ShareGIDs are the ids that files in shares may have on disk for ids
	// inside that are not the owner's.
	ShareUIDs ids.Range `json:"share_uids,omitzero"`
	ShareGIDs ids.Range `json:"share_gids,omitzero"`
	// Bases are the snapshots whose layers are mounted in the engine; none of them can be
	// removed. Sharing is how a fork came by its layers: link, reflink or copy.
	Bases   []layers.Base `json:"bases,omitempty"`
	Sharing string        `json:"sharing,omitempty"`
	// DiskLimit is what holds Spec.Limits.Disk: [disklimit.Quota] or [disklimit.Loop].
	DiskLimit string    `json:"disk_limit,omitempty"`
	OOMKills  int       `json:"oom_kills"`         // times that the engine's own memory limit made the kernel kill
	Revived   bool      `json:"revived,omitempty"` // started again on the data root it had
	Created   time.Time `json:"created"`
	Ready     time.Time `json:"ready,omitzero"`
}

// DockerHost is the value of DOCKER_HOST that reaches the engine.
func (i *Info) DockerHost() string { return "unix://" + i.Socket }
