package dind

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// memoryLimit prints the limit of the container that it runs in, on either cgroup version.
const memoryLimit = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null"

// With a cgroup namespace of the container's own and without one, the engine's containers
// have limits, and are below the container's group.
func TestControlGroupsPrivateAndOfTheHost(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		for _, namespace := range []string{"private", "host"} {
			for _, isolation := range []string{"userns", "none"} {
				e := h.privileged(t, "groups", []string{"--cgroupns", namespace}, "--isolation="+isolation)
				checkControlGroups(t, "cgroupns "+namespace+", isolation "+isolation, e.try)
				e.remove()
			}
		}
	})
}

// The same without a Docker around it, and with a limit of the container's own.
func TestControlGroupsUnderRuncAlone(t *testing.T) { underRuncAlone(t, "userns") }

// Who gives up the user namespace has the same limits.
func TestControlGroupsOfOtherIsolations(t *testing.T) { underRuncAlone(t, "rootful", "none") }

func underRuncAlone(t *testing.T, isolations ...string) {
	const limit = 400 << 20
	b := newBundle(t)
	b.spec.Linux.Resources.Memory = &specs.LinuxMemory{Limit: ptr(int64(limit)), Swap: swap(limit)}
	without := b.spec.Linux.Namespaces
	for namespace, list := range map[string][]specs.LinuxNamespace{
		"private": append(without[:len(without):len(without)], specs.LinuxNamespace{Type: specs.CgroupNamespace}), "host": without,
	} {
		b.spec.Linux.Namespaces = list
		for _, isolation := range isolations {
			what := "cgroup namespace " + namespace + ", isolation " + isolation
			stop := b.start("--isolation=" + isolation)
			checkControlGroups(t, what, b.try)
			if namespace == "private" && isolation != "rootful" {
				checkMemoryOfTheWhole(t, what, b.try)
			}
			stop()
		}
	}
}

// checkControlGroups checks limits and places by a function that runs commands in the
// container.
func checkControlGroups(t *testing.T, what string, try func(args ...string) result) {
	t.Helper()
	if r := try("docker", "run", "--rm", "-m", "64m", busyName, "sh", "-c", memoryLimit); r.stdout != "67108864" {
		t.Errorf("%s: limit of a container inside: %s", what, r)
	}
	// The kernel has no controllers in a group with both processes and groups.
	_, err := os.Stat("/sys/fs/cgroup/cgroup.controllers")
	v1 := errors.Is(err, fs.ErrNotExist)
	if got := try("cat", "/proc/1/cgroup").stdout; !v1 && !strings.HasSuffix(got, "/init") {
		t.Errorf("%s: the container's first process is in %q, not in a leaf", what, got)
	}
}

// checkMemoryOfTheWhole checks that a limit of the container's, of 400 MiB, is one of the
// containers in it.
func checkMemoryOfTheWhole(t *testing.T, what string, try func(args ...string) result) {
	t.Helper()
	r := try("docker", "run", "--rm", busyName, "sh", "-c", "head -c 600m /dev/zero | tail >/dev/null; echo survived; exit 3")
	if r.code == 0 || strings.Contains(r.stdout, "survived") && !strings.Contains(r.stderr, "Killed") {
		t.Errorf("%s: 600 MB fit into a container with 400: %s", what, r)
	}
}

func ptr[T any](v T) *T { return &v }

// swap is the limit of memory and swap together, where the kernel has one.
func swap(limit int64) *int64 {
	for _, file := range []string{"/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes", "/sys/fs/cgroup/memory.swap.max"} {
		if _, err := os.Stat(file); err == nil {
			return &limit
		}
	}
	return nil
}
