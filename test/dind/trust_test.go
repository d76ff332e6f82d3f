package dind

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-dev/berth/internal/trust"
	"github.com/berth-dev/berth/test/sandbox"
)

// TestWaysToTrust goes through the ways to have a container's engine accept a registry, for
// an engine in namespaces of its own and for one in the container's.
func TestWaysToTrust(t *testing.T) {
	h := current(t)
	reg, ref, ca := privateRegistry(t)
	certs := filepath.Join(filepath.Dir(ca), "certs.d")
	link(t, ca, filepath.Join(certs, reg.Host, "ca.crt"))
	conf := file(t, "berth.toml", "[trust]\nregistry_ca = { \""+reg.Host+"\" = \"/my/ca.crt\" }\n")
	file, dir := []string{"-v", ca + ":/my/ca.crt:ro"}, []string{"-v", filepath.Dir(ca) + ":/my:ro"}
	for _, isolation := range []string{"userns", "none"} {
		for _, way := range []struct {
			name          string
			options, args []string
		}{
			{"--ca FILE", file, []string{"--ca", "/my/ca.crt"}},
			{"--ca DIR", dir, []string{"--ca=/my"}},
			{"--registry-ca FILE", file, []string{"--registry-ca", reg.Host + "=/my/ca.crt"}},
			{"--registry-ca DIR", dir, []string{"--registry-ca=" + reg.Host + "=/my"}},
			{"BERTH_CA", append(file, "-e", "BERTH_CA=/my/ca.crt"), nil},
			{"BERTH_REGISTRY_CA", append(file, "-e", "BERTH_REGISTRY_CA="+reg.Host+"=/my/ca.crt"), nil},
			{"certs.d", []string{"-v", certs + ":/etc/docker/certs.d:ro"}, nil},
			{"berth.toml", append(file, "-v", conf+":/etc/berth/berth.toml:ro"), nil},
		} {
			options := append(way.options, "--add-host", reg.Host+":"+sandbox.HostAddress)
			e := h.privileged(t, "trusting", options, append(way.args, "--isolation", isolation)...)
			if r := e.try("docker", "pull", "-q", ref); r.code != 0 {
				t.Errorf("%s, %s: %s\n%s", isolation, way.name, r, tail(e.logs()))
			}
			e.remove()
		}
	}
}

// TestAuthoritiesOfTheLastStart: what was added for one start of a container is not there at
// the next.
func TestAuthoritiesOfTheLastStart(t *testing.T) {
	h := current(t)
	reg, ref, ca := privateRegistry(t)
	dir := filepath.Dir(ca)
	right, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	another, err := trust.NewAuthority("Another CA")
	if err != nil {
		t.Fatal(err)
	}
	for _, isolation := range []string{"userns", "none"} {
		for _, flag := range []string{"--ca=/my/ca.crt", "--registry-ca=" + reg.Host + "=/my/ca.crt"} {
			for _, start := range []struct {
				pem     string
				trusted bool
			}{{string(right), true}, {another.PEM(), false}, {string(right), true}} {
				if err := os.WriteFile(ca, []byte(start.pem), 0o644); err != nil {
					t.Fatal(err)
				}
				e := &engine{t: t, h: h, name: "again"}
				if h.try(t, "inspect", e.name).code == 0 {
					h.must(t, "restart", e.name)
				} else {
					e = h.container(t, e.name, []string{"--privileged", "-v", dir + ":/my:ro", "--add-host", reg.Host + ":" + sandbox.HostAddress}, flag, "--isolation", isolation)
				}
				e.wait()
				if r := e.try("docker", "pull", "-q", ref); (r.code == 0) != start.trusted {
					t.Errorf("%s, %s, want trusted %v: %s", isolation, flag, start.trusted, r)
				}
				e.try("docker", "rmi", ref)
			}
			(&engine{t: t, h: h, name: "again"}).remove()
		}
	}
}

// TestWrongAuthority: the container's log names the registry, who issued its certificate and
// what would mend that.
func TestWrongAuthority(t *testing.T) {
	h := current(t)
	reg, ref, _ := privateRegistry(t)
	a, err := trust.NewAuthority("Another CA")
	if err != nil {
		t.Fatal(err)
	}
	wrong := file(t, "ca.crt", a.PEM())
	for _, isolation := range []string{"userns", "none"} {
		options := []string{"-v", wrong + ":/my/ca.crt:ro", "--add-host", reg.Host + ":" + sandbox.HostAddress}
		e := h.privileged(t, "distrustful", options, "--registry-ca", reg.Host+"=/my/ca.crt", "--isolation", isolation)
		if r := e.try("docker", "pull", "-q", ref); r.code == 0 || !strings.Contains(r.stderr, "certificate") {
			t.Errorf("%s: %s", isolation, r)
		}
		e.h.must(t, "stop", e.name) // what is being looked at is said before the end
		log := e.logs()
		for _, text := range []string{reg.Host + ": its certificate was issued by", "--registry-ca " + reg.Host + "=FILE"} {
			want(t, isolation, log, text)
		}
		e.remove()
	}
}

// TestMirrorBesideACertsDir: a whole certs.d mounted read-only does not keep the engine from a
// mirror, of all registries or of Docker Hub, and the mirror's certificate in it is used.
func TestMirrorBesideACertsDir(t *testing.T) {
	h := current(t)
	reg, ref, ca := privateRegistry(t)
	certs := filepath.Join(filepath.Dir(ca), "certs.d")
	link(t, ca, filepath.Join(certs, reg.Host, "ca.crt"))
	link(t, ca, filepath.Join(certs, "other.example", "unrelated.crt"))
	options := []string{"-v", certs + ":/etc/docker/certs.d:ro", "--add-host", reg.Host + ":" + sandbox.HostAddress}
	theirs := filepath.Join(filepath.Dir(ca), "theirs")
	link(t, file(t, "hosts.toml", "# theirs\n"), filepath.Join(theirs, "_default", "hosts.toml"))
	link(t, ca, filepath.Join(theirs, "mirror.crt"))
	path := strings.TrimPrefix(ref, reg.Host)
	for _, isolation := range []string{"userns", "none"} {
		e := h.privileged(t, "beside", options, "--mirror", "https://"+reg.Host, "--isolation", isolation)
		e.docker("pull", "-q", "other.example"+path) // has a directory in certs.d
		e.docker("pull", "-q", "another.example"+path)
		e.docker("pull", "-q", ref)
		e.remove()
		e = h.privileged(t, "beside", options, "--registry-mirror=https://"+reg.Host, "--isolation", isolation)
		e.docker("pull", "-q", "docker.io"+path)
		e.remove()
		// The user's own word on all registries is the last.
		e = h.privileged(t, "beside", append([]string{"-v", theirs + ":/etc/docker/certs.d:ro"}, options[2:]...),
			"--mirror", "https://"+reg.Host, "--ca", "/etc/docker/certs.d/mirror.crt", "--isolation", isolation)
		if r := e.try("docker", "pull", "-q", "another.example"+path); r.code == 0 {
			t.Errorf("%s: the mirror was asked against the user's hosts.toml", isolation)
		}
		e.remove()
		// Nobody is at this mirror: the registry itself is asked, unless that is forbidden.
		for _, only := range []string{"true", "false"} {
			e = h.privileged(t, "beside", options, "--mirror=https://127.0.0.1:1", "--mirror-only="+only, "--isolation", isolation)
			if r := e.try("docker", "pull", "-q", ref); (r.code == 0) != (only == "false") {
				t.Errorf("%s, --mirror-only=%s: %s", isolation, only, r)
			}
			e.remove()
		}
	}
}

// link makes a path of a file another name of it, with the directories above.
func link(t *testing.T, old, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(old, path); err != nil {
		t.Fatal(err)
	}
}
