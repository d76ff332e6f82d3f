package cli

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/config"
	"github.com/berth-dev/berth/internal/engine"
	"github.com/berth-dev/berth/internal/trust"
)

// What flags about trust say in each verb that has them.
const (
	caHelp         = "trust the certificates in a `FILE` or DIR"
	registryCAHelp = "trust the certificates in FILE for a registry: `HOST[:PORT]=FILE`"
	insecureHelp   = "a `REGISTRY` whose certificate is not judged"
)

// trustFlags say whom an engine trusts, and what it pulls through.
type trustFlags struct {
	cas, insecure    []string
	certsDir, mirror string
	shareCA          bool
	mirrorOnly       bool
}

func (f *trustFlags) register(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringArrayVar(&f.cas, "ca", nil, caHelp+" for everything in the engine")
	fs.BoolVar(&f.shareCA, "share-ca", false, "offer them to containers that ask with --device "+engine.CADevice)
	fs.StringArrayVar(&f.insecure, "insecure-registry", nil, insecureHelp+", or that has none")
	fs.StringVar(&f.certsDir, "certs-dir", "", "a `DIR` with the form of /etc/docker/certs.d")
	fs.BoolVar(&f.mirrorOnly, "mirror-only", false, "do not go to a registry itself when the mirror fails")
	fs.StringVar(&f.mirror, "mirror", "", "`URL` of a mirror of all registries, local for this machine's, or off (default: local, if it runs)")
}

func (f *trustFlags) parse(spec *engine.Spec) error {
	for _, path := range f.cas {
		text, err := trust.Read(path)
		if err != nil {
			return fmt.Errorf("--ca: %w", err)
		}
		spec.Trust.CAs += text
	}
	spec.Trust.ShareCA, spec.Trust.Insecure, spec.Trust.MirrorOnly = f.shareCA, f.insecure, f.mirrorOnly
	if f.certsDir != "" {
		dir, err := filepath.Abs(f.certsDir)
		if err != nil {
			return fmt.Errorf("--certs-dir %s: %w", f.certsDir, err)
		}
		spec.Trust.CertsDir = dir
	}
	if spec.Trust.Mirror = f.mirror; f.mirror == "auto" {
		spec.Trust.Mirror = engine.MirrorAuto
	}
	return nil
}

// takeDefaults fills in from the configuration file what no flag says.
func (f *engineFlags) takeDefaults(cmd *cobra.Command) error {
	file, err := config.Load()
	if err != nil || file.Path == "" {
		return err
	}
	unset := func(flag string) bool { return !cmd.Flags().Changed(flag) }
	e, t := file.Engine, file.Trust
	for flag, p := range map[string][2]*string{
		"memory": {&f.memory, &e.Memory}, "disk": {&f.disk, &e.Disk}, "cpus": {&f.cpus, &e.CPUs}, "isolation": {&f.isolation, &e.Isolation},
		"runtime": {&f.runtime, &e.Runtime}, "cgroup-parent": {&f.cgroupParent, &e.CgroupParent},
		"share-as": {&f.shareAs, &e.ShareAs}, "daemon-config": {&f.daemonConfig, &e.DaemonConfig},
		"mirror": {&f.mirror, &e.Mirror}, "certs-dir": {&f.certsDir, &t.CertsDir},
	} {
		if unset(flag) && *p[1] != "" {
			*p[0] = *p[1]
		}
	}
	if unset("pids") && e.PIDs != 0 {
		f.pids = e.PIDs
	}
	if unset("mtu") && e.MTU != 0 {
		f.mtu = e.MTU
	}
	if unset("share-ca") {
		f.shareCA = e.ShareCA
	}
	if unset("mirror-only") {
		f.mirrorOnly = e.MirrorOnly && f.mirror != engine.MirrorOff
	}
	// What is trusted, and names, add up.
	f.cas = append(t.CA, f.cas...)
	f.insecure = append(t.Insecure, f.insecure...)
	f.addHosts = append(e.AddHosts, f.addHosts...)
	for host, path := range t.RegistryCA {
		if !f.hasRegistryCA(host) {
			f.registryCAs = append(f.registryCAs, host+"="+path)
		}
	}
	return nil
}

func (f *engineFlags) hasRegistryCA(host string) bool {
	for _, s := range f.registryCAs {
		if name, _, _ := strings.Cut(s, "="); name == host {
			return true
		}
	}
	return false
}
