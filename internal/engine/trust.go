package engine

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/berth-dev/berth/internal/certsd"
	"github.com/berth-dev/berth/internal/pid1"
)

// Trust is whom an engine trusts besides the usual authorities, and what it pulls through.
type Trust struct {
	// CAs are authorities (PEM) that everything in the engine trusts: dockerd, its builder, git.
	CAs string `json:"cas,omitempty"`
	// ShareCA offers the authorities to containers, as the CDI device [CADevice].
	ShareCA bool `json:"share_ca,omitempty"`
	// Insecure are registries whose certificate is not judged, and that may have none, with
	// the meaning that dockerd's insecure-registries has.
	Insecure []string `json:"insecure_registries,omitempty"`
	// CertsDir is a directory on this machine with the form of /etc/docker/certs.d. It is
	// read when the engine starts, and wins over what berth would write there.
	CertsDir string `json:"certs_dir,omitempty"`
	// Mirror is the URL of a mirror of all registries, MirrorOff, MirrorLocal for that of this
	// machine, or MirrorAuto for the same if it runs when the engine starts.
	Mirror string `json:"mirror,omitempty"`
	// MirrorOnly keeps the engine from asking registries themselves when the mirror fails.
	MirrorOnly bool `json:"mirror_only,omitempty"`
}

// Values of [Trust].Mirror besides a URL.
const (
	MirrorAuto  = ""
	MirrorOff   = "off"
	MirrorLocal = "local"
)

// CADevice is what a container asks for (docker run --device) to get the engine's authorities.
const CADevice = "berth.dev/ca=bundle"

const (
	bundleFile = "/etc/ssl/certs/ca-certificates.crt"
	// payloadCerts is where the payload has the usual authorities.
	payloadCerts = "/usr/share/berth/etc/ssl/certs"
)

func checkTrust(s *Spec) error {
	t := s.Trust
	for _, host := range t.Insecure {
		if err := certsd.CheckRegistry(host); err != nil {
			return &SpecError{"--insecure-registry", err.Error()}
		}
	}
	if t.CertsDir != "" && !filepath.IsAbs(t.CertsDir) {
		return &SpecError{"--certs-dir", fmt.Sprintf("%q is not an absolute path", t.CertsDir)}
	}
	if t.MirrorOnly && t.Mirror == MirrorOff {
		return &SpecError{"--mirror-only", "there is no mirror with --mirror off"}
	}
	if slices.Contains([]string{MirrorAuto, MirrorOff, MirrorLocal}, t.Mirror) {
		return nil
	}
	u, err := url.Parse(t.Mirror)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.ContainsAny(t.Mirror, "\"\\ \n") {
		return &SpecError{"--mirror", fmt.Sprintf("%q is neither off, nor local, nor a URL such as https://mirror.example:5443", t.Mirror)}
	}
	return nil
}

// daemonSettings are the user's settings of dockerd, with what the flags say of registries.
func (s *Spec) daemonSettings() (json.RawMessage, error) {
	if len(s.Trust.Insecure) == 0 {
		return s.DaemonConfig, nil
	}
	user := map[string]any{}
	if len(s.DaemonConfig) > 0 {
		if err := json.Unmarshal(s.DaemonConfig, &user); err != nil {
			return nil, &SpecError{"--daemon-config", fmt.Sprintf("not a JSON object: %v", err)}
		}
	}
	all, _ := user["insecure-registries"].([]any)
	for _, host := range s.Trust.Insecure {
		all = append(all, host)
	}
	user["insecure-registries"] = all
	return json.Marshal(user)
}

// registrySettings are what dockerd's own settings say of registries.
func (s *Spec) registrySettings() (hubMirrors, insecure []string) {
	var c struct {
		Mirrors  []string `json:"registry-mirrors"`
		Insecure []string `json:"insecure-registries"`
	}
	_ = json.Unmarshal(s.DaemonConfig, &c) // has been checked
	return c.Mirrors, slices.Concat(c.Insecure, s.Trust.Insecure)
}

// Certificates is the engine's certs.d directory, with a mirror of all registries at a URL,
// or without one. Errors are about the directory that the user has.
func (s *Spec) Certificates(mirror string) (certsd.Tree, error) {
	set := certsd.Settings{Mirror: mirror, MirrorOnly: s.Trust.MirrorOnly}
	set.HubMirrors, set.Insecure = s.registrySettings()
	for _, ca := range s.RegistryCAs {
		set.CAs = append(set.CAs, certsd.CA(ca))
	}
	if s.Trust.CertsDir != "" {
		var err error
		if set.User, err = certsd.Read(s.Trust.CertsDir); err != nil {
			return nil, &SpecError{"--certs-dir", err.Error()}
		}
	}
	return certsd.Make(set), nil
}

// trustFiles are the engine's files about certificates and the mirror.
func (l *launch) trustFiles() ([]pid1.File, error) {
	files, err := l.systemTrust()
	if err != nil {
		return nil, err
	}
	if l.info.Spec.Trust.ShareCA {
		files = append(files, CADeviceFile())
	}
	if l.mirror, err = l.findMirror(); err != nil {
		return nil, err
	}
	if l.certs, err = l.info.Spec.Certificates(l.mirror); err != nil {
		return nil, err
	}
	for _, f := range l.certs.Files() {
		files = append(files, pid1.File{Path: f.Path, Mode: uint32(f.Mode), Data: f.Text})
	}
	return files, nil
}

// systemTrust is the bundle of authorities where programs look for it.
func (l *launch) systemTrust() ([]pid1.File, error) {
	more := l.info.Spec.Trust.CAs
	if more == "" {
		return []pid1.File{{Path: filepath.Dir(bundleFile), Link: payloadCerts}}, nil
	}
	usual, err := os.ReadFile(filepath.Join(l.tree.Rootfs(), payloadCerts, filepath.Base(bundleFile)))
	if err != nil {
		return nil, fmt.Errorf("read the usual authorities: %w", err)
	}
	return []pid1.File{{Path: bundleFile, Mode: 0o644, Data: string(usual) + more}}, nil
}

// CADeviceFile is what makes [CADevice] known to a dockerd.
func CADeviceFile() pid1.File {
	return pid1.File{Path: "/etc/cdi/berth.json", Mode: 0o644, Data: caDevice}
}

// caDevice is a CDI specification (https://github.com/cncf-tags/container-device-interface):
// the bundle, and the variables by which programs that have a bundle of their own find it.
const caDevice = `{"cdiVersion":"0.6.0","kind":"berth.dev/ca","devices":[{"name":"bundle","containerEdits":{
"mounts":[{"hostPath":"` + bundleFile + `","containerPath":"/etc/berth/ca-certificates.crt","options":["ro","bind","nosuid","nodev","noexec"]}],
"env":["SSL_CERT_FILE=/etc/berth/ca-certificates.crt","CURL_CA_BUNDLE=/etc/berth/ca-certificates.crt","REQUESTS_CA_BUNDLE=/etc/berth/ca-certificates.crt","PIP_CERT=/etc/berth/ca-certificates.crt","NODE_EXTRA_CA_CERTS=/etc/berth/ca-certificates.crt","GIT_SSL_CAINFO=/etc/berth/ca-certificates.crt","AWS_CA_BUNDLE=/etc/berth/ca-certificates.crt","DENO_CERT=/etc/berth/ca-certificates.crt"]}}]}
`
