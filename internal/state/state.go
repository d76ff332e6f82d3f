// Package state names every file and directory that berth keeps on disk, in one place.
//
// Two roots exist: the state directory (survives a reboot: payload, data roots, trash)
// and the run directory (does not: locks, sockets, bundles). Nothing here opens or
// creates anything, except [Paths.Prepare], which makes the roots themselves.
//
//	<run>/engines/<id>/   engine.json  lock  config.json  rootfs/  docker.sock  log  buildx/
//	<run>/allocate.lock   held while ids, names and slots are chosen
//	<run>/runtime/        the OCI runtime's own state
//	<run>/network/        what the network drivers must put back
//	<state>/payload/<digest>/
//	<state>/engines/<id>/engine.json log   only for an engine that is kept
//	<state>/engines/<id>/data/         its data root
//	<state>/engines/<id>/disk.img      the file system that is mounted there, if it is limited
//	<state>/snapshots/<name>/<version>/manifest.json data/ layers/
//	<state>/snapshots/<name>/last      the highest version there ever was
//	<state>/snapshots/.new/<id>/       one being made; lock free: nobody is at it any more
//	<state>/trash/                     renamed data roots, being deleted
package state

import (
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"regexp"
	"sync"
)

// Environment variables that move the two roots.
const (
	EnvRunDir   = "BERTH_RUN_DIR"
	EnvStateDir = "BERTH_STATE_DIR"
)

// Default roots (hier(7): /run, /var/lib).
const (
	DefaultRun   = "/run/berth"
	DefaultState = "/var/lib/berth"
)

// maxSocketPath is the longest path of a unix socket (unix(7): sun_path is 108
// bytes with its terminating zero).
const maxSocketPath = 107

// Paths locates everything below one pair of roots.
type Paths struct {
	Run   string // absolute
	State string // absolute
}

// FromEnv returns the roots that the environment asks for, or the defaults.
// A relative directory, or one too long for a socket inside it, is an error.
func FromEnv() (Paths, error) {
	p := Paths{Run: DefaultRun, State: DefaultState}
	for env, dir := range map[string]*string{EnvRunDir: &p.Run, EnvStateDir: &p.State} {
		if v := os.Getenv(env); v != "" {
			if !filepath.IsAbs(v) {
				return Paths{}, fmt.Errorf("%s=%s is not an absolute path; give one that begins with /", env, v)
			}
			*dir = filepath.Clean(v)
		}
	}
	if n := len(p.Socket("0123456789ab")); n > maxSocketPath {
		return Paths{}, fmt.Errorf("%s=%s is too long for a unix socket inside it (%d of %d bytes); choose a shorter one", EnvRunDir, p.Run, n, maxSocketPath)
	}
	return p, nil
}

// Prepare makes the roots. Others may pass through them (an engine's socket has an owner who
// is not root) but not list them. What engines and foreign archives have filled is closed to
// others: a program there may be set-user-ID and the host's root's, and its modes are not berth's.
func (p Paths) Prepare() error {
	for _, d := range []string{p.Run, p.Engines(), p.State, p.Payload()} {
		if err := os.MkdirAll(d, 0o711); err != nil {
			return unprepared(err)
		}
	}
	for _, d := range []string{p.Runtime(), p.Network(), p.StateEngines(), p.Snapshots(), p.Trash()} {
		if err := makePrivate(d); err != nil {
			return unprepared(err)
		}
	}
	return nil
}

func unprepared(err error) error {
	return fmt.Errorf("make berth's directory: %w; run as root, or set %s and %s", err, EnvRunDir, EnvStateDir)
}

// makePrivate makes a directory that is its owner's alone, also of one that is there.
func makePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm()&0o077 == 0 {
		return err
	}
	return os.Chmod(dir, 0o700)
}

// Cgroup is the control group below which the engines' groups are. Each run directory has
// one of its own, so that removing the last engine's from one disturbs no other.
func (p Paths) Cgroup() string {
	if p.Run == DefaultRun {
		return "/berth"
	}
	h := fnv.New32a()
	h.Write([]byte(p.Run))
	return fmt.Sprintf("/berth-%08x", h.Sum32())
}

func (p Paths) Engines() string             { return filepath.Join(p.Run, "engines") }
func (p Paths) Runtime() string             { return filepath.Join(p.Run, "runtime") }
func (p Paths) Network() string             { return filepath.Join(p.Run, "network") }
func (p Paths) AllocateLock() string        { return filepath.Join(p.Run, "allocate.lock") }
func (p Paths) Engine(id string) string     { return filepath.Join(p.Engines(), id) }
func (p Paths) Partial(id string) string    { return filepath.Join(p.Engines(), ".partial-"+id) } // while it is made or removed
func (p Paths) Record(id string) string     { return filepath.Join(p.Engine(id), "engine.json") }
func (p Paths) Lock(id string) string       { return filepath.Join(p.Engine(id), "lock") }
func (p Paths) BundleFile(id string) string { return filepath.Join(p.Engine(id), "config.json") }
func (p Paths) Rootfs(id string) string     { return filepath.Join(p.Engine(id), "rootfs") }
func (p Paths) Socket(id string) string     { return filepath.Join(p.Engine(id), "docker.sock") }
func (p Paths) Log(id string) string        { return filepath.Join(p.Engine(id), "log") }
func (p Paths) Buildx(id string) string     { return filepath.Join(p.Engine(id), "buildx") }
func (p Paths) RuntimeLog(id string) string { return filepath.Join(p.Engine(id), "runtime.log") }
func (p Paths) PIDFile(id string) string    { return filepath.Join(p.Engine(id), "init.pid") }
func (p Paths) Pause(id string) string      { return filepath.Join(p.Engine(id), "pause") }

func (p Paths) Payload() string              { return filepath.Join(p.State, "payload") }
func (p Paths) Trash() string                { return filepath.Join(p.State, "trash") }
func (p Paths) StateEngines() string         { return filepath.Join(p.State, "engines") }
func (p Paths) StateEngine(id string) string { return filepath.Join(p.StateEngines(), id) }
func (p Paths) KeptLog(id string) string     { return filepath.Join(p.StateEngine(id), "log") }
func (p Paths) KeptRecord(id string) string  { return filepath.Join(p.StateEngine(id), "engine.json") }
func (p Paths) Data(id string) string        { return filepath.Join(p.StateEngine(id), "data") }

func (p Paths) Disk(id string) string { return filepath.Join(p.StateEngine(id), "disk.img") }

func (p Paths) Snapshots() string { return filepath.Join(p.State, "snapshots") }

// IDPattern returns the form of an engine's id: twelve hexadecimal digits.
var IDPattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9a-f]{12}$`) })

// NamePattern returns the form of an engine's name: that of a container's name in Docker,
// lower-case and short enough to serve as a host name (RFC 1123, section 2.1).
var NamePattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,62}$`) })
