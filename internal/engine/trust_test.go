package engine

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-dev/berth/internal/certsd"
	"github.com/berth-dev/berth/internal/state"
)

// trusting is a launch with a spec and directories of its own.
func trusting(t *testing.T, spec Spec) *launch {
	t.Helper()
	dir, err := os.MkdirTemp("", "t") // short: a socket's path must fit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if spec.Network.Driver == "" {
		spec.Network.Driver = NetworkVeth
	}
	return &launch{m: &Manager{paths: state.Paths{Run: dir, State: dir}}, info: Info{Spec: spec}}
}

func content(t *testing.T, l *launch) map[string]string {
	t.Helper()
	files, err := l.trustFiles()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, f := range files {
		if _, twice := out[f.Path]; twice {
			t.Errorf("%s is written twice", f.Path)
		}
		out[f.Path] = f.Data + f.Link
	}
	return out
}

func TestTrustFilesWithoutAnything(t *testing.T) {
	got := content(t, trusting(t, Spec{}))
	if len(got) != 1 || got["/etc/ssl/certs"] != payloadCerts {
		t.Errorf("%v", got)
	}
}

func TestMirrorFiles(t *testing.T) {
	spec := Spec{
		RegistryCAs:  []RegistryCA{{Host: "r.test:5000", PEM: "CA"}, {Host: "m.test", PEM: "MIRROR CA"}},
		DaemonConfig: json.RawMessage(`{"registry-mirrors":["https://hub.test"],"insecure-registries":["10.0.0.0/8"]}`),
		Trust:        Trust{Mirror: "https://m.test/", Insecure: []string{"i.test:80"}},
	}
	got := content(t, trusting(t, spec))
	dir := certsd.Dir + "/"
	mirror := "[host.\"https://m.test\"]\n  capabilities = [\"pull\", \"resolve\"]\n  ca = [\"/etc/docker/certs.d/m.test/m.crt\"]\n"
	mirror = strings.ReplaceAll(mirror, "m.test/m.crt", "m.test/ca.crt")
	for path, want := range map[string]string{
		dir + "_default/hosts.toml":    mirror,
		dir + "r.test:5000/hosts.toml": "server = \"https://r.test:5000\"\nca = [\"ca.crt\"]\n" + mirror,
		dir + "r.test:5000/ca.crt":     "CA",
	} {
		if got[path] != want {
			t.Errorf("%s: %q, want %q", path, got[path], want)
		}
	}
	// Of these dockerd's own settings speak, which a hosts.toml would silence.
	for _, host := range []string{"docker.io", "i.test:80"} {
		if _, there := got[dir+host+"/hosts.toml"]; there || got[dir+host+"/README"] == "" {
			t.Errorf("%s is asked for by way of the mirror", host)
		}
	}
}

func TestMirrorIsFound(t *testing.T) {
	l := trusting(t, Spec{})
	if got, err := l.findMirror(); got != "" || err != nil || l.relay {
		t.Errorf("found %q where there is none", got)
	}
	l.info.Spec.Trust.Mirror = MirrorLocal
	if _, err := l.findMirror(); err == nil {
		t.Error("a mirror that was insisted on is not there, and that is no error")
	}
	socket, err := net.Listen("unix", l.m.paths.MirrorSocket())
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	for mirror, want := range map[string]string{MirrorAuto: "http://127.0.0.1:19519", MirrorOff: "", "http://m.test:1": "http://m.test:1"} {
		l.info.Spec.Trust.Mirror = mirror
		if got, _ := l.findMirror(); got != want {
			t.Errorf("%q: %q, want %q", mirror, got, want)
		}
	}
	l.info.Spec.Trust.Mirror, l.info.Spec.Network.Driver = MirrorAuto, NetworkNone
	if got, _ := l.findMirror(); got != "" {
		t.Errorf("an engine without a network got a way out: %q", got)
	}
	l.info.Spec.Trust.Mirror = MirrorLocal
	if got, _ := l.findMirror(); got == "" {
		t.Error("not even when it was asked for")
	}
}

func TestCertsDirWins(t *testing.T) {
	certs := t.TempDir()
	for path, text := range map[string]string{
		"r.test/ca.crt": "USER'S", "r.test/client.cert": "C", "r.test/client.key": "K", "own.test/hosts.toml": "# user's\n", "r.test/notes": "x",
	} {
		if err := os.MkdirAll(filepath.Join(certs, filepath.Dir(path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(certs, path), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l := trusting(t, Spec{RegistryCAs: []RegistryCA{{Host: "r.test", PEM: "FLAG'S"}}, Trust: Trust{CertsDir: certs, Mirror: "http://m.test"}})
	got := content(t, l)
	dir := certsd.Dir + "/"
	if got[dir+"r.test/ca.crt"] != "USER'S" || got[dir+"own.test/hosts.toml"] != "# user's\n" || got[dir+"r.test/notes"] != "" {
		t.Errorf("%v", got)
	}
	if !strings.Contains(got[dir+"r.test/hosts.toml"], `client = [["client.cert", "client.key"]]`) {
		t.Errorf("%q", got[dir+"r.test/hosts.toml"])
	}
}

func TestTrustIsChecked(t *testing.T) {
	for field, specs := range map[string][]Trust{
		"--insecure-registry": {{Insecure: []string{"https://x"}}, {Insecure: []string{"../x"}}},
		"--certs-dir":         {{CertsDir: "certs.d"}},
		"--mirror":            {{Mirror: "on"}, {Mirror: "ftp://x"}, {Mirror: "https://u:p@x"}, {Mirror: "https://x/\"]"}, {Mirror: "https://"}},
		"--mirror-only":       {{Mirror: "off", MirrorOnly: true}},
	} {
		for _, trust := range specs {
			spec := Spec{Trust: trust}
			if err := spec.Validate(); err == nil || !strings.Contains(err.Error(), field) {
				t.Errorf("%+v: %v", trust, err)
			}
		}
	}
}

func TestInsecureRegistriesAddUp(t *testing.T) {
	spec := Spec{DaemonConfig: json.RawMessage(`{"insecure-registries":["a"],"debug":true}`), Trust: Trust{Insecure: []string{"b"}}}
	got, err := spec.daemonSettings()
	if err != nil || string(got) != `{"debug":true,"insecure-registries":["a","b"]}` {
		t.Errorf("%s %v", got, err)
	}
}

// TestCADevice: dockerd would pass over a specification that is no JSON.
func TestCADevice(t *testing.T) {
	var v map[string]any
	if err := json.Unmarshal([]byte(caDevice), &v); err != nil || v["kind"] != "berth.dev/ca" {
		t.Errorf("%v %v", v, err)
	}
}
