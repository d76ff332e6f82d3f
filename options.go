package berth

import (
	"encoding/json"
	"log/slog"
	"strconv"

	"github.com/berth-dev/berth/internal/attend"
)

// Option changes how [Start], [Attach] and [List] work. Those that say what an engine is
// to be are for Start, and are the flags of `berth up`.
type Option func(*options)

type options struct {
	binary   string
	log      *slog.Logger
	progress func(done, total int64)
	settings attend.Settings
}

func newOptions(opts []Option) options {
	o := options{log: slog.New(slog.DiscardHandler)}
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

// WithBinary says where the berth program is. The default is BERTH_BINARY of the
// environment, and then berth on PATH.
func WithBinary(path string) Option { return func(o *options) { o.binary = path } }

// WithLog has warnings of berth itself logged. Without it they are kept for error messages only.
func WithLog(log *slog.Logger) Option { return func(o *options) { o.log = log } }

// WithUnpackProgress has f called while the engine's programs are unpacked, in bytes; that
// happens once on a machine for each version of berth.
func WithUnpackProgress(f func(done, total int64)) Option {
	return func(o *options) { o.progress = f }
}

// WithName gives the engine a name; the default is its id.
func WithName(name string) Option { return set(func(s *attend.Settings) { s.Name = name }) }

// Detached makes the engine outlive the program, as `berth up` does. [Engine.Remove] or
// `berth rm` take it away.
func Detached() Option { return set(func(s *attend.Settings) { s.Detached = true }) }

// WithMemory bounds the memory of the engine with all its containers, in bytes.
func WithMemory(bytes int64) Option { return set(func(s *attend.Settings) { s.Memory = bytes }) }

// WithCPUs bounds the processors that they use; 1.5 is one and a half.
func WithCPUs(n float64) Option { return set(func(s *attend.Settings) { s.CPUs = n }) }

// WithPIDs bounds the number of their processes and threads.
func WithPIDs(n int64) Option { return set(func(s *attend.Settings) { s.PIDs = n }) }

// WithDisk bounds what the engine can store, in bytes; layers that it shares with a snapshot
// do not count. Where this machine cannot do that, starting fails.
func WithDisk(bytes int64) Option { return set(func(s *attend.Settings) { s.Disk = bytes }) }

// WithNetwork chooses how the engine reaches the world: "veth" (the default), or "none".
func WithNetwork(driver string) Option { return set(func(s *attend.Settings) { s.Network = driver }) }

// WithMTU sets the MTU of the engine's networks in bytes; the default is that of the
// host's way out.
func WithMTU(bytes int) Option { return set(func(s *attend.Settings) { s.MTU = bytes }) }

// WithHost makes the engine and its containers resolve name to addr, an IP address or
// "host-gateway", which stands for this machine as the engine sees it.
func WithHost(name, addr string) Option {
	return set(func(s *attend.Settings) { s.Hosts = append(s.Hosts, name+":"+addr) })
}

// WithShare makes a directory or file of this machine visible to the engine at the same
// path, so that containers can mount it. Nothing else of the machine is.
func WithShare(path string) Option {
	return set(func(s *attend.Settings) { s.Shares = append(s.Shares, path+":rw") })
}

// WithReadOnlyShare is WithShare for what the engine may only read.
func WithReadOnlyShare(path string) Option {
	return set(func(s *attend.Settings) { s.Shares = append(s.Shares, path+":ro") })
}

// WithShareAs says who owns shared files inside containers: "root" (the default), or
// "keep-id" for the same id as outside.
func WithShareAs(who string) Option { return set(func(s *attend.Settings) { s.ShareAs = who }) }

// WithUser makes a user of this machine the owner of the engine's socket and of what is
// written to shares. The default is who called the program, by sudo or directly.
func WithUser(uid, gid int) Option {
	return set(func(s *attend.Settings) { s.User = strconv.Itoa(uid) + ":" + strconv.Itoa(gid) })
}

// WithRootful makes the engine's root the host's root, for what a user namespace cannot
// do. Containers in it are then no further from the host than Docker's.
func WithRootful() Option { return set(func(s *attend.Settings) { s.Isolation = "rootful" }) }

// WithRuntime has another OCI runtime than the bundled runc run the engine: its path, or a
// name on PATH.
func WithRuntime(program string) Option { return set(func(s *attend.Settings) { s.Runtime = program }) }

// WithCgroupParent places the engine's control group below another: the path of one that
// exists, or "own" for the group that the program is in, which has to be delegated to it
// (systemd's Delegate=yes); its processes are moved to a leaf of it on cgroup v2.
func WithCgroupParent(group string) Option {
	return set(func(s *attend.Settings) { s.CgroupParent = group })
}

// WithRegistryCA makes the engine trust the certificates in pem for a registry: host or
// host:port, as in an image's name.
func WithRegistryCA(host string, pem []byte) Option {
	return set(func(s *attend.Settings) {
		s.RegistryCAs = append(s.RegistryCAs, attend.RegistryCA{Host: host, PEM: string(pem)})
	})
}

// WithCA makes the engine trust the certificates in pem for everything: all registries,
// builds, git.
func WithCA(pem []byte) Option {
	return set(func(s *attend.Settings) { s.CAs = append(s.CAs, string(pem)) })
}

// WithSharedCA offers what [WithCA] says to containers that ask for it, as --share-ca of
// `berth up` does.
func WithSharedCA() Option { return set(func(s *attend.Settings) { s.ShareCA = true }) }

// WithInsecureRegistry makes the engine use a registry whose certificate is not judged, or
// that has none. Anybody on the way can change what is pulled.
func WithInsecureRegistry(host string) Option {
	return set(func(s *attend.Settings) { s.Insecure = append(s.Insecure, host) })
}

// WithCertsDir gives the engine a directory of the form of /etc/docker/certs.d.
func WithCertsDir(dir string) Option { return set(func(s *attend.Settings) { s.CertsDir = dir }) }

// WithMirror has the engine pull through a mirror of all registries, by its URL; "off" is
// to use none. The default is this machine's, if one runs.
func WithMirror(url string) Option { return set(func(s *attend.Settings) { s.Mirror = url }) }

// WithMirrorOnly keeps the engine from asking a registry itself when the mirror fails.
// Starting fails where there is no mirror.
func WithMirrorOnly() Option { return set(func(s *attend.Settings) { s.MirrorOnly = true }) }

// WithSnapshot starts the engine from a snapshot (`berth snapshot create`): with its images,
// and with its volumes unless [WithoutVolumes] leaves them out.
func WithSnapshot(name string) Option { return set(func(s *attend.Settings) { s.From = name }) }

// WithoutVolumes leaves the volumes of a snapshot out.
func WithoutVolumes() Option { return set(func(s *attend.Settings) { s.NoVolumes = true }) }

// WithDaemonConfig merges a JSON object over the engine's daemon.json.
func WithDaemonConfig(config json.RawMessage) Option {
	return set(func(s *attend.Settings) { s.DaemonConfig = config })
}

func set(change func(*attend.Settings)) Option { return func(o *options) { change(&o.settings) } }
