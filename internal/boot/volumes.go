package boot

import (
	"os"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"

	"github.com/berth-dev/berth/internal/engine"
)

// ours are places that an engine has of its own, or that the container's runtime mounts
// into every container.
var ours = []string{
	"/proc", "/sys", "/dev", "/run/berth", "/usr", "/bin", "/sbin", "/lib", "/lib64",
	"/etc/resolv.conf", "/etc/hostname", "/etc/hosts", "/etc/docker", "/etc/ssl", "/var/run", "/var/tmp", "/images",
}

// volumes are what was mounted into the container on purpose. The engine sees them at the
// same paths, so that `docker run -v` of what is in them works as with docker:dind.
func volumes(skip ...string) ([]engine.Volume, error) {
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, err
	}
	var out []engine.Volume
	for _, m := range mounts {
		if m.Mountpoint == "/" || m.Source == ownTmp || m.FSType == "tmpfs" && within(m.Mountpoint, "/run") || reservedPath(m.Mountpoint, skip) {
			continue
		}
		out = append(out, engine.Volume{
			Path: m.Mountpoint, ReadOnly: strings.HasPrefix(m.Options, "ro,") || m.Options == "ro",
		})
	}
	return out, nil
}

func reservedPath(path string, skip []string) bool {
	for _, list := range [][]string{ours, skip} {
		for _, dir := range list {
			if within(path, dir) {
				return true
			}
		}
	}
	// A place that others are mounted in is not theirs to share: the engine has its own.
	if slices.Contains([]string{"/etc", "/run", "/root", "/var", "/var/lib"}, path) {
		return true
	}
	info, err := os.Stat(path)
	return err != nil || !info.IsDir() && !info.Mode().IsRegular()
}

func within(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }
