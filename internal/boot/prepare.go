package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// stale are files that a dockerd which was killed leaves in a container that is started again.
var stale = []string{"/var/run/docker.pid", "/run/docker/containerd/containerd.pid", "/run/docker/containerd/docker-containerd.pid"}

// firstPIDs is the machine's own PID namespace, the parent of all (Linux 3.8; PROC_PID_INIT_INO).
const firstPIDs = "pid:[4026531836]"

// onMachine reports whether this is the machine itself and no container: its PID namespace, and the
// mounts of its first process. A container may have the one of the two, never both.
func onMachine(readlink func(string) (string, error)) bool {
	pids, err := readlink("/proc/self/ns/pid")
	if err != nil || pids != firstPIDs {
		return false
	}
	own, err := readlink("/proc/self/ns/mnt")
	if err != nil {
		return false
	}
	first, err := readlink("/proc/1/ns/mnt")
	return err == nil && own == first
}

// prepare makes the container what engines expect of a machine. What the container may not
// do is left out here: what then is missing is said by [choose].
func prepare() error {
	for _, f := range stale {
		if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.MkdirAll(runtimeDir, 0o711); err != nil {
		return err
	}
	// Fresh at every start, so that a container that was killed and starts again finds nothing.
	if err := unix.Mount("tmpfs", runtimeDir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=711"); err != nil {
		if err := os.RemoveAll(runtimeDir); err != nil {
			return fmt.Errorf("empty %s: %w", runtimeDir, err)
		}
		if err := os.MkdirAll(runtimeDir, 0o711); err != nil {
			return err
		}
	}
	if empty("/sys/kernel/security") {
		_ = unix.Mount("securityfs", "/sys/kernel/security", "securityfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_RDONLY, "")
	}
	if !mounted("/tmp") {
		_ = unix.Mount(ownTmp, "/tmp", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777")
	}
	// What is mounted in a container inside must be able to appear outside and the other way round.
	_ = unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, "")
	return nil
}

// ownTmp is the source of the /tmp that the container has if nobody mounted one.
const ownTmp = "berth-tmp"

// mounted reports whether something is mounted at dir or below.
func mounted(dir string) bool {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	return err != nil || len(mounts) > 0
}

func empty(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && len(entries) == 0
}
