package cluster

import (
	"bytes"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"text/template"

	"github.com/berth-dev/berth/test/vm/job"
)

//go:embed conf
var conf embed.FS

var templates = template.Must(template.ParseFS(conf, "conf/*"))

// settings are a place where settings are written to, and what is filled in.
type settings struct {
	to      string // directory
	Dir     string // the same, as who reads them sees it
	Bin     string // of the programs
	Address string // of the API
	Domain  string // whose names are all that address
	Pause   string // image of the pods' first container
	User    string // of a kubeconfig
	Systemd bool   // makes the control groups
}

// writeSettings writes every daemon's configuration.
func (c *Cluster) writeSettings() error {
	here := settings{to: c.dir, Dir: c.dir, Bin: c.bin, Address: Address, Domain: Domain, Pause: pauseImage}
	node := here
	if c.machine != nil {
		node.to, node.Dir, node.Bin, node.Systemd = filepath.Join(c.nodeTree(), "node"), job.Dir+"/node", job.Dir+"/bin", true
	}
	for _, user := range users {
		if err := here.kubeconfig(user.name); err != nil {
			return err
		}
	}
	for _, f := range []struct {
		s          settings
		file, name string
	}{
		{here, "corefile", "corefile"}, {here, "kubeproxy.yaml", "kubeproxy.yaml"},
		{node, "containerd.toml", "containerd.toml"}, {node, "kubelet.yaml", "kubelet.yaml"},
		{node, "cni.conflist", "cni/10-pods.conflist"}, {node, "resolv.conf", "resolv.conf"},
	} {
		if err := f.s.render(f.file, f.name); err != nil {
			return err
		}
	}
	return node.kubeconfig("kubelet")
}

func (s settings) kubeconfig(user string) error {
	s.User = user
	return s.render("kubeconfig", "pki/"+user+".kubeconfig")
}

func (s settings) render(file, name string) error {
	var text bytes.Buffer
	if err := templates.ExecuteTemplate(&text, file, s); err != nil {
		return fmt.Errorf("settings of %s: %w", file, err)
	}
	path := filepath.Join(s.to, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, text.Bytes(), 0o600)
}
