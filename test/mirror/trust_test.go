package mirror

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-dev/berth/test/image"
)

// TestTrust goes through the ways to make an engine accept a registry.
func TestTrust(t *testing.T) {
	guard(t)
	f := newFront(t, "", "")
	ref := f.push(t, "team/app:1", image.Options{Label: t.Name()})
	name := []string{"--add-host", registryHost + ":host-gateway"}
	certs := t.TempDir()
	if err := os.Mkdir(filepath.Join(certs, f.Address), 0o755); err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(f.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(certs, f.Address, "ca.crt"), string(ca))
	for _, way := range [][]string{
		{"--registry-ca", f.Address + "=" + f.CAFile}, {"--ca", f.CAFile}, {"--ca", filepath.Dir(f.CAFile)},
		{"--insecure-registry", f.Address}, {"--certs-dir", certs},
	} {
		r := berth(t, script("docker pull -q "+ref+"; printf 'FROM "+ref+"\\n' | docker build -q -", append(name, way...)...)...)
		if r.code != 0 {
			t.Errorf("%s: %s%s", way, r.stdout, r.stderr)
		}
	}
	r := berth(t, script("docker pull -q "+ref, name...)...)
	for _, want := range []string{"Corp Root CA", "--registry-ca " + f.Address + "=FILE"} {
		if r.code == 0 || !strings.Contains(r.stderr, want) {
			t.Errorf("without trust: status %d, stderr %q does not say %q", r.code, r.stderr, want)
		}
	}
}

func TestDoctor(t *testing.T) {
	guard(t)
	f := newFront(t, "", "")
	r := berth(t, "doctor", "--registry", f.Address)
	if r.code != 125 || !strings.Contains(r.stdout, "Corp Root CA") || !strings.Contains(r.stdout, "--registry-ca "+f.Address+"=FILE") {
		t.Errorf("status %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	must(t, "doctor", "--registry", f.Address, "--registry-ca", f.Address+"="+f.CAFile)
	must(t, "doctor", "--registry", f.Address, "--ca", f.CAFile)
}

// TestMirrorWithoutTrust: the reason is told where the image was asked for.
func TestMirrorWithoutTrust(t *testing.T) {
	guard(t)
	f := newFront(t, "", "")
	ref := f.push(t, "team/app:1", image.Options{Label: t.Name()})
	serve(t, "--upstream", f.Address)
	r := berth(t, script("docker pull -q "+ref)...)
	if r.code == 0 || !strings.Contains(r.stderr, "Corp Root CA") || !strings.Contains(r.stderr, "berth mirror serve") {
		t.Errorf("status %d, %s", r.code, r.stderr)
	}
}

func TestShareCA(t *testing.T) {
	guard(t)
	f := newFront(t, "", "")
	ref := f.push(t, "team/app:1", image.Options{Label: t.Name()})
	out := must(t, script("docker run --rm --device berth.dev/ca=bundle "+ref+` sh -c 'echo $SSL_CERT_FILE; wc -l < $SSL_CERT_FILE'`,
		"--ca", f.CAFile, "--share-ca", "--add-host", registryHost+":host-gateway")...)
	if !strings.Contains(out, "/etc/berth/ca-certificates.crt") {
		t.Errorf("%s", out)
	}
}
