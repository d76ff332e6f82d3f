package main

// engineVersions maps the Go module version of moby to the Docker Engine release
// tagged on the same commit (docker-v29.8.1 and so on): the module's own numbers say
// nothing to users, and the sources do not name the release. Extend it when the pin
// in payload/dockerd/go.mod moves.
var engineVersions = map[string]string{
	"v2.0.0-beta.24": "29.8.1",
}

const (
	bin     = "rootfs/usr/bin/"
	sbin    = "rootfs/usr/sbin/"
	plugins = "rootfs/usr/libexec/docker/cli-plugins/"
)

// goPrograms are the components compiled from Go modules; versions are those of
// payload/<name>/go.mod. In the flags, {version} is the module's version, {semver}
// that without its v, {engine} the Docker Engine release, {time} when the version was
// tagged, and {version:MODULE} the version of another module of the same go.mod.
var goPrograms = []goProgram{
	{
		name: "dockerd", module: "github.com/moby/moby/v2", product: "docker-engine", licence: "Apache-2.0",
		packages: map[string]string{"cmd/dockerd": bin + "dockerd", "cmd/docker-proxy": bin + "docker-proxy"},
		// The linked library saves seven runs of the nft program: 0.36 s against 0.43 s
		// to ready. nri_no_wasm is upstream's own release setting.
		cgo: true, tags: "libnftables netgo osusergo nri_no_wasm", libraries: []string{"libnftables"},
		stamps: []string{
			"github.com/moby/moby/v2/dockerversion.Version={engine}",
			"github.com/moby/moby/v2/dockerversion.GitCommit={version}",
			"github.com/moby/moby/v2/dockerversion.BuildTime={time}",
			"github.com/containerd/containerd/v2/version.Version={version:github.com/containerd/containerd/v2}",
		},
	},
	{
		name: "runc", module: "github.com/opencontainers/runc", product: "runc", licence: "Apache-2.0",
		packages: map[string]string{"": bin + "runc"},
		// Static, because it runs on the host and inside containers' namespaces.
		cgo: true, static: true, tags: "seccomp netgo osusergo urfave_cli_no_docs", libraries: []string{"libseccomp"},
		stamps: []string{"main.gitCommit={version}"}, // the version itself is embedded upstream
	},
	{
		name: "shim", module: "github.com/containerd/containerd/v2", product: "containerd-shim-runc-v2", licence: "Apache-2.0",
		packages: map[string]string{"cmd/containerd-shim-runc-v2": bin + "containerd-shim-runc-v2"},
		tags:     "no_grpc netgo osusergo",
		stamps:   []string{"github.com/containerd/containerd/v2/version.Version={version}"},
	},
	{
		name: "cli", module: "github.com/docker/cli", product: "docker", licence: "Apache-2.0",
		packages: map[string]string{"cmd/docker": bin + "docker"},
		tags:     "grpcnotrace netgo osusergo",
		stamps: []string{
			"github.com/docker/cli/cli/version.Version={semver}",
			"github.com/docker/cli/cli/version.GitCommit=v{semver}",
			"github.com/docker/cli/cli/version.BuildTime={time}",
		},
		// The only program that the host's PATH gets.
		links: map[string]string{"host/bin/docker": "../../" + bin + "docker"},
	},
	{
		name: "buildx", module: "github.com/docker/buildx", product: "docker-buildx", licence: "Apache-2.0",
		packages: map[string]string{"cmd/buildx": plugins + "docker-buildx"},
		tags:     "netgo osusergo",
		stamps:   []string{"github.com/docker/buildx/version.Version={version}"},
	},
	{
		name: "compose", module: "github.com/docker/compose/v5", product: "docker-compose", licence: "Apache-2.0",
		packages: map[string]string{"cmd": plugins + "docker-compose"},
		tags:     "netgo osusergo",
		stamps:   []string{"github.com/docker/compose/v5/internal.Version={version}"},
	},
}

// goComponents lists the components that the Go compiler makes, in building order.
func goComponents() []*component {
	var list []*component
	for i := range goPrograms {
		list = append(list, goPrograms[i].component())
	}
	return append(list, initComponent())
}
