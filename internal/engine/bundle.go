package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/moby/sys/capability"

	"github.com/berth-dev/berth/internal/bundle"
	"github.com/berth-dev/berth/internal/cgroup"
	"github.com/berth-dev/berth/internal/linux"
)

// skeleton is the engine's own root: mount points, and the links of a merged /usr. There is
// nothing else in it: a bind mount of, say, /home must fail and not mount an empty directory.
var (
	skeletonDirs  = []string{"dev", "etc", "proc", "root", "run", "sys", "tmp", "usr", "var/lib/docker"}
	skeletonLinks = map[string]string{"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64", "var/run": "../run", "var/tmp": "../run/tmp"}
)

// listen makes the socket of the engine's Docker API. The directory is closed to everybody
// until the socket has its owner, and the engine goes on listening when this process has let go.
func (l *launch) listen(context.Context) (err error) {
	if l.listener, err = linux.ListenUnix(l.info.Socket, 0o600); err != nil {
		return fmt.Errorf("make the engine's socket: %w", err)
	}
	if err := os.Lchown(l.info.Socket, l.info.Spec.Owner.UID, l.info.Spec.Owner.GID); err != nil {
		return err
	}
	return os.Chmod(l.m.paths.Engine(l.info.ID), 0o711)
}

func (l *launch) writeBundle(context.Context) error {
	root := l.m.paths.Rootfs(l.info.ID)
	if err := makeSkeleton(root); err != nil {
		return fmt.Errorf("make the engine's root: %w", err)
	}
	for _, s := range l.info.Spec.Shares {
		if err := makeMountPoint(root, s.Path); err != nil {
			return fmt.Errorf("share %s: %w", s.Path, err)
		}
	}
	c, err := l.bundleConfig(root)
	if err != nil {
		return err
	}
	b, err := json.Marshal(bundle.Spec(c))
	if err != nil {
		return err
	}
	return os.WriteFile(l.m.paths.BundleFile(l.info.ID), b, 0o600)
}

func makeSkeleton(root string) error {
	for _, d := range skeletonDirs {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			return err
		}
	}
	for link, target := range skeletonLinks {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			return err
		}
	}
	return nil
}

// makeMountPoint makes the place of a share. In the engine's temporary file systems the OCI
// runtime makes it; the root itself belongs to the host, which the runtime cannot write to
// from within the engine's user namespace.
func makeMountPoint(root, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	place := filepath.Join(root, path)
	if info.IsDir() {
		return os.MkdirAll(place, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(place), 0o755); err != nil {
		return err
	}
	return os.WriteFile(place, nil, 0o644)
}

func (l *launch) bundleConfig(root string) (bundle.Config, error) {
	spec := l.info.Spec
	c := bundle.Config{
		Hostname: hostname(l.info.Name), Rootfs: root, Usr: filepath.Join(l.tree.Rootfs(), "usr"), Data: l.info.Data,
		Cgroup: l.m.cgroup(&l.info), Memory: spec.Limits.Memory, CPUs: spec.Limits.CPUs, PIDs: spec.Limits.PIDs,
		Swap: spec.Limits.Memory > 0 && cgroup.SwapLimit(), Volatile: !spec.Keep,
	}
	if l.info.IDs != nil {
		c.IDs = &bundle.IDRange{First: l.info.IDs.First, Size: l.info.IDs.Size}
	}
	var err error
	if c.Caps, err = capabilities(l.info.IDs != nil); err != nil {
		return c, err
	}
	for _, d := range bundle.KnownDevices() {
		if _, err := os.Stat(d); err == nil {
			c.Devices = append(c.Devices, d)
		}
	}
	if c.Shares, err = l.identifyShares(); err != nil {
		return c, err
	}
	bases, err := l.baseMounts(root)
	if err != nil {
		return c, err
	}
	c.Shares = append(c.Shares, bases...)
	return c, l.m.nest.bundle(&c, root, l.info.IDs)
}

// capabilities are all that the kernel has: within a user namespace they are the engine's
// own. A rootful engine can be given no more than berth has itself.
func capabilities(userns bool) ([]string, error) {
	caps, err := capability.ListSupported()
	if err != nil {
		return nil, fmt.Errorf("list the kernel's capabilities: %w", err)
	}
	var own capability.Capabilities
	if !userns {
		if own, err = capability.NewPid2(0); err != nil {
			return nil, err
		}
		if err := own.Load(); err != nil {
			return nil, fmt.Errorf("read this process's capabilities: %w", err)
		}
	}
	var out []string
	for _, c := range caps {
		if userns || own.Get(capability.EFFECTIVE, c) {
			out = append(out, "CAP_"+strings.ToUpper(c.String()))
		}
	}
	return out, nil
}

// hostname turns an engine's name into a host name (RFC 1123 knows no underscore).
func hostname(name string) string { return strings.Trim(strings.ReplaceAll(name, "_", "-"), "-.") }

func (m *Manager) cgroup(info *Info) string {
	return info.CgroupParent + m.paths.Cgroup() + "/" + info.ID
}

// placeCgroup chooses the group below which the engine's will be, and makes that fit.
func (l *launch) placeCgroup() (err error) {
	if l.info.CgroupParent = l.m.nest.cgroupParent(); l.info.CgroupParent == "" {
		if l.info.CgroupParent, err = cgroup.Parent(l.info.Spec.CgroupParent); err != nil {
			return err
		}
	}
	return cgroup.Prepare(l.info.CgroupParent)
}

// identifyShares checks that what is to be shared is what was agreed on, and remembers what it is.
func (l *launch) identifyShares() ([]bundle.Share, error) {
	var out []bundle.Share
	for i := range l.info.Spec.Shares {
		s := &l.info.Spec.Shares[i]
		dev, ino, err := identify(s.Path)
		if err != nil {
			return nil, err
		}
		if s.Inode != 0 && (s.Device != dev || s.Inode != ino) {
			return nil, fmt.Errorf("share %s: it is not the one any more that the engine was made with; make a new engine", s.Path)
		}
		s.Device, s.Inode = dev, ino
		uids, gids, err := l.shareMaps()
		if err != nil {
			return nil, err
		}
		out = append(out, bundle.Share{Source: s.Path, Path: s.Path, ReadOnly: s.ReadOnly, UIDs: uids, GIDs: gids})
	}
	return out, nil
}

func identify(path string) (dev, ino uint64, err error) {
	f, err := linux.OpenPath(path)
	if err == nil {
		defer f.Close()
		dev, ino, err = linux.Identity(f)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("share %s: %w", path, err)
	}
	return dev, ino, nil
}

// verifyShares compares what the OCI runtime has mounted with what was to be shared: a path
// may have been made to lead elsewhere before the runtime looked. Nothing that could use
// the mounts runs yet.
func (l *launch) verifyShares() error {
	root, err := os.OpenRoot(fmt.Sprintf("/proc/%d/root", l.info.Init.PID))
	if err != nil {
		return fmt.Errorf("look at the engine's shares: %w", err)
	}
	defer root.Close()
	for _, s := range l.info.Spec.Shares {
		info, err := root.Lstat(strings.TrimPrefix(s.Path, "/"))
		if err != nil {
			return fmt.Errorf("share %s: %w", s.Path, err)
		}
		if st := info.Sys().(*syscall.Stat_t); st.Dev != s.Device || st.Ino != s.Inode {
			return fmt.Errorf("share %s: it was exchanged for something else while the engine started; start again", s.Path)
		}
	}
	return nil
}
