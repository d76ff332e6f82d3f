package engine

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/berth-dev/berth/internal/certsd"
	"github.com/berth-dev/berth/internal/cgroup"
	"github.com/berth-dev/berth/internal/disklimit"
	"github.com/berth-dev/berth/internal/lazyregexp"
	"github.com/berth-dev/berth/internal/state"
)

// minMemory is the least that dockerd can be started and used with, in bytes.
const minMemory = 64 << 20

// Bounds of a processor limit: the kernel's shortest quota is 1 ms of each 100 ms.
const (
	minCPUs = 0.01
	maxCPUs = 1 << 16
)

// minPIDs is the least number of tasks that dockerd and one container come to.
const minPIDs = 64

// Validate refuses what cannot work before anything is changed, and fills in defaults.
func (s *Spec) Validate() error {
	if s.Isolation == "" {
		s.Isolation = IsolationUserNS
	}
	if s.Network.Driver == "" {
		s.Network.Driver = NetworkVeth
	}
	if s.ShareAs == "" {
		s.ShareAs = ShareAsRoot
	}
	for _, check := range []func(*Spec) error{
		checkName, checkChoices, checkLimits, checkCgroupParent, checkNetwork, checkShares, checkRuntime, checkCAs, checkTrust, checkDaemonConfig, checkFrom,
	} {
		if err := check(s); err != nil {
			return err
		}
	}
	return nil
}

// CheckTrust is the part of [Spec.Validate] that is about certificates and the mirror.
func (s *Spec) CheckTrust() error {
	if err := checkCAs(s); err != nil {
		return err
	}
	return checkTrust(s)
}

func checkName(s *Spec) error {
	if s.Name != "" && !state.NamePattern().MatchString(s.Name) {
		return &SpecError{"name", fmt.Sprintf("%q will not do: use 1 to 63 of a-z, 0-9, dot, underscore and hyphen, beginning with a letter or digit", s.Name)}
	}
	return nil
}

func checkChoices(s *Spec) error {
	if s.Isolation != IsolationUserNS && s.Isolation != IsolationRootful {
		return &SpecError{"--isolation", fmt.Sprintf("%q is neither userns nor rootful", s.Isolation)}
	}
	if s.ShareAs != ShareAsRoot && s.ShareAs != ShareAsKeepID {
		return &SpecError{"--share-as", fmt.Sprintf("%q is neither root nor keep-id", s.ShareAs)}
	}
	return nil
}

func checkLimits(s *Spec) error {
	switch l := s.Limits; {
	case l.Memory < 0 || l.Memory > 0 && l.Memory < minMemory:
		return &SpecError{"--memory", fmt.Sprintf("%d bytes are too few for dockerd and a container; give at least %dm", l.Memory, minMemory>>20)}
	case l.CPUs < 0 || l.CPUs > 0 && l.CPUs < minCPUs:
		return &SpecError{"--cpus", fmt.Sprintf("%g processors are too few; give at least %g", l.CPUs, minCPUs)}
	case l.CPUs > maxCPUs:
		return &SpecError{"--cpus", fmt.Sprintf("no machine has %g processors; leave it out for no limit", l.CPUs)}
	case l.PIDs < 0 || l.PIDs > 0 && l.PIDs < minPIDs:
		return &SpecError{"--pids", fmt.Sprintf("%d processes are too few for dockerd and a container; give at least %d", l.PIDs, minPIDs)}
	case l.Disk < 0 || l.Disk > 0 && l.Disk < disklimit.Least:
		return &SpecError{"--disk", fmt.Sprintf("%d bytes are too few for an engine; give at least %dm", l.Disk, disklimit.Least>>20)}
	}
	return nil
}

func checkCgroupParent(s *Spec) error {
	if err := cgroup.CheckParent(s.CgroupParent); err != nil {
		return &SpecError{"--cgroup-parent", err.Error()}
	}
	return nil
}

// hostPattern is a host name (RFC 1123, section 2.1), or one with underscores, as services have.
var hostPattern = lazyregexp.New(`^[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?(\.[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?)*$`)

func checkNetwork(s *Spec) error {
	if d := s.Network.Driver; d != NetworkVeth && d != NetworkNone {
		return &SpecError{"--net", fmt.Sprintf("%q is no network driver; there are veth and none", d)}
	}
	// RFC 791 and RFC 8200 ask every link for these; the upper end is the kernel's for veth.
	if mtu := s.Network.MTU; mtu != 0 && (mtu < 1280 || mtu > 65535) {
		return &SpecError{"--mtu", fmt.Sprintf("%d is not between 1280 and 65535", mtu)}
	}
	for _, h := range s.Network.Hosts {
		if !hostPattern().MatchString(h.Name) || len(h.Name) > 253 {
			return &SpecError{"--add-host", fmt.Sprintf("%q is not a host name", h.Name)}
		}
		if _, err := netip.ParseAddr(h.Addr); err != nil && h.Addr != HostGateway {
			return &SpecError{"--add-host", fmt.Sprintf("%q is neither an IP address nor %s", h.Addr, HostGateway)}
		}
		if h.Addr == HostGateway && s.Network.Driver == NetworkNone {
			return &SpecError{"--add-host", h.Name + ":" + HostGateway + " needs a network; use --net veth"}
		}
	}
	return nil
}

// reserved are the places where an engine has its own files: a share there would cut the
// engine off from them, or the host off from its own.
var reserved = []string{"/proc", "/sys", "/dev", "/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/docker", "/var/lib/docker", "/run/berth", "/var/run", "/var/tmp"}

func checkShares(s *Spec) error {
	for i, sh := range s.Shares {
		if problem := shareProblem(sh.Path); problem != "" {
			return &SpecError{"--share", sh.Path + ": " + problem}
		}
		if slices.ContainsFunc(s.Shares[:i], func(o Share) bool { return o.Path == sh.Path }) {
			return &SpecError{"--share", sh.Path + ": it is shared twice"}
		}
	}
	return nil
}

// ShareProblem says why a path cannot be shared, or returns "". The path must be absolute
// with its symbolic links resolved.
func (m *Manager) ShareProblem(path string) string {
	for _, own := range []string{m.paths.Run, m.paths.State} {
		if within(path, own) || within(own, path) {
			return "it holds, or is in, berth's own directory " + own + "; share a directory of your own"
		}
	}
	return shareProblem(path)
}

func shareProblem(path string) string {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return "it is not an absolute, clean path"
	}
	if path == "/" {
		return "the whole file system cannot be shared; share the directories that are needed"
	}
	for _, r := range reserved {
		if within(path, r) || within(r, path) {
			return "the engine has its own " + r + "; share a directory elsewhere"
		}
	}
	for _, r := range []string{"/etc", "/run", "/tmp", "/root"} {
		if path == r {
			return "the engine has its own " + r + "; share a directory below it"
		}
	}
	return ""
}

// within reports whether path is dir or below it.
func within(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

func checkRuntime(s *Spec) error {
	if s.Runtime != "" && !filepath.IsAbs(s.Runtime) {
		return &SpecError{"--runtime", fmt.Sprintf("%q is not the absolute path of an OCI runtime", s.Runtime)}
	}
	return nil
}

func checkCAs(s *Spec) error {
	for _, ca := range s.RegistryCAs {
		if err := certsd.CheckRegistry(ca.Host); err != nil {
			return &SpecError{"--registry-ca", err.Error()}
		}
	}
	return nil
}

func checkDaemonConfig(s *Spec) error {
	if len(s.DaemonConfig) == 0 {
		return nil
	}
	var c map[string]json.RawMessage
	if err := json.Unmarshal(s.DaemonConfig, &c); err != nil {
		return &SpecError{"--daemon-config", fmt.Sprintf("not a JSON object: %v", err)}
	}
	for _, k := range ownSettings {
		if _, there := c[k]; there {
			return &SpecError{"--daemon-config", fmt.Sprintf("%q is the engine's own setting; leave it out", k)}
		}
	}
	return nil
}
