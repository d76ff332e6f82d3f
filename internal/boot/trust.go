package boot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/berth-dev/berth/internal/certsd"
	"github.com/berth-dev/berth/internal/config"
	"github.com/berth-dev/berth/internal/engine"
	"github.com/berth-dev/berth/internal/trust"
)

// trustFlags are the flags, and variables, that say whom the engine trusts.
type trustFlags struct {
	mirror      string   // URL of a mirror for all registries, or off
	cas         []string // files or directories with authorities
	registryCAs []string // HOST[:PORT]=FILE
	shareCA     bool
	mirrorOnly  bool // no registry is asked when the mirror fails
}

// trustFromEnv reads the variables. Flags add to what is trusted.
func trustFromEnv(env map[string]string) trustFlags {
	on := func(name string) bool { return env[name] == "1" || env[name] == "true" }
	f := trustFlags{mirror: env["BERTH_MIRROR"], mirrorOnly: on("BERTH_MIRROR_ONLY"), shareCA: on("BERTH_SHARE_CA")}
	if ca := env["BERTH_CA"]; ca != "" {
		f.cas = []string{ca}
	}
	f.registryCAs = strings.FieldsFunc(env["BERTH_REGISTRY_CA"], func(r rune) bool { return r == ',' || r == ' ' })
	return f
}

// takeDefaults adds what the configuration file says, if one is mounted.
func (p *plan) takeDefaults(file config.File) {
	if p.mirror == "" {
		p.mirror = file.Engine.Mirror
	}
	p.cas = append(p.cas, file.Trust.CA...)
	for host, path := range file.Trust.RegistryCA {
		p.registryCAs = append(p.registryCAs, host+"="+path)
	}
	p.shareCA = p.shareCA || file.Engine.ShareCA && !p.given["share-ca"]
	p.mirrorOnly = p.mirrorOnly || file.Engine.MirrorOnly && !p.given["mirror-only"] && p.mirror != engine.MirrorOff
}

// trust completes the specification by what the engine trusts, and reads the certificates.
func (p *plan) trust(spec *engine.Spec) error {
	if _, err := os.Stat(certsd.Dir); err == nil {
		spec.Trust.CertsDir = certsd.Dir
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if spec.Trust.Mirror = p.mirror; p.mirror == "auto" {
		spec.Trust.Mirror = engine.MirrorAuto
	}
	spec.Trust.ShareCA, spec.Trust.MirrorOnly = p.shareCA, p.mirrorOnly
	for _, path := range p.cas {
		text, err := trust.Read(path)
		if err != nil {
			return fmt.Errorf("--ca: %w", err)
		}
		spec.Trust.CAs += text
	}
	for _, s := range p.registryCAs {
		host, pem, err := trust.ReadFor(s)
		if err != nil {
			return fmt.Errorf("--registry-ca %s: %w", s, err)
		}
		spec.RegistryCAs = append(spec.RegistryCAs, engine.RegistryCA{Host: host, PEM: pem})
	}
	return spec.CheckTrust()
}

// values are those of a flag that is dockerd's.
func (p *plan) values(flag string) (list []string) {
	for i, arg := range p.args {
		if value, ok := strings.CutPrefix(arg, "--"+flag+"="); ok {
			list = append(list, value)
		} else if arg == "--"+flag && i+1 < len(p.args) {
			list = append(list, p.args[i+1])
		}
	}
	return list
}

// mergeRegistries has daemon.json say what the flags say of registries. dockerd is told by
// the flags: this is for those who want to know (see plan.given). What the configuration
// file says adds to either.
func (p *plan) mergeRegistries(file config.Trust) error {
	c := map[string]any{}
	if len(p.config) > 0 {
		if err := json.Unmarshal(p.config, &c); err != nil {
			return err
		}
	}
	for _, host := range file.Insecure {
		if p.given["insecure-registries"] {
			p.args = append(p.args, "--insecure-registry="+host)
			continue
		}
		list, _ := c["insecure-registries"].([]any)
		c["insecure-registries"] = append(list, host)
	}
	for flag, key := range map[string]string{"registry-mirror": "registry-mirrors", "insecure-registry": "insecure-registries"} {
		if p.given[key] {
			c[key] = p.values(flag)
		}
	}
	if len(c) == 0 {
		return nil
	}
	var err error
	p.config, err = json.Marshal(c)
	return err
}
