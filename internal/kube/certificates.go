package kube

import (
	"net/url"
	"strings"

	"github.com/berth-dev/berth/internal/certsd"
	"github.com/berth-dev/berth/internal/lazyregexp"
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

var notInKeys = lazyregexp.New(`[^-._a-zA-Z0-9]`)

func (o *Options) certificatesName() string { return o.Name + "-registries" }

// certificates are the files of certs.d: an authority for each registry that has one of its
// own, and the mirror for all.
func (o *Options) certificates() []certificate {
	set := certsd.Settings{Mirror: o.Mirror}
	for _, r := range o.RegistryCAs {
		set.CAs = append(set.CAs, certsd.CA(r))
	}
	if u, err := url.Parse(o.Mirror); err == nil && o.MirrorCA != "" {
		set.CAs = append(set.CAs, certsd.CA{Host: u.Host, PEM: o.MirrorCA})
	}
	var out []certificate
	for _, f := range certsd.Make(set).Files() {
		path := strings.TrimPrefix(f.Path, certsDir+"/")
		out = append(out, certificate{notInKeys().ReplaceAllString(strings.Replace(path, "/", ".", 1), "_"), path, f.Text})
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
