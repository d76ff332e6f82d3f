package dind

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
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

func TestPlain2375IsFastAndWarns(t *testing.T) {
	begin := time.Now()
	e := current(t).privileged(t, "plain", []string{"-e", "DOCKER_TLS_CERTDIR="})
	if took := time.Since(begin); took > 8*time.Second {
		t.Errorf("ready after %v", took)
	}
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

func TestDataOnAVolumeOutlivesTheContainer(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		t.Cleanup(func() { h.try(t, "volume", "rm", "dind-data") })
		e := h.privileged(t, "data", []string{"-v", "dind-data:/var/lib/docker"})
		e.docker("tag", busyName, "kept:1")
		e.docker("run", "--name", "owner", busyName, "sh", "-c", "touch /mine; chown 1000 /mine")
		e.h.must(t, "stop", e.name)
		e.remove()
		e = h.container(t, "data", []string{"--privileged", "-v", "dind-data:/var/lib/docker"}).wait()
		want(t, "images", e.docker("images"), "kept")
		e.docker("commit", "owner", "committed:1")
		if got := e.must("docker", "run", "--rm", "committed:1", "stat", "-c", "%u", "/mine"); got != "1000" {
			t.Errorf("owner of a file in a layer: %s", got)
		}
		// As docker:dind has it, so that one can go back.
		if got := h.must(t, "run", "--rm", "-v", "dind-data:/d", imageName, "stat", "-c", "%u", "/d/containerd"); got != "0" {
			t.Errorf("on disk the data root belongs to %s", got)
		}
	})
}

func TestDataOnABindMount(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		dir, err := os.MkdirTemp(shared, "data-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		for range 2 {
			e := h.privileged(t, "bound", []string{"-v", dir + ":/var/lib/docker"})
			if r := e.in(nil, "stat -c %u /home/user/note"); r.stdout != "1000" {
				t.Errorf("owner of a file in a layer: %s", r)
			}
			h.must(t, "stop", e.name)
			e.remove()
		}
	})
}

func TestDataOnTheContainersOverlayIsRefused(t *testing.T) {
	r := current(t).try(t, "run", "--rm", "--privileged", imageName, "--data-root=/somewhere")
	if r.code == 0 {
		t.Fatal(r)
	}
	want(t, "error", r.stderr, "add to docker run: -v /somewhere")
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

func TestKilledContainerStartsAgain(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		for _, isolation := range []string{"userns", "none"} {
			e := h.privileged(t, "killed", nil, "--isolation="+isolation)
			e.docker("run", "-d", "--name", "inner", busyName, "sleep", "1000")
			e.must("sh", "-c", "echo 1 > /var/run/docker.pid") // as docker:dind leaves it
			h.must(t, "kill", e.name)
			h.must(t, "start", e.name)
			e.wait()
			want(t, "containers", e.docker("ps", "-a"), "inner")
			want(t, "images", e.docker("images"), "berth.test/busy")
			e.docker("start", "inner")
			e.remove()
		}
	})
}

func TestStopEndsCleanly(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		e := h.privileged(t, "stopped", nil)
		e.docker("run", "-d", "--init", busyName, "sleep", "1000")
		e.docker("run", "-d", "-v", "said:/said", busyName, "sh", "-c", "trap 'echo asked > /said/so; exit 0' TERM; echo up; while :; do sleep 0.1; done")
		e.must("sh", "-c", "until docker logs $(docker ps -ql) | grep up; do sleep 0.1; done")
		if r := h.try(t, "stop", e.name); r.took > 9*time.Second {
			t.Errorf("docker stop took %v", r.took)
		}
		if got := h.must(t, "inspect", "-f", "{{.State.ExitCode}}", e.name); got != "0" {
			t.Errorf("exit status %s\n%s", got, tail(e.logs()))
		}
		want(t, "log", e.logs(), "Daemon shutdown complete")
		h.must(t, "start", e.name)
		want(t, "containers after a restart", e.wait().docker("ps", "-a"), "sleep 1000")
		want(t, "a container that was asked to end", e.in([]string{"-v", "said:/said"}, "cat /said/so").stdout, "asked")
	})
}

func TestLogsOnStandardOutput(t *testing.T) {
	e := current(t).privileged(t, "logs", nil)
	// Text that people wait for.
	for _, text := range []string{"API listen on /var/run/docker.sock", "Daemon has completed initialization", "API listen on 0.0.0.0:2376"} {
		want(t, "docker logs", e.logs(), text)
	}
}

func TestImagesAreLoadedAtStart(t *testing.T) {
	e := current(t).privileged(t, "images", nil)
	want(t, "images once ready", e.docker("images"), "berth.test/busy")
	want(t, "log", e.logs(), "loaded /images/busy.tar")
}

func TestVolumesOfTheContainerAreTheEnginesToo(t *testing.T) {
	// A CI system mounts its work directory into the service and the job at one path.
	each(t, func(t *testing.T, h *host) {
		path := file(t, "source", "from outside\n")
		dir := path[:strings.LastIndex(path, "/")]
		e := h.privileged(t, "builds", []string{"-v", dir + ":/builds"})
		if r := e.in([]string{"-v", "/builds:/src"}, "cat /src/source; echo from inside > /src/made; chown 1000 /src/made"); r.stdout != "from outside" {
			t.Error(r)
		}
		if got := e.must("sh", "-c", "cat /builds/made; stat -c %u /builds/made"); got != "from inside\n1000" {
			t.Errorf("what a container wrote is %q", got)
		}
		// What is not mounted is refused, not silently empty.
		if r := e.in([]string{"-v", "/no-such-place:/src"}, "true"); r.code == 0 {
			t.Error("a bind mount of nothing worked")
		}
	})
}

func TestMountsWithinMountsAndInit(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		path := file(t, "source", "from outside\n")
		dir := path[:strings.LastIndex(path, "/")]
		// --init mounts a program below /usr.
		e := h.privileged(t, "within", []string{"--init", "-v", dir + ":/builds", "-v", busyTar + ":/builds/busy:ro"})
		if r := e.in([]string{"-v", "/builds:/src"}, "cat /src/source; test -s /src/busy && echo both"); r.stdout != "from outside\nboth" {
			t.Error(r)
		}
	})
}

func TestProxyVariablesReachDockerd(t *testing.T) {
	e := current(t).privileged(t, "proxy", []string{"-e", "HTTPS_PROXY=http://proxy.example:3128"})
	if got := e.docker("info", "-f", "{{.HTTPSProxy}}"); got != "http://proxy.example:3128" {
		t.Errorf("proxy %q", got)
	}
}

func TestAPullAfterStartNeedsNoWait(t *testing.T) {
	h := current(t)
	for i := range 3 {
		name := fmt.Sprintf("now%d", i)
		e := h.container(t, name, []string{"--privileged"})
		// The socket is there before the engine: a client that comes early waits.
		if r := e.try("sh", "-c", "until [ -S /var/run/docker.sock ]; do :; done; docker version -f '{{.Server.Version}}'"); r.code != 0 {
			t.Errorf("a client that came early: %s", r)
		}
		e.remove()
	}
}

// docker compose's service_healthy and the like wait no longer than the engine takes.
func TestHealthCheckIsGreenOnceTheEngineIsReady(t *testing.T) {
	h := current(t) // a Docker that knows the interval of the beginning
	began := time.Now()
	e := h.container(t, "healthy", []string{"--privileged"})
	eventually(func() bool { return h.must(t, "inspect", "-f", "{{.State.Health.Status}}", e.name) != "starting" })
	if got := h.must(t, "inspect", "-f", "{{.State.Health.Status}}", e.name); got != "healthy" {
		t.Errorf("the container is %s\n%s", got, tail(e.logs()))
	}
	// The first regular check would be after ten.
	if took := time.Since(began); took > 9*time.Second {
		t.Errorf("healthy after %v", took)
	}
}

func TestTerminals(t *testing.T) {
	e := current(t).privileged(t, "terminal", nil)
	want(t, "a container's terminal", e.in([]string{"-t"}, "readlink /proc/self/fd/0").stdout, "/dev/pts/0")
	e.docker("run", "-d", "--name", "still", busyName, "sleep", "1000")
	want(t, "docker exec -t", e.docker("exec", "-t", "still", "readlink", "/proc/self/fd/0"), "/dev/pts/0")
}

// What the scripts around docker:dind prepare, where dockerd is in the container's namespaces.
func TestContainerIsPreparedLikeAMachine(t *testing.T) {
	h := hosts[1].ready(t) // whose root is the machine's, as securityfs demands
	e := h.privileged(t, "prepared", []string{"--tmpfs", "/shared"}, "--isolation=none")
	mounts := e.must("cat", "/proc/self/mountinfo")
	for _, line := range strings.Split(mounts, "\n") {
		if f := strings.Fields(line); f[4] == "/" && !strings.Contains(line, " shared:") {
			t.Errorf("/ is not shared: %s", line)
		}
	}
	want(t, "/tmp", mounts, " /tmp rw")
	if e.try("test", "-d", "/sys/kernel/security").code == 0 {
		want(t, "securityfs", mounts, " /sys/kernel/security ")
	}
	want(t, "dockerd's environment", e.must("sh", "-c", "tr '\\0' '\\n' < /proc/$(pidof dockerd)/environ"), "container=docker")
	// So a container can mount for others to see.
	r := e.in([]string{"--privileged", "-v", "/shared:/shared:rshared"}, "mkdir /shared/in && mount -t tmpfs none /shared/in && echo seen > /shared/in/file")
	if got := e.try("cat", "/shared/in/file"); got.stdout != "seen" {
		t.Errorf("what a container mounted: %s, %s", got, r)
	}
	e.remove()
	// A /tmp of the user's stays, and the engine has it as any other volume.
	e = h.privileged(t, "prepared", []string{"-v", file(t, "note", "mine") + ":/tmp/note"})
	if r := e.in([]string{"-v", "/tmp/note:/note"}, "cat /note"); r.stdout != "mine" {
		t.Error(r)
	}
}
