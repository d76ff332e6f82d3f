package dind

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
)

// memoryLimit prints the limit of the container that it runs in, on either cgroup version.
const memoryLimit = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null"

// With a cgroup namespace of the container's own and without one, the engine's containers
// have limits, and are below the container's group.
func TestControlGroupsPrivateAndOfTheHost(t *testing.T) {
	_, err := os.Stat("/sys/fs/cgroup/cgroup.controllers")
	v1 := errors.Is(err, fs.ErrNotExist)
	each(t, func(t *testing.T, h *host) {
		for _, namespace := range []string{"private", "host"} {
			for _, isolation := range []string{"userns", "none"} {
				what := "cgroupns " + namespace + ", isolation " + isolation
				e := h.privileged(t, "groups", []string{"--cgroupns", namespace}, "--isolation="+isolation)
				if r := e.in([]string{"-m", "64m"}, memoryLimit); r.stdout != "67108864" {
					t.Errorf("%s: limit of a container inside: %s", what, r)
				}
				// The kernel has no controllers in a group with both processes and groups.
				if got := e.must("cat", "/proc/1/cgroup"); !v1 && !strings.HasSuffix(got, "/init") {
					t.Errorf("%s: the container's first process is in %q, not in a leaf", what, got)
				}
				e.remove()
			}
		}
	})
}
