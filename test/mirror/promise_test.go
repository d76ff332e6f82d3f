package mirror

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-dev/berth/internal/trust"
	"github.com/berth-dev/berth/test/image"
)

const mirrorHost = "mirror.corp.test"

// serveTLS starts a mirror for other machines and returns its address, as host:port.
func serveTLS(t *testing.T, flags ...string) string {
	t.Helper()
	d := serve(t, append([]string{"--socket", "none", "--listen", "0.0.0.0:0", "--name", mirrorHost}, flags...)...)
	line := strings.TrimSpace(d.ready)
	return mirrorHost + ":" + line[strings.LastIndex(line, ":")+1:]
}

// TestMirrorOfDockerHub: Docker's own setting takes berth's mirror, whose certificate is the
// operator's, and trusts it by what is said of the mirror alone.
func TestMirrorOfDockerHub(t *testing.T) {
	guard(t)
	f := newFront(t, "", "")
	f.push(t, "library/busybox:1", image.Options{Label: t.Name()})
	dir := t.TempDir()
	authority, err := trust.NewAuthority("Mirror CA")
	if err != nil {
		t.Fatal(err)
	}
	cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	keyPair(t, authority, mirrorHost, cert, key)
	ca, log := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "access.json")
	write(t, ca, authority.PEM())
	name := serveTLS(t, "--tls-cert", cert, "--tls-key", key, "--access-log", log,
		"--upstream", "docker.io=https://"+f.Address, "--registry-ca", "docker.io="+f.CAFile)
	config := filepath.Join(dir, "daemon.json")
	write(t, config, `{"registry-mirrors":["https://`+name+`"]}`)
	flags := []string{"--daemon-config", config, "--add-host", mirrorHost + ":host-gateway", "--mirror", "off"}
	must(t, script("docker pull -q busybox:1", append(flags, "--registry-ca", name+"="+ca)...)...)
	must(t, script("docker pull -q busybox:1", append(flags, "--ca", ca)...)...)
	if r := berth(t, script("docker pull -q busybox:1", flags...)...); r.code == 0 {
		t.Error("a mirror that is not trusted was used")
	}
	var first map[string]any
	line, _, _ := strings.Cut(read(t, log), "\n")
	if err := json.Unmarshal([]byte(line), &first); err != nil || first["registry"] != "docker.io" || first["repository"] != "library/busybox" {
		t.Errorf("the access log: %v in %s", err, line)
	}
}

// keyPair writes a certificate of an authority and its key.
func keyPair(t *testing.T, a *trust.Authority, name, cert, key string) {
	t.Helper()
	c, err := a.Issue([]string{name})
	if err != nil {
		t.Fatal(err)
	}
	k, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	write(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})))
	write(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k})))
}

// TestMirrorCA: each of the forms in which the mirror's authority is given away makes it
// trusted.
func TestMirrorCA(t *testing.T) {
	guard(t)
	f := newFront(t, "", "")
	ref := f.push(t, "team/app:1", image.Options{Label: t.Name()})
	name := serveTLS(t, "--registry-ca", f.Address+"="+f.CAFile)
	host := []string{"--add-host", mirrorHost + ":host-gateway"}
	certs := filepath.Join(t.TempDir(), "certs.d")
	must(t, "mirror", "ca", "--format", "certs.d", "--host", name, "--out", certs)
	must(t, script("docker pull -q "+ref, append(host, "--certs-dir", certs)...)...)
	for _, line := range strings.Fields(must(t, "mirror", "ca"))[2:5] {
		if !strings.Contains(must(t, "mirror", "ca", "--format", "configmap"), "\n    "+line+"\n") {
			t.Errorf("the ConfigMap lacks %q", line)
		}
	}
	// An engine that does not trust it says so, instead of going to the registries without a word.
	r := berth(t, script("docker pull -q "+ref+" || true", append(host, "--mirror", "https://"+name)...)...)
	if want := name + ": its certificate was issued by \"CN=Berth mirror on "; !strings.Contains(r.stderr, want) {
		t.Errorf("%q does not say %q", r.stderr, want)
	}
}

// TestSystemTrust: what --ca says is trusted by all that the engine has: git and the builder too.
func TestSystemTrust(t *testing.T) {
	guard(t)
	f := newFront(t, "", "")
	base := f.push(t, "team/base:1", image.Options{Label: t.Name()})
	const commit = "0123456789012345678901234567890123456789"
	f.setFault(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case strings.HasSuffix(r.URL.Path, "/info/refs"): // a repository of plain files
			fmt.Fprintf(w, "%s\trefs/heads/main\n", commit)
		case strings.HasSuffix(r.URL.Path, "/HEAD"):
			fmt.Fprint(w, "ref: refs/heads/main\n")
		case r.URL.Path == "/greeting":
			fmt.Fprint(w, "hello from https\n")
		default:
			return false
		}
		return true
	})
	git := []string{"shell", "kept", "--", "git", "ls-remote", "https://" + f.Address + "/app.git"}
	build := "printf 'FROM " + base + "\\nADD https://" + f.Address + "/greeting /greeting\\n' | docker build -q -t x - && docker run --rm x cat /greeting"
	for _, trusted := range []bool{true, false} {
		up := []string{"up", "--add-host", registryHost + ":host-gateway"}
		ways := map[bool][]string{true: {"--ca", f.CAFile}, false: {"--registry-ca", f.Address + "=" + f.CAFile}} // for the image alone
		must(t, append(append(up, ways[trusted]...), "kept")...)
		if r := berth(t, git...); (r.code == 0) != trusted || trusted && !strings.Contains(r.stdout, commit) {
			t.Errorf("git, trusted %v: %d %s%s", trusted, r.code, r.stdout, r.stderr)
		}
		r := berth(t, "exec", "kept", "--", "sh", "-ec", build)
		if (r.code == 0) != trusted || trusted && !strings.Contains(r.stdout, "hello from https") {
			t.Errorf("the builder, trusted %v: %d %s%s", trusted, r.code, r.stdout, r.stderr)
		}
		must(t, "rm", "-f", "kept")
	}
}

// TestClientCertificates keep their meaning: in a certs.d directory, beside a mirror too.
func TestClientCertificates(t *testing.T) {
	guard(t)
	f := newFront(t, "", "")
	ref := f.push(t, "team/app:1", image.Options{Label: t.Name()})
	f.wantCertificate.Store(true)
	name := []string{"--add-host", registryHost + ":host-gateway"}
	ca := read(t, f.CAFile)
	dir := filepath.Join(t.TempDir(), "certs.d")
	own := filepath.Join(dir, f.Address)
	if err := os.MkdirAll(own, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(own, "ca.crt"), ca)
	if r := berth(t, script("docker pull -q "+ref, append(name, "--certs-dir", dir)...)...); r.code == 0 {
		t.Error("pulled without a certificate")
	}
	keyPair(t, f.authority, "client.corp.test", filepath.Join(own, "client.cert"), filepath.Join(own, "client.key"))
	must(t, script("docker pull -q "+ref, append(name, "--certs-dir", dir)...)...)
	must(t, script("docker pull -q "+ref, append(name, "--certs-dir", dir, "--mirror", "http://127.0.0.1:1")...)...) // nobody is there
	conf := filepath.Join(t.TempDir(), "berth.toml")
	write(t, conf, fmt.Sprintf("[mirror.upstream.%q]\nca = %q\nclient_cert = %q\nclient_key = %q\n", f.Address, f.CAFile, filepath.Join(own, "client.cert"), filepath.Join(own, "client.key")))
	serve(t, "--config", conf)
	must(t, script("docker pull -q "+ref)...)
}
