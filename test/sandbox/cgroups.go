package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

// hierarchy is one mounted cgroup file system.
type hierarchy struct {
	point   string // where it is mounted
	kind    string // cgroup or cgroup2
	options string // controllers or name of a v1 hierarchy
	own     string // where the outer process is in it, as seen in the file system
}

// groups are the cgroups that the outer process made for a sandbox.
type groups []string

// makeCgroups makes one cgroup called name in every hierarchy, below the one
// that this process is in.
func makeCgroups(name string) (groups, error) {
	all, err := hierarchies()
	if err != nil {
		return nil, err
	}
	var made groups
	for _, h := range all {
		dir := filepath.Join(h.own, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			if errors.Is(err, unix.EROFS) {
				continue
			}
			return made, fmt.Errorf("make a cgroup for the tests: %w", err)
		}
		made = append(made, dir)
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} { // empty in a new cgroup of v1
			if value, err := os.ReadFile(filepath.Join(h.own, file)); err == nil {
				_ = os.WriteFile(filepath.Join(dir, file), value, 0)
			}
		}
	}
	return made, nil
}

// remove removes the cgroups with whatever was made below them. Their processes
// ended with the sandbox.
func (g groups) remove() {
	for _, root := range g {
		var dirs []string
		filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		slices.Reverse(dirs)
		for _, dir := range dirs {
			os.Remove(dir)
		}
	}
}

// joinCgroups moves this process into the sandbox's cgroups and makes them the
// roots of a new cgroup namespace.
func joinCgroups(work string) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range all {
		procs := filepath.Join(h.own, filepath.Base(work), "cgroup.procs")
		if err := os.WriteFile(procs, []byte("0"), 0); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return unix.Unshare(unix.CLONE_NEWCGROUP)
}

// mountSys mounts sysfs anew, for the new network namespace, and in it the
// cgroup hierarchies, for the new cgroup namespace.
func mountSys() error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("/sys: %w", err)
	}
	unified := len(all) == 1 && all[0].kind == "cgroup2"
	if !unified {
		if err := unix.Mount("tmpfs", cgroupRoot, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
			return fmt.Errorf("%s: %w", cgroupRoot, err)
		}
	}
	for _, h := range all {
		if err := os.MkdirAll(h.point, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("cgroup", h.point, h.kind, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, h.options); err != nil {
			return fmt.Errorf("%s: %w", h.point, err)
		}
	}
	return nil
}

// hierarchies reads /proc/self/mountinfo and /proc/self/cgroup (cgroups(7)).
func hierarchies() ([]hierarchy, error) {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	mine, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	var out []hierarchy
	for line := range strings.Lines(string(info)) {
		before, after, _ := strings.Cut(strings.TrimSpace(line), " - ")
		fields, super := strings.Fields(before), strings.Fields(after)
		if len(fields) < 5 || len(super) < 3 || !strings.HasPrefix(super[0], "cgroup") || !strings.HasPrefix(fields[4], cgroupRoot) {
			continue
		}
		h := hierarchy{point: fields[4], kind: super[0], options: controllers(super[2])}
		h.own = filepath.Join(h.point, place(string(mine), h.options))
		out = append(out, h)
	}
	return out, nil
}

// controllers drops the options that belong to the mount, not to the hierarchy.
func controllers(super string) string {
	var kept []string
	for _, option := range strings.Split(super, ",") {
		switch option {
		case "rw", "ro", "nsdelegate", "memory_recursiveprot", "xattr", "relatime":
		default:
			if !strings.HasPrefix(option, "release_agent=") {
				kept = append(kept, option)
			}
		}
	}
	return strings.Join(kept, ",")
}

// place finds where a process is in the hierarchy of these controllers (none:
// the unified one).
func place(cgroup, controllers string) string {
	for line := range strings.Lines(cgroup) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) == 3 && fields[1] == controllers {
			return fields[2]
		}
	}
	return "/"
}
