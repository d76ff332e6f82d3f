package boot

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-dev/berth/internal/config"
	"github.com/berth-dev/berth/internal/engine"
	"github.com/berth-dev/berth/internal/trust"
)

// authorityFiles are a certificate in a file, and the directory of that.
func authorityFiles(t *testing.T) (pem, file, dir string) {
	t.Helper()
	a, err := trust.NewAuthority("Corp Root CA")
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	file = filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(file, []byte(a.PEM()), 0o644); err != nil {
		t.Fatal(err)
	}
	return a.PEM(), file, dir
}

// TestWaysToTrust: flags, variables and the configuration file say the same.
func TestWaysToTrust(t *testing.T) {
	pem, file, dir := authorityFiles(t)
	all := []engine.RegistryCA{{Host: "r.test:5000", PEM: pem}}
	for _, c := range []struct {
		name, args string
		env        map[string]string
		file       config.File
		want       engine.Trust
		registries []engine.RegistryCA
	}{
		{name: "nothing"},
		{name: "--ca with a file", args: "--ca " + file, want: engine.Trust{CAs: pem}},
		{name: "--ca with a directory", args: "--ca=" + dir, want: engine.Trust{CAs: pem}},
		{name: "BERTH_CA", env: map[string]string{"BERTH_CA": dir}, want: engine.Trust{CAs: pem}},
		{name: "both", args: "--ca " + file, env: map[string]string{"BERTH_CA": dir}, want: engine.Trust{CAs: pem + pem}},
		{name: "--registry-ca with a file", args: "--registry-ca r.test:5000=" + file, registries: all},
		{name: "--registry-ca with a directory", args: "--registry-ca=r.test:5000=" + dir, registries: all},
		{name: "BERTH_REGISTRY_CA", env: map[string]string{"BERTH_REGISTRY_CA": "r.test:5000=" + file + ",s.test=" + dir},
			registries: append(all, engine.RegistryCA{Host: "s.test", PEM: pem})},
		{name: "the configuration file", file: config.File{
			Trust: config.Trust{CA: []string{file}, RegistryCA: map[string]string{"r.test:5000": file}}, Engine: config.Engine{Mirror: "https://m.test", ShareCA: true},
		}, want: engine.Trust{CAs: pem, Mirror: "https://m.test", ShareCA: true}, registries: all},
		{name: "a flag before the configuration file", args: "--mirror off --share-ca=false",
			file: config.File{Engine: config.Engine{Mirror: "https://m.test", ShareCA: true}}, want: engine.Trust{Mirror: "off"}},
		{name: "--share-ca", args: "--share-ca --ca " + file, want: engine.Trust{CAs: pem, ShareCA: true}},
		{name: "BERTH_SHARE_CA", env: map[string]string{"BERTH_SHARE_CA": "1"}, want: engine.Trust{ShareCA: true}},
	} {
		p, err := parse(strings.Fields(c.args), c.env)
		if err != nil {
			t.Fatal(err)
		}
		p.takeDefaults(c.file)
		var spec engine.Spec
		if err := p.trust(&spec); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		spec.Trust.CertsDir = "" // of this machine
		if d := cmp.Diff(c.want, spec.Trust) + cmp.Diff(c.registries, spec.RegistryCAs); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
		if len(p.args) > 0 {
			t.Errorf("%s: dockerd is given %v", c.name, p.args)
		}
	}
}

func TestTrustMistakes(t *testing.T) {
	_, file, _ := authorityFiles(t)
	for args, want := range map[string]string{
		"--ca /no/such":                          "/no/such",
		"--ca /dev/null":                         "BEGIN CERTIFICATE",
		"--registry-ca r.test":                   "HOST[:PORT]=FILE",
		"--registry-ca r.test=/no/such":          "/no/such",
		"--registry-ca https://r.test=" + file:   "--registry-ca",
		"--registry-ca ../r.test=" + file:        "--registry-ca",
		"--registry-ca r.test:0=" + file:         "port",
		"--mirror ftp://m.test":                  "--mirror",
		"--mirror https://m.test/\"]":            "--mirror",
		"--mirror https://m.test --ca /dev/null": "--ca",
	} {
		p, err := parse(strings.Fields(args), nil)
		if err == nil {
			err = p.trust(&engine.Spec{})
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v; want %q in one line", args, err, want)
		}
	}
}

func TestMergeRegistries(t *testing.T) {
	for _, c := range []struct{ args, json, insecure, want, dockerd string }{
		{"", "", "", "", ""},
		{"--registry-mirror=https://a --registry-mirror https://b", `{"registry-mirrors":["https://c"]}`, "", `{"registry-mirrors":["https://a","https://b"]}`, "--registry-mirror=https://a --registry-mirror https://b"},
		{"", `{"insecure-registries":["a"]}`, "b", `{"insecure-registries":["a","b"]}`, ""},
		{"--insecure-registry=a", "", "b", `{"insecure-registries":["a","b"]}`, "--insecure-registry=a --insecure-registry=b"},
	} {
		p, err := parse(strings.Fields(c.args), nil)
		if err != nil {
			t.Fatal(err)
		}
		p.config = []byte(c.json)
		if err := p.mergeRegistries(config.Trust{Insecure: strings.Fields(c.insecure)}); err != nil {
			t.Fatal(err)
		}
		if got := string(p.config); got != c.want || strings.Join(p.args, " ") != c.dockerd {
			t.Errorf("%+v: got %s and %v", c, got, p.args)
		}
	}
}
