// Package attend is the protocol between a program that uses package berth and the berth
// process that attends to its engines. It is plain types and their JSON: it must not know
// how an engine is made, for every program that imports berth contains it.
//
// One process serves one [Request], sent as the first line of its standard input. It
// answers with [Event] values, one a line, on its standard output. A request to start:
//
//	program                                     berth _attend
//	   │  {"start": {…}}                          │
//	   ├────────────────── stdin ────────────────▶│ makes the engine
//	   │  {"progress": {…}} …                     │
//	   │  {"ready": {…}} or {"failed": {…}}       │
//	   │◀───────────────── stdout ────────────────┤
//	   │  {"note": "…"} …                         │ watches over the engine
//	   │◀─────────────────────────────────────────┤
//	   │  {"shutdown": true}   (optional)         │
//	   ├─────────────────────────────────────────▶│ lets containers stop
//	   ╳  end of file, at any moment              │
//	   │  {"ended": {…}}                          │ the engine is gone; exit
//	   │◀─────────────────────────────────────────┤
//
// The kernel closes the program's end however the program ends, so no engine outlives it.
// The other requests are answered with one event each. Sizes are bytes.
package attend

import (
	"encoding/json"
	"time"
)

// Verb is the hidden verb of berth that speaks the protocol.
const Verb = "_attend"

// Request is what a program asks for; exactly one field is set.
type Request struct {
	Start    *Settings `json:"start,omitempty"`    // answered by Ready, or later by Ended
	Shutdown bool      `json:"shutdown,omitempty"` // after Start only: end gently
	Find     string    `json:"find,omitempty"`     // answered by Ready
	List     bool      `json:"list,omitempty"`     // answered by Engines
	Stats    string    `json:"stats,omitempty"`    // answered by Stats
	Stop     *Stop     `json:"stop,omitempty"`     // answered by Ended
	Remove   string    `json:"remove,omitempty"`   // answered by Ended
}

// Stop ends a detached engine and keeps its data.
type Stop struct {
	Engine string        `json:"engine"`
	Grace  time.Duration `json:"grace_ns"` // for containers to end in
}

// Settings are those of a new engine, as the flags of `berth up` take them.
type Settings struct {
	Name         string          `json:"name,omitempty"`
	Memory       int64           `json:"memory,omitempty"`
	CPUs         float64         `json:"cpus,omitempty"`
	PIDs         int64           `json:"pids,omitempty"`
	Disk         int64           `json:"disk,omitempty"`
	Network      string          `json:"network,omitempty"` // veth or none; empty: veth
	MTU          int             `json:"mtu,omitempty"`
	Hosts        []string        `json:"hosts,omitempty"`  // NAME:IP or NAME:host-gateway
	Shares       []string        `json:"shares,omitempty"` // PATH or PATH:ro
	ShareAs      string          `json:"share_as,omitempty"`
	User         string          `json:"user,omitempty"` // USER[:GROUP], by name or number
	Isolation    string          `json:"isolation,omitempty"`
	Runtime      string          `json:"runtime,omitempty"`
	CgroupParent string          `json:"cgroup_parent,omitempty"`
	RegistryCAs  []RegistryCA    `json:"registry_cas,omitempty"`
	CAs          []string        `json:"cas,omitempty"` // PEM; trusted for everything
	ShareCA      bool            `json:"share_ca,omitempty"`
	Insecure     []string        `json:"insecure,omitempty"` // registries
	CertsDir     string          `json:"certs_dir,omitempty"`
	Mirror       string          `json:"mirror,omitempty"` // URL, or off
	MirrorOnly   bool            `json:"mirror_only,omitempty"`
	DaemonConfig json.RawMessage `json:"daemon_config,omitempty"`
	From         string          `json:"from,omitempty"` // name of a snapshot to begin with
	NoVolumes    bool            `json:"no_volumes,omitempty"`
	Detached     bool            `json:"detached,omitempty"` // it outlives the program
}

// RegistryCA is an authority to trust for one registry.
type RegistryCA struct {
	Host string `json:"host"` // host or host:port
	PEM  string `json:"pem"`
}

// Event is what happened; one field is set.
type Event struct {
	Progress *Progress `json:"progress,omitempty"`
	Ready    *Engine   `json:"ready,omitempty"`
	Engines  *[]Engine `json:"engines,omitempty"`
	Stats    *Stats    `json:"stats,omitempty"`
	Note     string    `json:"note,omitempty"`   // what a user should know
	Failed   *Failure  `json:"failed,omitempty"` // the request was not carried out
	Ended    *Ended    `json:"ended,omitempty"`  // nothing of the engine is left
}

// Progress tells how much of the payload is extracted, in bytes; only at first use.
type Progress struct {
	Done  int64 `json:"done"`
	Total int64 `json:"total"`
}

// Engine is what a program needs to know of an engine.
type Engine struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Status    string    `json:"status"`
	Error     string    `json:"error,omitempty"` // why it ended, when nobody asked it to
	Isolation string    `json:"isolation"`
	Socket    string    `json:"socket"`            // path of the Docker API's unix socket
	Address   string    `json:"address,omitempty"` // its IP address, where ports are published
	Log       string    `json:"log"`               // path of what its dockerd logs
	Docker    string    `json:"docker,omitempty"`  // path of the bundled docker CLI
	Buildx    string    `json:"buildx,omitempty"`  // path of buildx's settings for builders in containers; empty: the user's own hold
	Busybox   string    `json:"busybox,omitempty"` // path of a static busybox of the payload
	UID       int       `json:"uid"`               // of its owner
	GID       int       `json:"gid"`
	OOMKills  int       `json:"oom_kills"`
	Created   time.Time `json:"created"`
	Ready     time.Time `json:"ready,omitzero"`
}

// Stats are the figures of an engine with all its containers.
type Stats struct {
	Memory      uint64        `json:"memory"`
	MemoryPeak  uint64        `json:"memory_peak"`
	MemoryLimit uint64        `json:"memory_limit"` // 0 for none
	CPU         time.Duration `json:"cpu_ns"`
	Throttled   time.Duration `json:"throttled_ns"`
	PIDs        uint64        `json:"pids"`
	PIDsLimit   uint64        `json:"pids_limit"` // 0 for none
}

// Ended is the end of an engine.
type Ended struct {
	Reason string `json:"reason,omitempty"` // why, when nobody asked it to
	Left   string `json:"left,omitempty"`   // what could not be cleaned up
}

// Kind tells failures apart.
type Kind string

const (
	KindNotFound   Kind = "not_found"   // no such engine
	KindNameTaken  Kind = "name_taken"  // another engine has the name
	KindNotRunning Kind = "not_running" // the engine is stopped, or not ready yet
	KindInvalid    Kind = "invalid"     // a setting cannot be used; nothing was changed
	KindPrivilege  Kind = "privilege"   // berth needs root
	KindPayload    Kind = "payload"     // this berth was built without its payload
	KindUnable     Kind = "unable"      // this machine's kernel or settings do not allow engines
	KindNoSpace    Kind = "no_space"    // a disk is full
	KindOther      Kind = "other"
)

// Failure is an error that crosses from one process to the other.
type Failure struct {
	Kind    Kind   `json:"kind"`
	Message string `json:"message"` // one line: what failed, on what, what to do
}
