// Package config reads berth's configuration file: what the flags can say, once for a machine.
//
// The file is TOML (https://toml.io/en/v1.0.0). Keys are those of the structures here; an
// unknown one is an error that suggests what may have been meant. Sizes and durations are
// text as the flags have it ("20g", "30s"). Paths in the file are relative to its
// directory. The package judges the form only; what a setting means is its user's business.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pelletier/go-toml/v2"
)

// Default is where the file is unless Env says otherwise; it need not exist.
const (
	Default = "/etc/berth/berth.toml"
	Env     = "BERTH_CONFIG"
)

// File is a configuration file.
type File struct {
	Path   string `toml:"-"` // empty: there is none
	Trust  Trust  `toml:"trust"`
	Engine Engine `toml:"engine"`
	Mirror Mirror `toml:"mirror"`
}

// Trust is what engines and the mirror trust.
type Trust struct {
	CA         []string          `toml:"ca"`                // files or directories of certificates, for everything
	RegistryCA map[string]string `toml:"registry_ca"`       // file by registry host[:port]
	Insecure   []string          `toml:"insecure_registry"` // registries whose certificate is not judged
	CertsDir   string            `toml:"certs_dir"`         // a certs.d tree as /etc/docker/certs.d
}

// Engine holds what `run` and `up` take when a flag is not given.
type Engine struct {
	Memory       string   `toml:"memory"`
	CPUs         string   `toml:"cpus"`
	PIDs         int64    `toml:"pids"`
	Disk         string   `toml:"disk"`
	MTU          int      `toml:"mtu"`
	Isolation    string   `toml:"isolation"`
	Runtime      string   `toml:"runtime"`
	CgroupParent string   `toml:"cgroup_parent"`
	ShareAs      string   `toml:"share_as"`
	AddHosts     []string `toml:"add_host"`
	DaemonConfig string   `toml:"daemon_config"`
	Mirror       string   `toml:"mirror"` // URL, auto or off
	MirrorOnly   bool     `toml:"mirror_only"`
	ShareCA      bool     `toml:"share_ca"`
}

// Mirror is what `berth mirror serve` does.
type Mirror struct {
	Dir          string              `toml:"dir"`
	Socket       string              `toml:"socket"` // path or none
	Listen       []string            `toml:"listen"` // host:port
	Names        []string            `toml:"name"`   // in its certificate
	TLSCert      string              `toml:"tls_cert"`
	TLSKey       string              `toml:"tls_key"`
	PlainHTTP    bool                `toml:"plain_http"`
	MaxSize      string              `toml:"max_size"`
	TagTTL       string              `toml:"tag_ttl"`
	Offline      bool                `toml:"offline"`
	Verify       string              `toml:"verify"`
	OnLeave      string              `toml:"on_leave"` // cancel or finish
	Allow        []string            `toml:"allow"`
	Deny         []string            `toml:"deny"`
	DockerConfig string              `toml:"docker_config"`
	AccessLog    string              `toml:"access_log"`
	Upstream     map[string]Upstream `toml:"upstream"` // by registry
}

// Upstream is one registry of the mirror.
type Upstream struct {
	URL          string   `toml:"url"`
	CA           string   `toml:"ca"`
	ClientCert   string   `toml:"client_cert"`
	ClientKey    string   `toml:"client_key"`
	Insecure     bool     `toml:"insecure"`
	User         string   `toml:"user"`
	PasswordFile string   `toml:"password_file"` // a file, so that this one may be read by all
	Hosts        []string `toml:"hosts"`
}

// Load reads the file that the environment names, or the default one, which may be missing.
func Load() (File, error) {
	if path := os.Getenv(Env); path != "" {
		return Read(path)
	}
	f, err := Read(Default)
	if errors.Is(err, fs.ErrNotExist) {
		return File{}, nil
	}
	return f, err
}

// Read reads a file. Errors name the file, the line and what is wrong.
func Read(path string) (File, error) {
	r, err := os.Open(path)
	if err != nil {
		return File{}, err
	}
	defer r.Close()
	f := File{Path: path}
	err = toml.NewDecoder(r).DisallowUnknownFields().Decode(&f)
	if err != nil {
		return File{}, describe(path, err)
	}
	f.resolve(filepath.Dir(path))
	return f, nil
}

// describe makes one line of what the decoder says.
func describe(path string, err error) error {
	var unknown *toml.StrictMissingError
	var syntax *toml.DecodeError
	switch {
	case errors.As(err, &unknown) && len(unknown.Errors) > 0:
		first := unknown.Errors[0]
		row, _ := first.Position()
		return fmt.Errorf("%s:%d: unknown key %q%s", path, row, join(first.Key()), suggestion(first.Key()))
	case errors.As(err, &syntax):
		row, column := syntax.Position()
		return fmt.Errorf("%s:%d:%d: %s", path, row, column, syntax.Error())
	}
	return fmt.Errorf("%s: %w", path, err)
}

// resolve makes paths absolute.
func (f *File) resolve(dir string) {
	abs := func(p *string) {
		if *p != "" && *p != "none" && *p != "-" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	for i := range f.Trust.CA {
		abs(&f.Trust.CA[i])
	}
	for host, file := range f.Trust.RegistryCA {
		abs(&file)
		f.Trust.RegistryCA[host] = file
	}
	m := &f.Mirror
	for _, p := range []*string{&f.Trust.CertsDir, &f.Engine.DaemonConfig, &m.Dir, &m.Socket, &m.TLSCert, &m.TLSKey, &m.DockerConfig, &m.AccessLog} {
		abs(p)
	}
	for name, u := range m.Upstream {
		for _, p := range []*string{&u.CA, &u.ClientCert, &u.ClientKey, &u.PasswordFile} {
			abs(p)
		}
		m.Upstream[name] = u
	}
}
