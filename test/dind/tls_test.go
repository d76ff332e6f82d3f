package dind

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-dev/berth/test/image"
)

// client is a docker in another container, with the engine's certificates.
func client(e *engine, certs string, options ...string) result {
	args := []string{"run", "--rm", "-v", certs + ":/certs/client:ro"}
	return e.h.try(e.t, append(append(args, options...), imageName, "version", "-f", "{{.Server.Version}}")...)
}

func volume(t *testing.T, h *host, name string) string {
	h.must(t, "volume", "create", name)
	t.Cleanup(func() { h.try(t, "volume", "rm", name) })
	return name
}

func TestTLSFreshCertificates(t *testing.T) {
	h := current(t)
	certs := volume(t, h, "tls-fresh")
	e := h.privileged(t, "fresh", []string{"-v", certs + ":/certs/client"})
	for _, options := range [][]string{{"--link", "fresh:docker"}, {"--network", "container:fresh", "-e", "DOCKER_HOST=tcp://localhost:2376"}} {
		if r := client(e, certs, options...); r.code != 0 {
			t.Errorf("%v: %s", options, r)
		}
	}
	for _, f := range []string{"ca/cert.pem", "ca/key.pem", "server/ca.pem", "server/cert.pem", "server/key.pem", "client/ca.pem", "client/cert.pem", "client/key.pem"} {
		e.must("test", "-s", "/certs/"+f)
	}
	if got := e.must("stat", "-c", "%a", "/certs/client/key.pem", "/certs/server/key.pem", "/certs/ca/key.pem"); got != "644\n600\n600" {
		t.Errorf("modes of the client's, the server's and the authority's keys: %q", got)
	}
	// Without a certificate nobody gets in.
	if r := h.try(t, "run", "--rm", "--link", "fresh:docker", "-e", "DOCKER_HOST=tcp://docker:2376", imageName, "docker", "--tls", "version"); r.code == 0 {
		t.Error("a client without a certificate got in")
	}
}

// Any docker is a client; the oldest about is Debian's.
func TestTLSAnotherDockersClient(t *testing.T) {
	h := hosts[1].ready(t) // whose containers can be reached from here
	dir := certsDir(t)
	e := h.privileged(t, "other-client", []string{"-v", dir + "/client:/certs/client"})
	address := h.must(t, "inspect", "-f", "{{.NetworkSettings.IPAddress}}", e.name)
	client := append(h.env[:len(h.env):len(h.env)], "DOCKER_HOST=tcp://"+address+":2376", "DOCKER_TLS_VERIFY=1", "DOCKER_CERT_PATH="+dir+"/client")
	r, err := run(client, h.cli[0], "run", "--rm", busyName)
	if err != nil || r.stdout != image.Greeting {
		t.Errorf("%v, %s", err, r)
	}
}

func TestTLSCertificatesAreKeptAcrossStarts(t *testing.T) {
	h := current(t)
	e := h.privileged(t, "again", []string{"-v", volume(t, h, "tls-kept") + ":/certs"})
	// The server's may change with the container's addresses.
	sums := func() string { return e.must("sha256sum", "/certs/ca/cert.pem", "/certs/client/cert.pem") }
	before := sums()
	h.must(t, "stop", "again")
	h.must(t, "start", "again")
	e.wait()
	if after := sums(); after != before {
		t.Errorf("before %s, after %s", before, after)
	}
}

func TestTLSSANNamesAreInTheCertificate(t *testing.T) {
	h := current(t)
	certs := volume(t, h, "tls-san")
	e := h.privileged(t, "san", []string{"-v", certs + ":/certs/client", "-e", "DOCKER_TLS_SAN=DNS:engine.example,IP:192.0.2.7"})
	addr := h.must(t, "inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", "san")
	for _, name := range []string{"engine.example", addr} {
		if r := client(e, certs, "-e", "DOCKER_HOST=tcp://"+name+":2376", "--add-host", "engine.example:"+addr); r.code != 0 {
			t.Errorf("by the name %s: %s", name, r)
		}
	}
}

// openssl makes certificates as a user would by hand.
func openssl(t *testing.T, dir, script string) {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed")
	}
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("openssl: %v\n%s", err, out)
	}
}

func certsDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(shared, "certs-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for _, d := range []string{"", "ca", "server", "client"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
		os.Chmod(filepath.Join(dir, d), 0o777)
	}
	return dir
}

const opensslCA = `openssl req -x509 -newkey rsa:2048 -nodes -keyout ca/key.pem -out ca/cert.pem -days 30 -subj "/CN=my own CA" 2>/dev/null; chmod 644 ca/*`

func TestTLSUsersAuthorityIsRespected(t *testing.T) {
	h := current(t)
	dir := certsDir(t)
	openssl(t, dir, opensslCA)
	before, _ := os.ReadFile(dir + "/ca/cert.pem")
	e := h.privileged(t, "own-ca", []string{"-v", dir + ":/certs"})
	if after, _ := os.ReadFile(dir + "/ca/cert.pem"); string(after) != string(before) {
		t.Error("the user's authority was replaced")
	}
	if r := client(e, dir+"/client", "--link", "own-ca:docker"); r.code != 0 {
		t.Error(r)
	}
}

func TestTLSUsersCertificatesAreRespected(t *testing.T) {
	h := current(t)
	dir := certsDir(t)
	openssl(t, dir, opensslCA+`
		for who in server client; do
			openssl req -newkey rsa:2048 -nodes -keyout $who/key.pem -out csr -subj /CN=$who 2>/dev/null
			printf 'subjectAltName=DNS:docker\nextendedKeyUsage=%sAuth\n' $who > ext
			openssl x509 -req -in csr -CA ca/cert.pem -CAkey ca/key.pem -CAcreateserial -days 30 -extfile ext -out $who/cert.pem 2>/dev/null
			cp ca/cert.pem $who/ca.pem
		done
		rm ca/key.pem; chmod 644 */*.pem`)
	before, _ := os.ReadFile(dir + "/server/cert.pem")
	e := h.privileged(t, "own-certs", []string{"-v", dir + ":/certs:ro"})
	if r := client(e, dir+"/client", "--link", "own-certs:docker"); r.code != 0 {
		t.Errorf("%s\n%s", r, tail(e.logs()))
	}
	if after, _ := os.ReadFile(dir + "/server/cert.pem"); string(after) != string(before) {
		t.Error("the user's certificate was replaced")
	}
}

func TestTLSFilesByFlag(t *testing.T) {
	h := current(t)
	certs := volume(t, h, "tls-flag")
	h.privileged(t, "maker", []string{"-v", certs + ":/certs"}).remove()
	e := h.privileged(t, "flag", []string{"-v", certs + ":/my:ro"}, "dockerd", "-H", "unix:///var/run/docker.sock", "-H", "tcp://0.0.0.0:2376",
		"--tlsverify", "--tlscacert", "/my/ca/cert.pem", "--tlscert=/my/server/cert.pem", "--tlskey=/my/server/key.pem")
	got := e.must("docker", "-H", "tcp://localhost:2376", "--tlsverify", "--tlscacert=/my/client/ca.pem", "--tlscert=/my/client/cert.pem", "--tlskey=/my/client/key.pem", "images")
	want(t, "images by TLS", got, "berth.test/busy")
}

func TestTLSWaitingClientNeverSeesHalfAFile(t *testing.T) {
	h := current(t)
	for range 5 {
		certs := volume(t, h, "tls-race")
		watcher := h.must(t, "run", "-d", "-v", certs+":/c", "--entrypoint", "sh", imageName, "-c",
			"until [ -s /c/ca.pem ] && [ -s /c/cert.pem ] && [ -s /c/key.pem ]; do :; done; tail -n 1 /c/ca.pem /c/cert.pem /c/key.pem; docker-entrypoint.sh true")
		e := h.container(t, "race", []string{"--privileged", "-v", certs + ":/certs/client"}).wait()
		h.must(t, "wait", watcher)
		if got := h.must(t, "logs", watcher); strings.Count(got, "-----END") != 3 {
			t.Errorf("a client saw %q", got)
		}
		h.must(t, "rm", "-f", "-v", watcher)
		e.remove()
		h.must(t, "volume", "rm", certs)
	}
}
