package integration

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/test/leak"
	"github.com/berth-dev/berth/test/program"
	"github.com/berth-dev/berth/test/sandbox"
)

// debianDocker holds Debian's docker.io, unpacked and not installed.
const debianDocker = "../../.cache/test/docker.io"

// fetchDebianDocker downloads it once. Without it the test that needs it is
// skipped, and says so.
func fetchDebianDocker() {
	if _, err := os.Stat(debianDocker + "/usr/sbin/dockerd"); err == nil {
		return
	}
	text := `set -e; mkdir -p "$1.new"; cd "$1.new"
		apt-get download -qq docker.io containerd runc tini libdevmapper1.02.1
		for deb in *.deb; do dpkg -x "$deb" .; rm "$deb"; done; cd - >/dev/null; rm -rf "$1"; mv "$1.new" "$1"`
	if out, err := exec.Command("sh", "-c", text, "sh", debianDocker).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "integration: Debian's docker.io cannot be downloaded: %v\n%s", err, bytes.TrimSpace(out))
	}
}

// hostDocker is a Docker host's own engine, in the sandbox.
type hostDocker struct {
	t   *testing.T
	dir string
}

func startHostDocker(t *testing.T) *hostDocker {
	t.Helper()
	needsSandbox(t)
	dir, err := filepath.Abs(debianDocker)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir + "/usr/sbin/dockerd"); err != nil {
		t.Skip("Debian's docker.io could not be downloaded")
	}
	if _, err := exec.LookPath("iptables"); err != nil {
		t.Skip("iptables is not installed, which Debian's docker.io needs")
	}
	d := &hostDocker{t, dir}
	cmd := exec.Command(dir+"/usr/sbin/dockerd", "-H", "unix:///run/docker.sock")
	var log program.Output
	cmd.Env, cmd.Stdout, cmd.Stderr = d.env(), &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(unix.SIGTERM)
		cmd.Wait()
		d.clean()
	})
	eventually(t, "Debian's dockerd answers", func() bool { return d.try("version").code == 0 })
	d.must("load", "-q", "-i", imageTar)
	return d
}

func (d *hostDocker) env() []string {
	return append(os.Environ(), "PATH="+d.dir+"/usr/bin:"+d.dir+"/usr/sbin:"+os.Getenv("PATH"), "LD_LIBRARY_PATH="+d.dir+"/lib/x86_64-linux-gnu")
}

func (d *hostDocker) try(args ...string) result {
	cmd := exec.Command(d.dir+"/usr/bin/docker", append([]string{"-H", "unix:///run/docker.sock"}, args...)...)
	cmd.Env = d.env()
	return finish(d.t, cmd)
}

func (d *hostDocker) must(args ...string) string {
	d.t.Helper()
	r := d.try(args...)
	if r.code != 0 {
		d.t.Fatalf("the host's docker %v: %s", args, r)
	}
	return strings.TrimSpace(r.stdout)
}

// clean removes what a dockerd leaves on its host for good.
func (d *hostDocker) clean() {
	for _, args := range [][]string{
		{"ip", "link", "del", "docker0"},
		{"sh", "-c", "for t in filter nat; do iptables -t $t -P FORWARD ACCEPT; iptables -t $t -F; iptables -t $t -X; done; nft delete table ip nat; nft delete table ip filter; nft delete table ip6 filter; nft delete table ip6 nat"},
		{"sh", "-c", "sysctl -q -w net.ipv4.ip_forward=0 net.ipv4.conf.all.forwarding=0 net.ipv4.conf.default.forwarding=0"},
		{"sh", "-c", "awk '$5 ~ \"^/(run|var/lib)/docker\" {print $5}' /proc/self/mountinfo | sort -r | xargs -r umount"},
		{"sh", "-c", "rm -rf /run/docker* /run/containerd /var/lib/docker /var/lib/containerd; find /sys/fs/cgroup -depth -type d -name docker -exec rmdir {} ';'"},
	} {
		exec.Command(args[0], args[1:]...).Run()
	}
}

// A Docker host and berth's engines share a machine without disturbing each
// other: both reach the world, both keep their containers, and berth leaves the
// host's firewall as Docker made it.
func TestBesideADockerHost(t *testing.T) {
	guard(t)
	host := startHostDocker(t)
	host.must("run", "-d", "--name", "neighbour", "-p", "18080:80", imageName, "httpd", "-f", "-p", "80", "-h", "/home")
	fetch := []string{"wget", "-q", "-O", "-", "http://" + sandbox.InternetAddress + "/"}
	theirs := append([]string{"exec", "neighbour"}, fetch...)
	want(t, "control: the host's container gets out", host.must(theirs...), "you are")
	before, err := leak.Take(scope)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("both work", func(t *testing.T) {
		e := up(t, "beside")
		if r := e.in(nil, strings.Join(fetch, " ")); r.code != 0 {
			t.Errorf("the engine's container does not get out: %s", r)
		}
		if r := host.try(theirs...); r.code != 0 {
			t.Errorf("the host's container does not get out any more: %s", r)
		}
		if answer, err := http.Get("http://127.0.0.1:18080/user/note"); err != nil {
			t.Errorf("the host's published port: %v", err)
		} else {
			answer.Body.Close()
		}
		e.docker("run", "-d", "--name", "neighbour", "-p", "18080:80", imageName, "sleep", "100")
		if got := host.must("ps", "-q", "--no-trunc"); strings.Contains(got, e.docker("ps", "-q", "--no-trunc")) {
			t.Error("the host's docker sees the engine's container")
		}
		if r := e.in(nil, fmt.Sprintf("wget -q -O - http://%s/ -T 2", host.must("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "neighbour"))); r.code == 0 {
			t.Errorf("an engine reached a container of the host's: %s", r)
		}
	})
	left, err := leak.Settle(t.Context(), before, scope)
	if err != nil || len(left) > 0 {
		t.Errorf("the Docker host is not as it was: %v\n  %s", err, strings.Join(leak.Shorten(left), "\n  "))
	}
	want(t, "afterwards the host's container gets out", host.must(theirs...), "you are")
}

// A dockerd that starts later, and sets the firewall to drop, does not cut off
// an engine for good: a new one gets out.
func TestDockerHostThatStartsLater(t *testing.T) {
	guard(t)
	needsSandbox(t)
	bare(t, "earlier")
	startHostDocker(t)
	e := up(t, "later")
	if r := e.in(nil, "wget -q -O - http://"+sandbox.InternetAddress+"/"); r.code != 0 {
		t.Errorf("an engine started after Docker does not get out: %s", r)
	}
	must(t, "rm", "-f", "later")
	must(t, "rm", "-f", "earlier")
}
