package kube

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/berth-dev/berth/test/image"
)

// shifted is where the ids of the container below begin on the node.
const shifted = 1_000_000

// granted are what containerd gives by default, and what the level unprivileged adds.
var granted = strings.Fields(`CAP_CHOWN CAP_DAC_OVERRIDE CAP_FSETID CAP_FOWNER CAP_MKNOD CAP_NET_RAW CAP_SETGID CAP_SETUID
	CAP_SETFCAP CAP_SETPCAP CAP_NET_BIND_SERVICE CAP_SYS_CHROOT CAP_KILL CAP_AUDIT_WRITE CAP_SYS_ADMIN CAP_NET_ADMIN`)

// The level unprivileged takes cgroup v2 and systemd on a node. What of it does not is tried
// out here with runc alone, which makes the engine's container as containerd has it made for
// such a pod: in a user namespace, with the capabilities of berth's manifest, the seccomp
// profile of `berth kube node-setup`, a read-only sysfs and control groups of its own.
func TestAnUnprivilegedContainerRunsAnEngine(t *testing.T) {
	c := unprivileged(t)
	c.runc("start", "engine")
	c.exec("berth health")
	const run = "docker run --rm localhost/inside:1 "
	for _, try := range []struct{ what, script, want string }{
		{"a container", run + "echo ran", "ran"},
		{"a limit", "docker run --rm -m 64m localhost/inside:1 cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true", "67108864"},
		{"a build", "printf 'FROM localhost/inside:1\nRUN echo built >/built\n' | docker build -q -t b - >/dev/null && docker run --rm b cat /built", "built"},
		{"a published port", "docker run -d --name web -p 8080:80 localhost/inside:1 httpd -f -p 80 -h / >/dev/null && wget -q -O- http://127.0.0.1:8080/greeting", image.Greeting},
		{"exec", "docker exec web id -u", "0"},
		{"a privileged container", "docker run --rm --privileged localhost/inside:1 sh -c 'mount | grep -o \"^sysfs on /sys type sysfs (r[ow]\"'", "sysfs on /sys type sysfs (ro"},
		{"the node's settings", "docker run --rm --privileged localhost/inside:1 sh -c '(cat /proc/sys/kernel/panic >/proc/sys/kernel/panic) 2>/dev/null && echo written; true'", ""},
		{"the bound on processes", "cat /sys/fs/cgroup/pids/docker/pids.max /sys/fs/cgroup/docker/pids.max 2>/dev/null; true", "400"},
	} {
		if got := c.exec(try.script); got != try.want {
			t.Errorf("%s: got %q, want %q", try.what, got, try.want)
		}
	}
}

// container is one that runc makes.
type container struct {
	t   *testing.T
	dir string // its bundle
}

func (c container) runc(args ...string) string {
	c.t.Helper()
	program, err := filepath.Abs(programs + "/runc")
	if err != nil {
		c.t.Fatal(err)
	}
	// Parts of the sandbox's /proc are covered, so that nothing below could mount its own.
	cmd := exec.CommandContext(c.t.Context(), "unshare", append([]string{
		"--mount", "--propagation", "private", "sh", "-c", `mount -t proc proc /proc && exec "$@"`, "sh", program, "--root", c.dir + "/state"}, args...)...)
	log, err := os.OpenFile(c.dir+"/log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	defer log.Close()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, log
	if args[0] == "create" {
		cmd.Stdout = log // the container keeps it
	}
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(c.dir + "/log")
		c.t.Fatalf("runc %v: %v\n%s", args, err, text)
	}
	return strings.TrimSpace(out.String())
}

func (c container) exec(script string) string {
	c.t.Helper()
	return c.runc("exec", "engine", "sh", "-c", script)
}

// unprivileged makes the container; it is not started yet.
func unprivileged(t *testing.T) container {
	dir, err := os.MkdirTemp("/var/lib", "unprivileged-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c := container{t, dir}
	unpack(t, filepath.Join(dir, "rootfs"))
	for _, d := range []string{"data", "images"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	img, err := image.Build(image.Options{Busybox: programs + "/busybox"})
	if err != nil {
		t.Fatal(err)
	}
	if err := image.SaveTar(dir+"/images/inside.tar", "localhost/inside:1", img); err != nil {
		t.Fatal(err)
	}
	shift(t, dir+"/data")
	config, err := json.Marshal(bundle(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/config.json", config, 0o600); err != nil {
		t.Fatal(err)
	}
	// Everything on the way has to let the container's root pass.
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	c.runc("create", "--bundle", dir, "engine")
	t.Cleanup(func() {
		if out, err := exec.Command(programs+"/runc", "--root", dir+"/state", "delete", "--force", "engine").CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	groups, err := filepath.Glob("/sys/fs/cgroup/*/unprivileged/engine")
	if err != nil || len(groups) == 0 {
		t.Fatalf("no control groups: %v", err)
	}
	for _, g := range groups { // as runc's systemd driver does on cgroup v2
		for _, name := range []string{"", "cgroup.procs", "tasks"} {
			_ = os.Lchown(filepath.Join(g, name), shifted, shifted)
		}
	}
	return c
}

// unpack makes the engine's image a root directory that belongs to the container's root.
func unpack(t *testing.T, dir string) {
	t.Helper()
	archives, err := filepath.Glob("../../.cache/kube/image/*.tar")
	if err != nil || len(archives) != 1 {
		t.Fatalf("berth's image: %v, %v", archives, err)
	}
	img, err := tarball.ImageFromPath(archives[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	files := mutate.Extract(img)
	defer files.Close()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	tar := exec.Command("tar", "-x", "-C", dir)
	tar.Stdin = files
	if out, err := tar.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	shift(t, dir)
}

func shift(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, shifted, shifted)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func bundle(t *testing.T, dir string) *specs.Spec {
	t.Helper()
	var profile specs.LinuxSeccomp
	if err := json.Unmarshal([]byte(written(t, "node-setup", "seccomp")), &profile); err != nil {
		t.Fatal(err)
	}
	ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: shifted, Size: 65536}}
	mount := func(path, kind string, options ...string) specs.Mount {
		return specs.Mount{Destination: path, Type: kind, Source: kind, Options: append(options, "nosuid", "noexec")}
	}
	s := &specs.Spec{
		Version: "1.0.2", Hostname: "engine", Root: &specs.Root{Path: dir + "/rootfs"},
		Process: &specs.Process{
			Cwd: "/", Args: []string{"berth", "init", "dockerd", "--host=unix:///var/run/docker.sock", "--isolation=none", "--pids=400", "--log-level=warn"},
			Env:          []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "KUBERNETES_SERVICE_HOST=10.96.0.1"},
			Capabilities: &specs.LinuxCapabilities{Bounding: granted, Effective: granted, Permitted: granted},
		},
		Mounts: []specs.Mount{
			mount("/proc", "proc"), mount("/dev", "tmpfs", "mode=755"), mount("/dev/pts", "devpts", "newinstance", "ptmxmode=0666"),
			mount("/dev/shm", "tmpfs"), mount("/dev/mqueue", "mqueue"), mount("/sys", "sysfs", "ro"), mount("/sys/fs/cgroup", "cgroup"),
			{Destination: "/var/lib/docker", Type: "bind", Source: dir + "/data", Options: []string{"rbind"}},
			{Destination: "/images", Type: "bind", Source: dir + "/images", Options: []string{"rbind", "ro"}},
		},
		Linux: &specs.Linux{
			UIDMappings: ids, GIDMappings: ids, CgroupsPath: "/unprivileged/engine", Seccomp: &profile,
			Resources: &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}},
		},
	}
	for _, n := range []specs.LinuxNamespaceType{
		specs.PIDNamespace, specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.MountNamespace, specs.CgroupNamespace, specs.UserNamespace,
	} {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: n})
	}
	return s
}
