package command

import (
	"maps"
	"slices"
	"strings"
)

// Variables that would lead a Docker client elsewhere than DOCKER_HOST says.
var misleading = []string{"DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_TLS"}

// Misleading returns the names of the variables that would lead a Docker client
// elsewhere than DOCKER_HOST says.
func Misleading() []string { return misleading }

// Environment describes what a command's environment must hold.
type Environment struct {
	DockerHost string // value of DOCKER_HOST
	Engine     string // the engine's id
	Buildx     string // buildx's directory for this engine; empty, or with one of the user's own: his stays
	Dir        string // the current directory with symbolic links resolved; empty: PWD stays
	BinDir     string // directory to put first on PATH; empty: PATH stays
	// Inside says that the command runs in the engine's network namespace, where the
	// ports that containers publish are at localhost.
	Inside bool
}

// Environ returns base changed for a command that runs as id against an engine.
func (e Environment) Environ(base []string, id Identity) []string {
	set := map[string]string{}
	if e.DockerHost != "" {
		set["DOCKER_HOST"] = e.DockerHost
		set["BERTH_ENGINE"] = e.Engine
		set["TESTCONTAINERS_DOCKER_SOCKET_OVERRIDE"] = "/var/run/docker.sock"
	}
	if e.Buildx != "" && Value(base, "BUILDX_CONFIG") == "" {
		set["BUILDX_CONFIG"] = e.Buildx
	}
	if e.Inside {
		set["TESTCONTAINERS_HOST_OVERRIDE"] = "localhost"
	}
	if e.Dir != "" {
		set["PWD"] = e.Dir
	}
	if e.BinDir != "" {
		set["PATH"] = Prepend(e.BinDir, Value(base, "PATH"))
	}
	if !id.Same {
		set["HOME"], set["USER"], set["LOGNAME"] = id.Home, id.Name, id.Name
	}
	return merge(base, set)
}

// Prepend puts dir in front of path, the value of a PATH.
func Prepend(dir, path string) string {
	if path == "" {
		return dir
	}
	return dir + ":" + path
}

// Value returns the value of a variable in env, where the last entry counts.
func Value(env []string, name string) string {
	for i := len(env) - 1; i >= 0; i-- {
		if k, v, _ := strings.Cut(env[i], "="); k == name {
			return v
		}
	}
	return ""
}

func merge(base []string, set map[string]string) []string {
	drop := map[string]bool{}
	for _, k := range misleading {
		drop[k] = true
	}
	out := make([]string, 0, len(base)+len(set))
	for _, kv := range base {
		k, _, _ := strings.Cut(kv, "=")
		if _, replaced := set[k]; !replaced && !drop[k] {
			out = append(out, kv)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(set)) {
		out = append(out, k+"="+set[k])
	}
	return out
}
