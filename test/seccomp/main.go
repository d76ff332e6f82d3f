// Command seccomp writes the seccomp profile of an engine in a pod with a user namespace of
// its own (`hostUsers: false`) to standard output: what containerd allows a container by
// default, what it allows one with the capabilities that an engine needs, and the two system
// calls that runc needs besides. It is a module of its own, for containerd's sake.
//
//	go run . > ../../internal/kube/profiles/seccomp.json
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// capabilities decide on what containerd's profile has in it (contrib/seccomp).
var capabilities = []string{"CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_SYS_CHROOT"}

// needed by runc: a session keyring for each container, and the change of its root.
var needed = []string{"keyctl", "pivot_root"}

func main() {
	profile := seccomp.DefaultProfile(&specs.Spec{Process: &specs.Process{
		Capabilities: &specs.LinuxCapabilities{Bounding: capabilities},
	}})
	profile.Architectures = []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32, specs.ArchAARCH64, specs.ArchARM}
	profile.Syscalls = append(profile.Syscalls, specs.LinuxSyscall{Names: needed, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{}})
	enc := json.NewEncoder(os.Stdout)
	enc.SetIndent("", "  ")
	if err := enc.Encode(profile); err != nil {
		fmt.Fprintln(os.Stderr, "seccomp:", err)
		os.Exit(1)
	}
}
