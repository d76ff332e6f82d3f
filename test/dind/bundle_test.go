package dind

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// bundle is a container of the image that runc makes, without a Docker around it: what any
// runtime gives a privileged container, and light enough for an emulated machine.
type bundle struct {
	t    *testing.T
	dir  string
	spec specs.Spec
}

// unpacked is the image's root, made once.
var unpacked string

func unpack(t *testing.T) string {
	t.Helper()
	if unpacked != "" {
		return unpacked
	}
	img, err := tarball.ImageFromPath(imageTar, nil)
	if err != nil {
		t.Fatal(err)
	}
	root := "/var/lib/dind-root"
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	files := mutate.Extract(img)
	defer files.Close()
	tar := exec.Command("tar", "-x", "-C", root)
	tar.Stdin = files
	if out, err := tar.CombinedOutput(); err != nil {
		t.Fatalf("unpack the image: %v\n%s", err, out)
	}
	unpacked = root
	return root
}

// newBundle has a container with a network of its own, and the test's image in it.
func newBundle(t *testing.T) *bundle {
	t.Helper()
	root := unpack(t)
	// In the sandbox's cgroup namespace these tests themselves are in the way.
	const leave = `cd /sys/fs/cgroup; [ -e cgroup.type ] || exit 0; mkdir -p tests
		for p in $(cat cgroup.procs); do echo $p > tests/cgroup.procs || true; done`
	if out, err := exec.Command("sh", "-ec", leave).CombinedOutput(); err != nil {
		t.Fatalf("make room in the control group: %v\n%s", err, out)
	}
	b := &bundle{t: t, dir: filepath.Join("/var/lib", "dind-"+strings.ToLower(t.Name()))}
	data := filepath.Join(b.dir, "data")
	if err := os.MkdirAll(data, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(b.dir) })
	b.spec = privilegedSpec(root, b.network())
	for to, from := range map[string]string{"/var/lib/docker": data, "/images/busy.tar": busyTar} {
		b.spec.Mounts = append(b.spec.Mounts, specs.Mount{Destination: to, Source: from, Type: "bind", Options: []string{"bind"}})
	}
	return b
}

// network makes a network namespace with a way out, and returns its path.
func (b *bundle) network() string {
	b.t.Helper()
	const name = "dind-bundle"
	script := `ip netns add N; ip -n N link set lo up; ip -n N link add eth0 type veth peer name out; ip -n N link set out up; ip -n N address add 192.0.2.2/24 dev eth0
		ip -n N link set eth0 up; ip -n N route add default via 192.0.2.1`
	b.t.Cleanup(func() { exec.Command("ip", "netns", "delete", name).Run() })
	if out, err := exec.Command("sh", "-ec", strings.ReplaceAll(script, "N", name)).CombinedOutput(); err != nil {
		b.t.Fatalf("make a network: %v\n%s", err, out)
	}
	return "/run/netns/" + name
}

// privilegedSpec is what `docker run --privileged` asks runc for, with all that this process may.
func privilegedSpec(root, network string) specs.Spec {
	caps, mode := capabilities(), os.FileMode(0o666)
	device := func(path string, major, minor int64) specs.LinuxDevice {
		return specs.LinuxDevice{Path: path, Type: "c", Major: major, Minor: minor, FileMode: &mode}
	}
	mount := func(to, kind string, options ...string) specs.Mount {
		return specs.Mount{Destination: to, Type: kind, Source: kind, Options: append([]string{"nosuid"}, options...)}
	}
	return specs.Spec{
		Version: specs.Version, Hostname: "bundle",
		Root: &specs.Root{Path: root},
		Process: &specs.Process{
			Cwd: "/", Env: []string{"PATH=/usr/local/bin:/usr/sbin:/usr/bin", "DOCKER_TLS_CERTDIR=/certs"},
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
		},
		Mounts: []specs.Mount{
			mount("/proc", "proc"), mount("/dev", "tmpfs", "mode=755"), mount("/dev/pts", "devpts", "newinstance", "ptmxmode=0666", "mode=0620"),
			mount("/dev/shm", "tmpfs", "mode=1777"), mount("/dev/mqueue", "mqueue"), mount("/sys", "sysfs"), mount("/sys/fs/cgroup", "cgroup", "noexec", "nodev"),
			mount("/run", "tmpfs", "mode=755"), mount("/certs", "tmpfs", "mode=755"),
		},
		Linux: &specs.Linux{
			CgroupsPath: "/dind-bundle",
			Resources:   &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}},
			Devices:     []specs.LinuxDevice{device("/dev/fuse", 10, 229), device("/dev/net/tun", 10, 200)},
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace},
				{Type: specs.NetworkNamespace, Path: network},
			},
		},
	}
}

// capabilities are those of this process that runc knows by name.
func capabilities() (out []string) {
	text, _ := os.ReadFile("/proc/self/status")
	var bits uint64
	if _, line, ok := strings.Cut(string(text), "\nCapEff:"); ok {
		fmt.Sscanf(line, "%x", &bits)
	}
	for bit, name := range strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP
		LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT
		SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE
		AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE`) {
		if bits&(1<<bit) != 0 {
			out = append(out, "CAP_"+name)
		}
	}
	return out
}

// start runs the container with arguments until the returned function is called, and waits
// for its engine.
func (b *bundle) start(args ...string) (stop func()) {
	b.t.Helper()
	b.spec.Process.Args = append([]string{"berth", "init"}, args...)
	text, err := json.Marshal(b.spec)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "config.json"), text, 0o644); err != nil {
		b.t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(b.dir, "log"))
	if err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(unpacked, "usr/bin/runc"), "--root", "/run/dind-runc", "run", "--bundle", b.dir, "bundle")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	stop = func() {
		cmd.Process.Signal(unix.SIGTERM) // runc passes it on
		if err := cmd.Wait(); err != nil {
			b.t.Errorf("the container ended with %v\n%s", err, b.log())
		}
		log.Close()
	}
	if r := b.try("berth", "health"); r.code != 0 {
		defer stop()
		b.t.Fatalf("the engine does not become ready: %s\n%s", r, b.log())
	}
	return stop
}

func (b *bundle) log() string {
	text, _ := os.ReadFile(filepath.Join(b.dir, "log"))
	return string(text)
}

// try runs a command in the container, once that is there.
func (b *bundle) try(args ...string) result {
	b.t.Helper()
	var r result
	eventually(func() bool {
		var err error
		r, err = run(os.Environ(), append([]string{filepath.Join(unpacked, "usr/bin/runc"), "--root", "/run/dind-runc", "exec", "bundle"}, args...)...)
		if err != nil {
			b.t.Fatal(err)
		}
		return !strings.Contains(r.stderr, "container does not exist") && !strings.Contains(r.stderr, "cannot exec in a stopped container")
	})
	return r
}
