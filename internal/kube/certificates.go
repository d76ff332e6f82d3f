package kube

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// certificate is a file of the engine's certs.d directory
// (https://github.com/containerd/containerd/blob/main/docs/hosts.md). A ConfigMap's keys
// cannot have the colon of a registry's port, and mounts cannot either; the paths of a
// volume's items can.
type certificate struct {
	key  string // in the ConfigMap
	path string // below certs.d
	text string
}

var notInKeys = regexp.MustCompile(`[^-._a-zA-Z0-9]`)

func (o *Options) certificatesName() string { return o.Name + "-registries" }

// certificates are the files of certs.d: an authority for each registry that has one of its
// own, and the mirror for all.
func (o *Options) certificates() []certificate {
	var out []certificate
	add := func(dir, name, text string) {
		out = append(out, certificate{notInKeys.ReplaceAllString(dir+"."+name, "_"), dir + "/" + name, text})
	}
	mirror := ""
	if o.Mirror != "" {
		mirror = fmt.Sprintf("[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", strings.TrimSuffix(o.Mirror, "/"))
		if u, err := url.Parse(o.Mirror); err == nil && o.MirrorCA != "" {
			add(u.Host, "ca.crt", o.MirrorCA)
			mirror += fmt.Sprintf("  ca = [%q]\n", certsDir+"/"+u.Host+"/ca.crt")
		}
		add("_default", "hosts.toml", mirror)
	}
	for _, r := range o.RegistryCAs {
		add(r.Host, "ca.crt", r.PEM)
		if mirror != "" {
			add(r.Host, "hosts.toml", fmt.Sprintf("server = %q\nca = [\"ca.crt\"]\n%s", "https://"+r.Host, mirror))
		}
	}
	return out
}

// configMap holds what the engine trusts; ok is false when that is nothing of its own.
func (o *Options) configMap() (object, bool) {
	data := map[string]string{}
	for _, f := range o.certificates() {
		data[f.key] = f.text
	}
	if o.CA != "" {
		data["ca.crt"] = o.CA
	}
	m := object{
		APIVersion: "v1", Kind: "ConfigMap", Metadata: o.meta(o.certificatesName()), Data: data,
		comments: map[string]string{"": "Whom the engine trusts, and where it asks for images first."},
	}
	return m, len(data) > 0
}
