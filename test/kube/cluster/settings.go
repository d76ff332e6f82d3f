package cluster

import (
	"bytes"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"text/template"
)

//go:embed conf
var conf embed.FS

var templates = template.Must(template.ParseFS(conf, "conf/*"))

// values fill in the settings.
type values struct {
	Dir     string // of this cluster's files
	Bin     string // of its programs
	Address string // of its node
	Domain  string // whose names are all the node's
	Pause   string // image of the pods' first container
	User    string // of a kubeconfig
	Systemd bool   // makes the control groups
}

func (c *Cluster) values(user string) values {
	return values{Dir: c.dir, Bin: c.bin, Address: Address, Domain: Domain, Pause: pauseImage, User: user, Systemd: c.systemd}
}

// writeSettings writes every daemon's configuration below the cluster's directory.
func (c *Cluster) writeSettings() error {
	for file, name := range map[string]string{
		"containerd.toml": "containerd.toml", "kubelet.yaml": "kubelet.yaml", "kubeproxy.yaml": "kubeproxy.yaml",
		"cni.conflist": "cni/10-pods.conflist", "corefile": "corefile",
	} {
		if err := c.render(file, name, ""); err != nil {
			return err
		}
	}
	for _, user := range users {
		if err := c.render("kubeconfig", "pki/"+user.name+".kubeconfig", user.name); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(c.dir, "resolv.conf"), []byte("nameserver "+Address+"\n"), 0o644)
}

func (c *Cluster) render(file, name, user string) error {
	var text bytes.Buffer
	if err := templates.ExecuteTemplate(&text, file, c.values(user)); err != nil {
		return fmt.Errorf("settings of %s: %w", file, err)
	}
	path := filepath.Join(c.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, text.Bytes(), 0o600)
}
