package engine

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/berth-dev/berth/internal/bundle"
	"github.com/berth-dev/berth/internal/ids"
	"github.com/berth-dev/berth/internal/network"
	"github.com/berth-dev/berth/internal/pid1"
)

// Nest makes a manager's engine the engine of the container that the manager runs in
// (`berth init`): what is the container's, its volumes and sockets, is the engine's. A
// manager with a nest makes one engine.
type Nest struct {
	// Data is the directory that is the data root, and stays when the engine has ended.
	Data string
	// Volumes are other directories and files of the container, at the same paths.
	Volumes []Volume
	// IDMapped has ids on the disks of Data and Volumes mean the same inside; otherwise
	// they have to belong to the engine's own range.
	IDMapped bool
	// Listeners listen for the Docker API in the container's network namespace.
	Listeners []*os.File
	// Ports is the socket by which the engine has ports of the container opened for those
	// that its containers publish (see pid1.Proxy); empty for none.
	Ports string
	// CgroupParent is the group below which the engine's is, as in the container's mounts.
	CgroupParent string
	// Resolv are lines for the engine's resolv.conf besides its name server: the container's
	// search list and options, with which short names of a cluster are found.
	Resolv string
	// Console is where the engine's log goes.
	Console *os.File

	Files   []pid1.File // below /etc in the engine
	Args    []string    // for dockerd's command line, after its name
	Env     []string    // for dockerd
	Without []string    // keys of daemon.json that Args has, which dockerd would complain of
}

// Volume is a path of the container that its engine sees.
type Volume struct {
	Path     string
	ReadOnly bool
	IDMapped bool // the file system can be idmapped
}

// place says where the engine's data and log are, which have their own places otherwise.
func (n *Nest) place(info *Info) {
	if n != nil {
		info.Data, info.Log = n.Data, ""
	}
}

func (n *Nest) cgroupParent() string {
	if n == nil {
		return ""
	}
	return n.CgroupParent
}

func (n *Nest) resolv() string {
	if n == nil {
		return ""
	}
	return n.Resolv
}

func (n *Nest) console() *os.File {
	if n == nil {
		return nil
	}
	return n.Console
}

func (n *Nest) listeners() []*os.File {
	if n == nil {
		return nil
	}
	return n.Listeners
}

// bundle adds the container's volumes to the engine's mounts.
func (n *Nest) bundle(c *bundle.Config, root string, r *ids.Range) error {
	if n == nil {
		return nil
	}
	c.Recursive = true
	c.Volatile = false // people restart containers, and expect the data to be there
	var same []specs.LinuxIDMapping
	if r != nil && r.First != 0 {
		same = []specs.LinuxIDMapping{{ContainerID: 0, HostID: r.First, Size: r.Size}}
	}
	if n.IDMapped {
		c.DataIDs = same
	}
	for _, v := range n.Volumes {
		if err := makeMountPoint(root, v.Path); err != nil {
			return fmt.Errorf("give %s to the engine: %w", v.Path, err)
		}
		share := bundle.Share{Source: v.Path, Path: v.Path, ReadOnly: v.ReadOnly}
		if v.IDMapped {
			share.UIDs, share.GIDs = same, same
		}
		c.Shares = append(c.Shares, share)
	}
	if n.Ports != "" {
		c.Shares = append(c.Shares, bundle.Share{Source: n.Ports, Path: pid1.PortsSocket})
	}
	return nil
}

// owner makes the data root the engine's, where a mount does not do that.
func (n *Nest) owner(r *ids.Range) error {
	uid := 0
	if r != nil && !n.IDMapped {
		uid = int(r.First)
	}
	return os.Lchown(n.Data, uid, uid)
}

// proxyLink is where dockerd finds the program that publishes ports: init, by another name.
var proxyLink = filepath.Join("/etc/berth", pid1.ProxyName)

// override adds variables to env; of two with one name, only the later is left.
func override(env, more []string) []string {
	name := func(kv string) string { k, _, _ := strings.Cut(kv, "="); return k }
	env = slices.DeleteFunc(env, func(kv string) bool {
		return slices.ContainsFunc(more, func(m string) bool { return name(m) == name(kv) })
	})
	return append(env, more...)
}

// start completes what init is told.
func (n *Nest) start(s *pid1.Start, daemon []byte, net *network.Record) error {
	if n == nil {
		return nil
	}
	var c map[string]any
	if err := json.Unmarshal(daemon, &c); err != nil {
		return err
	}
	if n.Ports != "" {
		c["userland-proxy-path"] = proxyLink
		s.Files = append(s.Files, pid1.File{Path: proxyLink, Link: bundle.InitPath})
	}
	// Who asks for the host's gateway wants what the container has, not an empty bridge.
	if c["host-gateway-ips"] == nil && c["host-gateway-ip"] == nil && net.HostIP.IsValid() {
		c["host-gateway-ips"] = []string{net.HostIP.String()}
	}
	for _, k := range n.Without {
		delete(c, k)
	}
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	for i := range s.Files {
		if s.Files[i].Path == daemonFile {
			s.Files[i].Data = string(b)
		}
	}
	// A file of the container's below a path replaces what the engine would have there.
	s.Files = slices.DeleteFunc(s.Files, func(f pid1.File) bool {
		return slices.ContainsFunc(n.Files, func(o pid1.File) bool { return within(o.Path, f.Path) })
	})
	s.Files = append(s.Files, n.Files...)
	s.Args = append(s.Args, n.Args...)
	s.Env = override(s.Env, n.Env)
	s.Listeners = len(n.Listeners)
	return nil
}
