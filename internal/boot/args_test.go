package boot

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	tls := map[string]string{"DOCKER_TLS_CERTDIR": "/certs"}
	for _, c := range []struct {
		name    string
		args    string
		env     map[string]string
		hosts   string
		dockerd string
		command string
	}{
		{name: "nothing, with TLS", env: tls, hosts: "unix:///var/run/docker.sock tcp://0.0.0.0:2376"},
		{name: "nothing, without TLS", hosts: "unix:///var/run/docker.sock tcp://0.0.0.0:2375"},
		{name: "TLS refused", args: "--tls=false", env: tls, hosts: "unix:///var/run/docker.sock tcp://0.0.0.0:2375"},
		{name: "flags", args: "-D --mtu 1300 --registry-mirror=https://m", env: tls, hosts: "unix:///var/run/docker.sock tcp://0.0.0.0:2376", dockerd: "-D --mtu 1300 --registry-mirror=https://m"},
		{name: "hosts", args: "-H tcp://0.0.0.0:99 --host=unix:///run/docker.sock -Hunix:///x", env: tls, hosts: "unix:///var/run/docker.sock tcp://0.0.0.0:2376 tcp://0.0.0.0:99 unix:///x"},
		{name: "by name", args: "dockerd -H unix:///x --group 7", env: tls, hosts: "unix:///x"},
		{name: "by name alone", args: "dockerd", env: tls, hosts: "unix:///var/run/docker.sock"},
		{name: "moved", env: map[string]string{"DOCKER_HOST": "unix:///y"}, hosts: "unix:///y tcp://0.0.0.0:2375"},
		{name: "another engine's address", env: map[string]string{"DOCKER_HOST": "tcp://z:1"}, hosts: "unix:///var/run/docker.sock tcp://0.0.0.0:2375"},
		{name: "where dockerd works is not its business", args: "--pidfile /p --exec-root=/e --data-root /d", hosts: "unix:///var/run/docker.sock tcp://0.0.0.0:2375"},
		{name: "command", args: "sh -c true", command: "sh -c true"},
	} {
		p, err := parse(strings.Fields(c.args), c.env)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		got := []string{strings.Join(p.hosts, " "), strings.Join(p.args, " "), strings.Join(p.command, " ")}
		if d := cmp.Diff([]string{c.hosts, c.dockerd, c.command}, got); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, args := range []string{"--host", "--containerd=/x", "--isolation vm", "--data-root"} {
		if _, err := parse(strings.Fields(args), nil); err == nil {
			t.Errorf("%s was accepted", args)
		}
	}
}

func TestGivenSettingsAreLeftOutOfTheFile(t *testing.T) {
	p, err := parse([]string{"--mtu=1300", "--exec-opt", "x=y", "-s", "overlay2", "-H", "unix:///x"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]bool{"mtu": true, "exec-opts": true, "storage-driver": true, "hosts": false} {
		if p.given[key] != want {
			t.Errorf("%s: %v, want %v", key, p.given[key], want)
		}
	}
}

func TestClientEnv(t *testing.T) {
	none, all := func(string) bool { return false }, func(string) bool { return true }
	certs := func(path string) bool { return strings.HasPrefix(path, "/certs/client/") }
	for _, c := range []struct {
		name   string
		env    []string
		exists func(string) bool
		want   []string
	}{
		{"a service called docker", nil, none, []string{"DOCKER_HOST=tcp://docker:2375"}},
		{"with certificates", []string{"DOCKER_TLS_CERTDIR=/certs"}, certs, []string{"DOCKER_HOST=tcp://docker:2376", "DOCKER_TLS_VERIFY=1", "DOCKER_CERT_PATH=/certs/client"}},
		{"its own engine", []string{"DOCKER_TLS_CERTDIR=/certs"}, all, nil},
		{"told where", []string{"DOCKER_HOST=ssh://x", "DOCKER_TLS_CERTDIR=/certs"}, certs, nil},
	} {
		got := clientEnv(c.env, c.exists)[len(c.env):]
		if strings.Join(got, " ") != strings.Join(c.want, " ") {
			t.Errorf("%s: added %v, want %v", c.name, got, c.want)
		}
	}
}

func TestHint(t *testing.T) {
	if got := hint("builder:2375", "/certs"); !strings.Contains(got, "DOCKER_HOST=tcp://builder:2376 DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH=/certs/client ") {
		t.Error(got)
	}
	tls := map[string]string{"DOCKER_TLS_CERTDIR": "/certs"}
	for args, want := range map[string]bool{"": true, "dockerd": false, "-H tcp://0.0.0.0:2375": false, "-H tcp://0.0.0.0:99": true} {
		p, err := parse(strings.Fields(args), tls)
		if err != nil {
			t.Fatal(err)
		}
		p.tls = &tlsFiles{}
		if got := p.wantsHints(); got != want {
			t.Errorf("%q: %v", args, got)
		}
	}
}
