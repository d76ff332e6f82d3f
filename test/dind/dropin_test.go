package dind

import (
	"strings"
	"testing"
)

func TestArgumentsThatStartWithAHyphenGoToDockerd(t *testing.T) {
	e := current(t).privileged(t, "flags", nil, "--registry-mirror=https://mirror.example", "--insecure-registry", "plain.example:5000", "--label", "who=me", "-D")
	info := e.docker("info", "-f", "{{json .}}")
	for _, text := range []string{"https://mirror.example", "plain.example:5000", "who=me", `"Debug":true`} {
		want(t, "docker info", info, text)
	}
}

func TestStorageDriver(t *testing.T) {
	e := current(t).privileged(t, "driver", nil, "--storage-driver=overlay2")
	if got := e.docker("info", "-f", "{{.Driver}}"); got != "overlay2" {
		t.Errorf("storage driver %s", got)
	}
	if r := e.in(nil, "echo works"); r.stdout != "works" {
		t.Error(r)
	}
}

func TestMTUFlagAndMTUInherited(t *testing.T) {
	h := current(t)
	e := h.privileged(t, "mtu", nil)
	if outer, inner := e.must("cat", "/sys/class/net/eth0/mtu"), e.in(nil, "cat /sys/class/net/eth0/mtu").stdout; outer != inner {
		t.Errorf("MTU %s inside, %s outside", inner, outer)
	}
	e.docker("network", "create", "n")
	if outer, inner := e.must("cat", "/sys/class/net/eth0/mtu"), e.in([]string{"--network", "n"}, "cat /sys/class/net/eth0/mtu").stdout; outer != inner {
		t.Errorf("MTU %s in a network of the user's, %s outside", inner, outer)
	}
	e.remove()
	e = h.privileged(t, "mtu", nil, "--mtu", "1300")
	if inner := e.in(nil, "cat /sys/class/net/eth0/mtu").stdout; inner != "1300" {
		t.Errorf("MTU %s with --mtu 1300", inner)
	}
}

func TestSubcommandIsForDockerWithDockerHostFound(t *testing.T) {
	h := current(t)
	e := h.privileged(t, "docker", []string{"-e", "DOCKER_TLS_CERTDIR="})
	for _, args := range [][]string{{"images"}, {"docker", "images"}, {"sh", "-c", "docker images"}} {
		got := h.must(t, append([]string{"run", "--rm", "-e", "DOCKER_TLS_CERTDIR=", "--link", e.name + ":docker", imageName}, args...)...)
		want(t, strings.Join(args, " "), got, "berth.test/busy")
	}
}

func TestImageIsAClientToo(t *testing.T) {
	h := current(t)
	for _, args := range []string{"docker --version", "buildx version", "compose version"} {
		if r := h.try(t, append([]string{"run", "--rm", imageName}, strings.Fields(args)...)...); r.code != 0 || r.stdout == "" {
			t.Errorf("%s: %s", args, r)
		}
	}
}

func TestOtherCommandIsRun(t *testing.T) {
	h := current(t)
	if got := h.must(t, "run", "--rm", imageName, "sh", "-c", "echo $DOCKER_HOST $DOCKER_TLS_VERIFY"); got != "tcp://docker:2375" {
		t.Errorf("environment %q", got)
	}
	if got := h.must(t, "run", "--rm", "-e", "DOCKER_HOST=tcp://elsewhere:1", imageName, "sh", "-c", "echo $DOCKER_HOST"); got != "tcp://elsewhere:1" {
		t.Errorf("a DOCKER_HOST of the user's became %q", got)
	}
	if r := h.try(t, "run", "--rm", imageName, "sh", "-c", "exit 7"); r.code != 7 {
		t.Error(r)
	}
	if r := h.try(t, "run", "--rm", imageName, "no-such-program"); r.code != 127 {
		t.Error(r)
	}
}

func TestDindEntrypointNames(t *testing.T) {
	h := current(t)
	for _, name := range []string{"docker-entrypoint.sh", "dockerd-entrypoint.sh"} {
		if got := h.must(t, "run", "--rm", "--entrypoint", name, imageName, "sh", "-c", "echo $DOCKER_HOST"); got != "tcp://docker:2375" {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestDockerHostMovesTheSocket(t *testing.T) {
	e := current(t).privileged(t, "moved", []string{"-e", "DOCKER_HOST=unix:///var/lib/sockets/d.sock"})
	want(t, "docker", e.docker("images"), "berth.test/busy")
	if r := e.try("test", "-e", "/var/run/docker.sock"); r.code == 0 {
		t.Error("the usual socket is there as well")
	}
}

func TestDockerdByName(t *testing.T) {
	// As Kubernetes manifests of runners have it.
	e := current(t).privileged(t, "byname", nil, "dockerd", "--host=unix:///var/run/docker.sock", "--group=123")
	if got := e.must("stat", "-c", "%g %a", "/var/run/docker.sock"); got != "123 660" {
		t.Errorf("group and mode of the socket: %s", got)
	}
	if got := e.must("netstat", "-ltn"); strings.Contains(got, ":2375") || strings.Contains(got, ":2376") {
		t.Errorf("it listens on TCP: %s", got)
	}
}

func TestPlain2375Warns(t *testing.T) {
	e := current(t).privileged(t, "plain", []string{"-e", "DOCKER_TLS_CERTDIR="})
	want(t, "log", e.logs(), "without TLS")
	want(t, "by tcp", e.must("docker", "-H", "tcp://127.0.0.1:2375", "images"), "berth.test/busy")
}

func TestDaemonJSONMounted(t *testing.T) {
	config := file(t, "daemon.json", `{"labels": ["from=file"], "registry-mirrors": ["https://mirror.example"], "data-root": "/var/lib/docker", "hosts": ["tcp://0.0.0.0:2399"], "log-driver": "none"}`)
	e := current(t).privileged(t, "json", []string{"-v", config + ":/etc/docker/daemon.json:ro"})
	info := e.docker("info", "-f", "{{json .}}")
	for _, text := range []string{"from=file", "https://mirror.example", `"LoggingDriver":"none"`} {
		want(t, "docker info", info, text)
	}
	want(t, "listeners", e.must("netstat", "-ltn"), ":2399")
}

func TestBadDaemonJSONIsOneClearLine(t *testing.T) {
	config := file(t, "daemon.json", `{"labels": `)
	r := current(t).try(t, "run", "--rm", "--privileged", "-v", config+":/etc/docker/daemon.json:ro", imageName)
	if r.code == 0 || !strings.Contains(r.stderr, "/etc/docker/daemon.json is no JSON object") || strings.Contains(r.stderr, "\n") {
		t.Error(r)
	}
}

func TestIPTablesLegacy(t *testing.T) {
	h := current(t)
	if r := h.try(t, "run", "--rm", "--privileged", "--entrypoint", "iptables-legacy", imageName, "-t", "nat", "-S"); r.code != 0 {
		t.Skipf("this kernel has no iptables of old: %s", r)
	}
	for _, isolation := range []string{"userns", "none"} {
		e := h.privileged(t, "legacy", []string{"-e", "DOCKER_IPTABLES_LEGACY=1"}, "--isolation="+isolation)
		want(t, "firewall", e.docker("info", "-f", "{{json .}}"), "iptables")
		// The kernel lists tables there that the programs of old have made, and no others.
		want(t, isolation+": tables", e.in([]string{"--net=host"}, "cat /proc/net/ip_tables_names").stdout, "nat")
		e.remove()
	}
}

func TestProxyVariablesReachDockerd(t *testing.T) {
	e := current(t).privileged(t, "proxy", []string{"-e", "HTTPS_PROXY=http://proxy.example:3128"})
	if got := e.docker("info", "-f", "{{.HTTPSProxy}}"); got != "http://proxy.example:3128" {
		t.Errorf("proxy %q", got)
	}
}
