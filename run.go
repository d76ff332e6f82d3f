package berth

import (
	"io"
	"maps"
	"slices"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
)

// RunOption changes how a container is run.
type RunOption func(*run)

type run struct {
	name           string
	config         container.Config
	host           container.HostConfig
	stdin          io.Reader
	stdout, stderr io.Writer
	pull           []TransferOption // nil: a missing image is an error
	err            error
}

// WithContainerName names the container.
func WithContainerName(name string) RunOption { return func(r *run) { r.name = name } }

// WithEnv sets a variable of the container's environment.
func WithEnv(name, value string) RunOption {
	return func(r *run) { r.config.Env = append(r.config.Env, name+"="+value) }
}

// WithStdin gives the command what it reads. A reader that blocks for ever is left behind
// with a goroutine, as os/exec does.
func WithStdin(in io.Reader) RunOption { return func(r *run) { r.stdin = in } }

// WithOutput has what the command writes copied, each stream to its own writer, from its
// start on. Either may be nil. [Container.Wait] returns after the last byte.
func WithOutput(stdout, stderr io.Writer) RunOption {
	return func(r *run) { r.stdout, r.stderr = stdout, stderr }
}

// WithWorkdir says in which directory the command runs.
func WithWorkdir(path string) RunOption { return func(r *run) { r.config.WorkingDir = path } }

// WithContainerUser says as whom: NAME, UID, or either with :GROUP.
func WithContainerUser(user string) RunOption { return func(r *run) { r.config.User = user } }

// WithEntrypoint replaces the image's entry point.
func WithEntrypoint(argv ...string) RunOption { return func(r *run) { r.config.Entrypoint = argv } }

// WithLabel labels the container.
func WithLabel(name, value string) RunOption {
	return func(r *run) {
		r.config.Labels = maps.Clone(r.config.Labels)
		if r.config.Labels == nil {
			r.config.Labels = map[string]string{}
		}
		r.config.Labels[name] = value
	}
}

// WithBind mounts a directory or file of this machine, which the engine must share
// ([WithShare]).
func WithBind(source, target string) RunOption { return bind(source, target, false) }

// WithReadOnlyBind is WithBind for what the container may only read.
func WithReadOnlyBind(source, target string) RunOption { return bind(source, target, true) }

func bind(source, target string, readOnly bool) RunOption {
	return withMount(mount.Mount{Type: mount.TypeBind, Source: source, Target: target, ReadOnly: readOnly})
}

// WithVolume mounts a volume, which is made when there is none of that name; an empty name
// stands for one that goes with the container.
func WithVolume(name, target string) RunOption {
	return withMount(mount.Mount{Type: mount.TypeVolume, Source: name, Target: target})
}

// WithTmpfs mounts an empty file system in memory, of at most size bytes; 0 is no bound.
func WithTmpfs(target string, size int64) RunOption {
	return withMount(mount.Mount{Type: mount.TypeTmpfs, Target: target, TmpfsOptions: &mount.TmpfsOptions{SizeBytes: size}})
}

func withMount(m mount.Mount) RunOption {
	return func(r *run) { r.host.Mounts = append(r.host.Mounts, m) }
}

// WithPort publishes a port of the container, such as "80" or "53/udp", on a free port of
// the engine; [Container.Address] says which.
func WithPort(port string) RunOption { return WithPortAt(port, "") }

// WithPortAt publishes a port of the container on a given port of the engine.
func WithPortAt(port, enginePort string) RunOption {
	return func(r *run) {
		p, err := network.ParsePort(port)
		if err != nil {
			r.err = &Error{Op: "publish port", Subject: port, Kind: ErrInvalid, Reason: err.Error(), Err: err}
			return
		}
		if r.config.ExposedPorts == nil {
			r.config.ExposedPorts, r.host.PortBindings = network.PortSet{}, network.PortMap{}
		}
		r.config.ExposedPorts[p] = struct{}{}
		r.host.PortBindings[p] = slices.Concat(r.host.PortBindings[p], []network.PortBinding{{HostPort: enginePort}})
	}
}

// WithMemoryLimit bounds the container's memory, in bytes.
func WithMemoryLimit(bytes int64) RunOption { return func(r *run) { r.host.Memory = bytes } }

// WithCPULimit bounds the processors that it uses; 1.5 is one and a half.
func WithCPULimit(n float64) RunOption { return func(r *run) { r.host.NanoCPUs = int64(n * 1e9) } }

// WithPIDLimit bounds the number of its processes and threads.
func WithPIDLimit(n int64) RunOption { return func(r *run) { r.host.PidsLimit = &n } }

// WithNetworkMode is docker run's --network: a network's name, "host" (the engine's),
// "none", or "container:ID".
func WithNetworkMode(mode string) RunOption {
	return func(r *run) { r.host.NetworkMode = container.NetworkMode(mode) }
}

// WithPrivileged gives the container all that the engine has, which is nothing of the
// host's unless the engine is rootful.
func WithPrivileged() RunOption { return func(r *run) { r.host.Privileged = true } }

// WithPullMissing pulls the image first if the engine does not have it.
func WithPullMissing(opts ...TransferOption) RunOption {
	return func(r *run) { r.pull = append([]TransferOption{}, opts...) }
}

// WithConfig changes the container's settings in whatever way Docker's API allows.
func WithConfig(change func(*container.Config, *container.HostConfig)) RunOption {
	return func(r *run) { change(&r.config, &r.host) }
}
