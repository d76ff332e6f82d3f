// Package job is what the harness and the guest agree on: the order that a virtual
// machine finds on its work disk, and the lines by which it reports.
//
// It knows neither QEMU nor berth.
package job

// Places in the guest.
const (
	Dir   = "/berth"     // where the work disk is mounted; it looks like the repository
	File  = "job.json"   // the order, below Dir
	Guest = "/bin/guest" // the guest program, below Dir
	Port  = "berth"      // name of the virtio port that leads to the harness
)

// Lines of the report that are not a test binary's own. Each begins with Mark, which no
// test prints, and holds a JSON object of type Event.
const Mark = "\x1eberth-vm "

// Event is one such line; exactly one field is set.
type Event struct {
	Boot    *Boot  `json:"boot,omitempty"`    // the tests are about to begin
	Package string `json:"package,omitempty"` // what follows is this binary's output
	Ended   *Ended `json:"ended,omitempty"`   // the binary has ended
	Done    bool   `json:"done,omitempty"`    // all binaries have ended
	Error   string `json:"error,omitempty"`   // the guest itself failed
}

// Boot says what the guest has become.
type Boot struct {
	Kernel string  `json:"kernel"`
	Cgroup string  `json:"cgroup"` // file systems below /sys/fs/cgroup
	Data   string  `json:"data"`   // file system of /var
	Uptime float64 `json:"uptime"` // seconds since the kernel started
}

// Ended says how a test binary ended.
type Ended struct {
	Package string `json:"package"`
	Status  int    `json:"status"` // exit status, or 128 + signal
}

// Job is the order.
type Job struct {
	Cgroup string   `json:"cgroup"` // v2, hybrid or v1
	Init   string   `json:"init"`   // busybox or systemd
	FS     string   `json:"fs"`     // file system of /var
	Env    []string `json:"env"`    // for the test binaries
	Tests  []Test   `json:"tests"`
}

// Test is a test binary to run.
type Test struct {
	Package string   `json:"package"` // import path
	Binary  string   `json:"binary"`  // path in the guest
	Dir     string   `json:"dir"`     // working directory in the guest
	Args    []string `json:"args"`
}
