package dind

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/berth-dev/berth/test/image"
	"github.com/berth-dev/berth/test/registry"
	"github.com/berth-dev/berth/test/sandbox"
)

// Scenario 1 and 2: an engine in a container with a private registry's authority, a client
// in another one that pulls through it, and a host that knows nothing of that.
func TestScenarioEngineAndClientInContainers(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		reg, ref, ca := privateRegistry(t)
		certs := volume(t, h, "scenario-certs")
		h.must(t, "network", "create", "scenario")
		t.Cleanup(func() { h.try(t, "network", "rm", "scenario") })
		resolve := reg.Host + ":" + sandbox.HostAddress
		e := h.container(t, "dockerd", []string{
			"--privileged", "--network", "scenario", "--network-alias", "docker", "--add-host", resolve,
			"-v", ca + ":/etc/docker/certs.d/" + reg.Host + "/ca.crt", "-v", certs + ":/certs/client",
		}, "--registry-mirror=https://"+reg.Host)
		// Nobody waits: the client's certificates are there before anything listens.
		e.wait()
		h.must(t, "network", "connect", "bridge", "dockerd")
		pull := "docker pull -q " + ref + " && docker run --rm " + ref + " && docker save " + ref + " | wc -c && docker rmi " + ref
		for how, options := range map[string][]string{
			"user-defined network":     {"--network", "scenario"},
			"link":                     {"--link", "dockerd:docker"},
			"shared network namespace": {"--network", "container:dockerd", "-e", "DOCKER_HOST=tcp://localhost:2376"},
		} {
			args := append([]string{"run", "--rm", "-v", certs + ":/certs/client:ro"}, options...)
			r := h.try(t, append(args, imageName, "sh", "-ec", pull)...)
			if r.code != 0 || !strings.Contains(r.stdout, image.Greeting) {
				t.Errorf("%s: %s", how, r)
			}
		}
		if got := h.must(t, "images"); strings.Contains(got, "berth/test") {
			t.Errorf("the host is polluted: %s", got)
		}
	})
}

func privateRegistry(t *testing.T) (reg *registry.Registry, ref, ca string) {
	t.Helper()
	reg, err := registry.Start(context.Background(), registry.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reg.Close() })
	img, err := image.Build(image.Options{Label: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	// At the usual port, for `docker run -v` takes no colon in a path; and for everybody,
	// while the registry itself serves engines' addresses only.
	relay(t, "0.0.0.0:443", fmt.Sprintf("127.0.0.1:%d", reg.Port))
	ref = reg.Host + "/berth/test:1"
	if err := image.Push(reg.Address()+"/berth/test:1", img, reg.Transport(), nil); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(reg.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	return reg, ref, file(t, "ca.crt", string(b))
}

// relay passes TCP connections on.
func relay(t *testing.T, from, to string) {
	t.Helper()
	ln, err := net.Listen("tcp4", from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer in.Close()
				out, err := net.Dial("tcp4", to)
				if err != nil {
					return
				}
				defer out.Close()
				go io.Copy(out, in)
				io.Copy(in, out)
			}()
		}
	}()
}

func TestAuthorityAndMirrorForAllRegistries(t *testing.T) {
	h := current(t)
	reg, ref, ca := privateRegistry(t)
	resolve := []string{"--add-host", reg.Host + ":" + sandbox.HostAddress}
	pull := strings.Replace(ref, reg.Host, "other.example", 1)
	e := h.privileged(t, "mirror", append(resolve, "-v", ca+":/my/ca.crt:ro"), "--ca", "/my/ca.crt", "--mirror", "https://"+reg.Host)
	e.docker("pull", "-q", pull)
	e.docker("pull", "-q", ref)
	e.remove()
	// The same by variables and in the place where programs look.
	e = h.privileged(t, "mirror", append(resolve, "-v", ca+":/etc/ssl/certs/mine.pem:ro", "-e", "BERTH_MIRROR=https://"+reg.Host))
	e.docker("pull", "-q", pull)
	e.remove()
	e = h.privileged(t, "mirror", resolve)
	if r := e.try("docker", "pull", "-q", ref); r.code == 0 || !strings.Contains(r.stderr, "certificate") {
		t.Errorf("without the authority: %s", r)
	}
}

func TestPublishedPortsAreTheContainers(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		e := h.privileged(t, "ports", []string{"-p", "18099:8080"})
		e.docker("run", "-d", "--name", "web", "-p", "8080:80", "-p", "127.0.0.1:8081:80", busyName, "httpd", "-f", "-p", "80", "-h", "/")
		want(t, "at the container's localhost", e.must("wget", "-q", "-O", "-", "http://127.0.0.1:8080/greeting"), image.Greeting)
		want(t, "for localhost alone", e.must("wget", "-q", "-O", "-", "http://127.0.0.1:8081/greeting"), image.Greeting)
		fetch := func(port string, options ...string) result {
			args := append([]string{"run", "--rm", "--entrypoint", "wget"}, options...)
			return h.try(t, append(args, imageName, "-q", "-O", "-", "http://ports:"+port+"/greeting")...)
		}
		want(t, "from another container", fetch("8080", "--link", "ports:ports").stdout, image.Greeting)
		if r := fetch("8081", "--link", "ports:ports"); r.code == 0 {
			t.Error("a port of localhost is open to others")
		}
		if r, err := run(nil, "wget", "-q", "-O", "-", "http://127.0.0.1:18099/greeting"); h.name != "berth" && (err == nil && r.stdout != image.Greeting) {
			t.Errorf("published on the host as well: %s", r)
		}
		// In use in the container: refused when asked for, as with docker:dind.
		if r := e.try("docker", "run", "--rm", "-p", "2376:80", busyName, "true"); r.code == 0 || !strings.Contains(r.stderr, "in use") {
			t.Errorf("the API's own port: %s", r)
		}
		e.docker("rm", "-f", "web")
		if r := e.try("wget", "-q", "-O", "-", "http://127.0.0.1:8080/greeting"); r.code == 0 {
			t.Error("the port is open after the container has gone")
		}
		e.docker("run", "-d", "--name", "web", "-p", "8080:80", busyName, "httpd", "-f", "-p", "80", "-h", "/")
		want(t, "the same port once more", e.must("wget", "-q", "-O", "-", "http://127.0.0.1:8080/greeting"), image.Greeting)
	})
}

// As with docker:dind, what listens in the container is at the gateway that containers ask for.
func TestHostGatewayIsTheContainer(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		for _, isolation := range []string{"userns", "none"} {
			e := h.privileged(t, "gateway", nil, "--isolation="+isolation)
			h.must(t, "exec", "-d", e.name, "busybox", "httpd", "-f", "-p", "8070", "-h", "/etc")
			e.docker("run", "-d", "-p", "8071:80", busyName, "httpd", "-f", "-p", "80", "-h", "/")
			fetch := func(path string) result {
				return e.in([]string{"--add-host", "host.docker.internal:host-gateway"}, "wget -q -O - http://host.docker.internal:"+path)
			}
			want(t, isolation+": the container", fetch("8070/os-release").stdout, "Berth")
			want(t, isolation+": a published port", fetch("8071/greeting").stdout, image.Greeting)
			e.remove()
		}
	})
}

// Tools that clean up after tests are containers that have the socket.
func TestSocketInAContainer(t *testing.T) {
	e := current(t).privileged(t, "socket", nil)
	if r := e.in([]string{"-v", "/var/run/docker.sock:/var/run/docker.sock"}, "test -S /var/run/docker.sock"); r.code != 0 {
		t.Error(r)
	}
}

func TestPlainPortSaysWhatToDo(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		e := h.privileged(t, "hint", nil)
		r := h.try(t, "run", "--rm", "--link", "hint:docker", imageName, "docker", "-H", "tcp://docker:2375", "images")
		if r.code == 0 {
			t.Errorf("an engine without TLS: %s", r)
		}
		want(t, "the error", r.stderr, "DOCKER_HOST=tcp://docker:2376 DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH=/certs/client")
		e.docker("run", "-d", "-p", "2375:80", busyName, "httpd", "-f", "-p", "80", "-h", "/")
		want(t, "published at the same port", e.must("wget", "-q", "-O", "-", "http://127.0.0.1:2375/greeting"), image.Greeting)
	})
}

func TestPublishedUDPPort(t *testing.T) {
	h := hosts[1].ready(t) // whose containers can be reached from here
	program := file(t, "echo", "")
	build := exec.Command("go", "build", "-trimpath", "-o", program, "./echo")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	e := h.privileged(t, "udp", []string{"-v", program + ":/tools/echo:ro"})
	e.docker("run", "-d", "--name", "echo", "-p", "5300:5300/udp", "-v", "/tools/echo:/echo", busyName, "/echo")
	conn, err := net.Dial("udp4", h.must(t, "inspect", "-f", "{{.NetworkSettings.IPAddress}}", "udp")+":5300")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	buf := make([]byte, 100)
	for range 20 { // a datagram may come before the server does
		conn.Write([]byte("datagram"))
		conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		if n, err := conn.Read(buf); err == nil {
			want(t, "echo", string(buf[:n]), "datagram")
			return
		}
	}
	t.Error("no answer")
}

func TestNamesOfTheContainerResolveInside(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		h.must(t, "network", "create", "names")
		t.Cleanup(func() { h.try(t, "network", "rm", "names") })
		e := h.privileged(t, "resolver", []string{"--network", "names", "--add-host", "added.example:192.0.2.77"})
		h.must(t, "run", "-d", "--name", "neighbour", "--network", "names", "--entrypoint", "sleep", imageName, "1000")
		t.Cleanup(func() { h.try(t, "rm", "-f", "-v", "neighbour") })
		want(t, "--add-host", e.in(nil, "nslookup added.example").stdout, "192.0.2.77")
		addr := h.must(t, "inspect", "-f", "{{(index .NetworkSettings.Networks \"names\").IPAddress}}", "neighbour")
		want(t, "a neighbour in a user-defined network", e.in(nil, "nslookup neighbour").stdout, addr)
		if r := e.in(nil, "ping -c 1 -W 2 "+addr); r.code != 0 {
			t.Errorf("the neighbour does not answer: %s", r)
		}
	})
}

func TestMemoryLimitOfTheContainerHoldsForEverythingInside(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		e := h.privileged(t, "bounded", []string{"-m", "400m"})
		checkMemoryOfTheWhole(t, "privileged", e.try)
	})
}
