// Package pid1 is init, the first process inside an engine: it makes the last mounts,
// moves to its cgroup leaf, starts dockerd, reaps orphans, passes signals and readiness on,
// and ends when its monitor does.
//
// It is the whole of a small program that is resident in every engine, so it imports
// little. It knows nothing of the host, of other engines or of how its bundle was made.
package pid1

// The monitor and init talk over one stream socket, inherited by init as file descriptor
// ControlFD, in messages of one JSON object a line:
//
//	monitor                                   init
//	   │                                        │ (the runtime started it; it waits)
//	   │  start {files, args, env}              │ cgroup handed over before this is sent
//	   ├───────────────────────────────────────▶│ writes /etc, enters its leaf, starts dockerd
//	   │                       ready            │
//	   │◀───────────────────────────────────────┤ dockerd said READY=1 (sd_notify(3))
//	   │  stop                                  │
//	   ├───────────────────────────────────────▶│ SIGTERM to dockerd: containers are stopped
//	   │                       exited {code}    │
//	   │◀───────────────────────────────────────┤ dockerd has ended; init ends next
//	   │                                        │
//	   ╳ end of file at init: the monitor is gone. Init ends at once, and the kernel ends
//	     every process of the engine with it (pid_namespaces(7)).
//	                                            ╳ end of file at the monitor: the engine is gone.
const (
	// ControlFD is init's end of the socket.
	ControlFD = 3
	// ListenerFD is the listening socket of the Docker API, made by the monitor with the
	// owner and mode it needs on the host, and handed on to dockerd (sd_listen_fds(3)).
	ListenerFD = 4
)

// Message is one line of the protocol; exactly one field is set.
type Message struct {
	Start  *Start  `json:"start,omitempty"`
	Ready  bool    `json:"ready,omitempty"`
	Stop   bool    `json:"stop,omitempty"`
	Exited *Exited `json:"exited,omitempty"`
}

// Start tells init what to make of the engine.
type Start struct {
	Files []File   `json:"files"` // below /etc, in order
	Args  []string `json:"args"`  // dockerd's command line, with its path first
	Env   []string `json:"env"`
	// Listeners is how many more listening sockets init has inherited, after ListenerFD.
	Listeners int `json:"listeners,omitempty"`
}

// File is a file to write inside the engine before dockerd starts.
type File struct {
	Path string `json:"path"`
	Mode uint32 `json:"mode"`
	Data string `json:"data,omitempty"`
	Link string `json:"link,omitempty"` // a symbolic link's target, instead of data
}

// Exited says how dockerd ended, or why it could not be started.
type Exited struct {
	Code   int    `json:"code"`             // exit status, or 128 + signal
	Reason string `json:"reason,omitempty"` // what failed before dockerd ran
}
