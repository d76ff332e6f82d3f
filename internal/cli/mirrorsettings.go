package cli

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/certsd"
	"github.com/berth-dev/berth/internal/config"
	"github.com/berth-dev/berth/internal/mirror"
	"github.com/berth-dev/berth/internal/trust"
)

// merge takes from the file what no flag says.
func (f *mirrorFlags) merge(cmd *cobra.Command, file config.Mirror) {
	unset := func(flag string) bool { return !cmd.Flags().Changed(flag) }
	for flag, p := range map[string][2]*string{
		"dir": {&f.Dir, &file.Dir}, "socket": {&f.Socket, &file.Socket}, "tls-cert": {&f.TLSCert, &file.TLSCert},
		"tls-key": {&f.TLSKey, &file.TLSKey}, "max-size": {&f.MaxSize, &file.MaxSize}, "tag-ttl": {&f.TagTTL, &file.TagTTL},
		"verify": {&f.Verify, &file.Verify}, "on-leave": {&f.OnLeave, &file.OnLeave},
		"docker-config": {&f.DockerConfig, &file.DockerConfig}, "access-log": {&f.AccessLog, &file.AccessLog},
	} {
		if unset(flag) {
			*p[0] = *p[1]
		}
	}
	for flag, p := range map[string][2]*[]string{
		"listen": {&f.Listen, &file.Listen}, "name": {&f.Names, &file.Names}, "allow": {&f.Allow, &file.Allow}, "deny": {&f.Deny, &file.Deny},
	} {
		if unset(flag) {
			*p[0] = *p[1]
		}
	}
	if unset("offline") {
		f.Offline = file.Offline
	}
	if unset("plain-http") {
		f.PlainHTTP = file.PlainHTTP
	}
	f.Upstream = file.Upstream
}

// config is what the flags and the file come to.
func (f *mirrorFlags) config(file config.File) (mirror.Config, error) {
	c := mirror.Config{Dir: f.Dir, Allow: f.Allow, Deny: f.Deny, Offline: f.Offline, Verify: mirror.Verify(f.Verify), Upstreams: map[string]mirror.Upstream{}}
	if !slices.Contains([]mirror.Verify{"", mirror.VerifyOnce, mirror.VerifyAlways, mirror.VerifyNever}, c.Verify) {
		return c, fmt.Errorf("--verify %s: choose once, always or never", f.Verify)
	}
	if !slices.Contains([]string{"", "cancel", "finish"}, f.OnLeave) {
		return c, fmt.Errorf("--on-leave %s: choose cancel or finish", f.OnLeave)
	}
	c.Finish = f.OnLeave == "finish"
	if f.MaxSize != "" {
		n, err := units.RAMInBytes(f.MaxSize)
		if err != nil || n <= 0 {
			return c, fmt.Errorf("--max-size %s: not a size; give a number with m or g, such as 50g", f.MaxSize)
		}
		c.MaxSize = n
	}
	if f.TagTTL != "" {
		d, err := time.ParseDuration(f.TagTTL)
		if err != nil || d < 0 {
			return c, fmt.Errorf("--tag-ttl %s: not a duration; give one such as 30s, or 0", f.TagTTL)
		}
		if c.TagTTL = d; d == 0 {
			c.TagTTL = -1
		}
	}
	if f.DockerConfig != "" {
		c.Credentials = mirror.DockerConfig(f.DockerConfig)
	}
	if (f.TLSCert == "") != (f.TLSKey == "") {
		return c, errors.New("--tls-cert and --tls-key belong together")
	}
	if err := f.addUpstreams(&c, file); err != nil {
		return c, err
	}
	return c, f.addTrust(&c, file.Trust)
}

func (f *mirrorFlags) addUpstreams(c *mirror.Config, file config.File) error {
	for name, u := range f.Upstream {
		up := mirror.Upstream{URL: u.URL, Insecure: u.Insecure, User: u.User, Hosts: u.Hosts}
		var err error
		if u.CA != "" {
			if up.CA, err = trust.Read(u.CA); err != nil {
				return fmt.Errorf("mirror.upstream.%q: %w", name, err)
			}
		}
		if u.ClientCert != "" {
			pair, err := tls.LoadX509KeyPair(u.ClientCert, u.ClientKey)
			if err != nil {
				return fmt.Errorf("mirror.upstream.%q: %w", name, err)
			}
			up.ClientCert = &pair
		}
		if u.PasswordFile != "" {
			b, err := readSmall(u.PasswordFile)
			if err != nil {
				return fmt.Errorf("mirror.upstream.%q: %s: %w", name, u.PasswordFile, err)
			}
			up.Password = strings.TrimRight(string(b), "\r\n")
		}
		c.Upstreams[name] = up
	}
	for _, s := range f.upstreams {
		name, url, _ := strings.Cut(s, "=")
		if err := certsd.CheckRegistry(name); err != nil {
			return fmt.Errorf("--upstream %s: %w", s, err)
		}
		up := c.Upstreams[name]
		up.URL = url
		c.Upstreams[name] = up
	}
	return nil
}

// addTrust adds what is trusted. A registry that something is said of is one of the
// configuration: it may be on a private address.
func (f *mirrorFlags) addTrust(c *mirror.Config, file config.Trust) error {
	for _, path := range append(append([]string(nil), file.CA...), f.cas...) {
		text, err := trust.Read(path)
		if err != nil {
			return fmt.Errorf("--ca %w", err)
		}
		c.CAs += text
	}
	for host, path := range file.RegistryCA {
		f.registryCAs = append(f.registryCAs, host+"="+path)
	}
	for _, s := range f.registryCAs {
		ca, err := parseRegistryCA(s)
		if err != nil {
			return fmt.Errorf("--registry-ca %s: %w", s, err)
		}
		up := c.Upstreams[ca.Host]
		up.CA += ca.PEM
		c.Upstreams[ca.Host] = up
	}
	for _, host := range append(append([]string(nil), file.Insecure...), f.insecure...) {
		if err := certsd.CheckRegistry(host); err != nil {
			return fmt.Errorf("--insecure-registry %w", err)
		}
		up := c.Upstreams[host]
		up.Insecure = true
		c.Upstreams[host] = up
	}
	return nil
}
