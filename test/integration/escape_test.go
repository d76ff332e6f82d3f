package integration

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/test/leak"
	"github.com/berth-dev/berth/test/sandbox"
)

// An escape is something that a privileged container tries. Its output has to
// hold exactly one of the allowed failures; control shows that the same thing
// works on the host, so that the test could fail.
type escape struct {
	title   string
	flags   []string // of docker run, besides --privileged
	script  string
	fails   []string           // each line of the output has to contain one of these
	control func(t *testing.T) // called before and after
}

const canary = "berth-canary-4711"

// onHost is the control of a probe: the same, outside.
func onHost(args ...string) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		if out, err := exec.Command(probeProgram, args...).CombinedOutput(); err != nil {
			t.Errorf("control: `probe %s` fails on the host too: %s", strings.Join(args, " "), out)
		}
	}
}

// failsOtherwise is the control of a probe which must not succeed on the host
// either, but gets further there.
func failsOtherwise(errnos string, args ...string) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		out, _ := exec.Command(probeProgram, args...).CombinedOutput()
		if got := strings.TrimSpace(string(out)); !slices.Contains(strings.Fields(errnos), got) {
			t.Errorf("control: `probe %s` on the host: %s, want one of %s", strings.Join(args, " "), got, errnos)
		}
	}
}

func TestEscapes(t *testing.T) {
	guard(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(canary), 0o644); err != nil {
		t.Fatal(err)
	}
	major, minor := rootDevice(t)
	e := up(t, "escape", "--memory", "512m", "--pids", "500", "--cpus", "1.5")
	all := slices.Concat(fileEscapes(secret), deviceEscapes(major, minor), kernelEscapes(), engineEscapes(t, e))
	before, err := leak.Take(scope)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range all {
		t.Run(test.title, func(t *testing.T) {
			if test.control != nil {
				test.control(t)
			}
			e.t = t
			r := e.in(append([]string{"--privileged"}, test.flags...), test.script)
			if test.control != nil {
				test.control(t)
			}
			text := strings.TrimSpace(r.stdout + r.stderr)
			if text == "" && !slices.Contains(test.fails, "") {
				t.Errorf("no output at all, want one of %q", test.fails)
			}
			for line := range strings.Lines(text) {
				if chatter(line) {
					continue
				}
				if !slices.ContainsFunc(test.fails, func(f string) bool { return f != "" && strings.Contains(line, f) }) {
					t.Errorf("got %q, want one of %q", strings.TrimSpace(line), test.fails)
				}
			}
		})
	}
	e.t = t
	after, err := leak.Take(scope)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range leak.Compare(before, after) {
		if strings.Contains(line, " setting: ") || strings.Contains(line, " network: ") || strings.Contains(line, " nft: ") || strings.Contains(line, " mount: ") {
			t.Errorf("the privileged containers changed the host: %s", line)
		}
	}
}

// chatter is what the docker CLI says around an error.
func chatter(line string) bool {
	return strings.TrimSpace(line) == "" || strings.HasPrefix(line, "Run 'docker run --help'")
}

func rootDevice(t *testing.T) (major, minor string) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat("/var/lib", &st); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(unix.Major(st.Dev)), fmt.Sprint(unix.Minor(st.Dev))
}

func fileEscapes(secret string) []escape {
	seen := func(t *testing.T) {
		t.Helper()
		if text, err := os.ReadFile(secret); err != nil || string(text) != canary {
			t.Errorf("control: %q %v", text, err)
		}
	}
	missing := []string{"No such file", "can't open"}
	// What init may hold: sockets, pipes, and the files of its own cgroup from which the Go
	// runtime reads how many processors there are.
	return []escape{
		{"the root directory by bind mount", []string{"-v", "/:/host"}, "cat /host" + secret, missing, seen},
		{"the parent of the secret by bind mount", []string{"-v", filepath.Dir(secret) + ":/host"}, "cat /host/secret", []string{"No such file", "--share", "can't open", "read-only file system"}, seen},
		{"berth's state by bind mount", []string{"-v", "/:/host"}, "ls /host/var/lib/berth /host/run/berth/engines", []string{"No such file"}, nil},
		{"process 1's root", nil, "cat /proc/1/root" + secret, missing, seen},
		{"process 1's root in the engine's pid namespace", []string{"--pid", "host"}, "cat /proc/1/root" + secret, missing, seen},
		{"any process's root or directory", []string{"--pid", "host"},
			"for p in /proc/[0-9]*; do cat $p/root" + secret + " $p/cwd" + secret + "; done 2>&1 | grep -c " + canary, []string{"0"}, seen},
		{"nsenter into process 1", []string{"--pid", "host"}, "nsenter -t 1 -m -u -i -n -p /bin/cat " + secret, missing, seen},
		{"a file handle made up", nil, "/probe handle /", []string{"EPERM", "ESTALE"}, nil},
		{"overwriting the engine's programs", []string{"--pid", "host"}, "/probe write /proc/1/root/usr/bin/dockerd", []string{"EROFS", "EACCES"}, nil},
		{"overwriting them after a remount", []string{"--pid", "host"},
			"nsenter -t 1 -m mount -o remount,rw,bind /usr >/dev/null 2>&1; /probe write /proc/1/root/usr/bin/dockerd", []string{"EROFS", "EACCES"}, nil},
		{"overwriting init through its exe link", []string{"--pid", "host"}, "/probe write /proc/1/exe", []string{"EROFS", "EACCES", "ETXTBSY"}, nil},
		{"inherited descriptors", []string{"--pid", "host"},
			`/probe fds | grep -v -e 'file socket:' -e 'file pipe:' -e 'file anon_inode:' -e 'file /dev/null' -e 'file /sys/fs/cgroup/' -e '^ok$'; echo end`, []string{"end"}, nil},
	}
}

func deviceEscapes(major, minor string) []escape {
	denied := []string{"EPERM", "EACCES"}
	list := []escape{
		{"the disk by mknod", nil, "/probe mknod b " + major + " " + minor, denied, nil},
		{"kernel memory by mknod", nil, "/probe mknod c 1 1", denied, nil},
		{"ports by mknod", nil, "/probe mknod c 1 4", denied, nil},
		{"block devices in /dev", nil, "find /dev -type b; find /dev -type c -name 'vd*'; echo end", []string{"end"}, nil},
		{"the disk as a --device", []string{"--device", "/dev/vda"}, "/probe read /dev/vda", []string{"EACCES", "EPERM", "ENOENT", "no such file", "not exist"}, nil},
		{"loop devices", nil, "for l in /dev/loop*; do /probe write $l; done", []string{"EACCES", "EPERM", "ENOENT"}, nil},
		{"mounting the disk", nil, "mkdir -p /m; mknod /dev/disk b " + major + " " + minor + " 2>/dev/null; /probe mount /dev/disk /m ext4", []string{"EPERM", "EACCES", "ENOENT", "ENOTBLK"}, nil},
	}
	for _, name := range []string{"/dev/mem", "/dev/port", "/proc/kcore", "/dev/kmsg"} {
		test := escape{"reading " + name, nil, "/probe read " + name, []string{"EACCES", "EPERM", "ENOENT"}, nil}
		if _, err := os.Stat(name); err == nil && name == "/proc/kcore" {
			test.control = onHost("read", name)
		}
		list = append(list, test)
	}
	return list
}

func kernelEscapes() []escape {
	denied := []string{"EACCES", "EPERM", "EROFS"}
	list := []escape{
		{"loading a module", nil, "/probe module", []string{"EPERM", "ENOSYS"}, failsOtherwise("ENOEXEC ENOSYS", "module")},
		{"setting the clock", nil, "/probe clock", []string{"EPERM"}, nil},
		{"adjusting the clock", nil, "/probe adjtime", []string{"EPERM"}, nil},
		{"swapon", nil, "/probe swapon", []string{"EPERM"}, nil},
		{"process accounting", nil, "/probe acct", []string{"EPERM", "ENOSYS"}, nil},
		{"kexec", nil, "/probe kexec", []string{"EPERM", "ENOSYS"}, nil},
		{"bpf", nil, "/probe bpf", []string{"EPERM", "ENOSYS"}, onHost("bpf")},
		{"port access", nil, "/probe iopl", []string{"EPERM", "ENOSYS"}, nil},
		{"raising a hard limit", nil, "/probe rlimit", []string{"EPERM"}, nil},
		{"lowering the OOM score", nil, "/probe oom-score", []string{"EACCES"}, nil},
		{"reboot ends the container alone", nil, "/probe reboot; echo still here", []string{"EPERM", "still here", ""}, nil},
		{"release_agent in a cgroup mount", nil, `
			mkdir -p /m; for c in memory pids cpu rdma devices; do mount -t cgroup -o $c none /m 2>/dev/null || continue
			find /m -name release_agent | while read f; do /probe write $f; done; umount /m; done
			find /sys/fs/cgroup -name release_agent | while read f; do /probe write $f; done; echo end`, append(denied, "end"), nil},
		{"release_agent as a mount option", nil, "mkdir -p /m; mount -t cgroup -o memory,release_agent=/x none /m", []string{"Operation not permitted", "Permission denied", "Invalid argument", "No such", "busy"}, nil},
		{"kernel files that can be written", nil, `/probe writable /proc/sys /sys | grep -v -e ^/proc/sys/net/ -e ^/proc/sys/user/ -e ^/sys/fs/cgroup/ \
			-e ^/proc/sys/kernel/msg -e ^/proc/sys/kernel/sem -e ^/proc/sys/kernel/shm -e ^/proc/sys/kernel/hostname -e ^/proc/sys/kernel/domainname \
			-e ^/proc/sys/kernel/ns_last_pid -e ^/proc/sys/kernel/pid_max -e ^/proc/sys/kernel/auto_msgmni -e ^/proc/sys/kernel/apparmor -e ^/proc/sys/fs/mqueue/ -e ^/sys/class/net -e ^/sys/devices/virtual/net/ -e '^ok$'; echo end`, []string{"end"}, nil},
	}
	for _, name := range []string{
		"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/sysrq", "/proc/sysrq-trigger",
		"/proc/sys/kernel/panic", "/proc/sys/vm/overcommit_memory", "/sys/kernel/uevent_helper", "/sys/power/state", "/proc/sys/kernel/randomize_va_space",
	} {
		test := escape{"writing " + name, nil, "/probe write " + name, append(denied, "ENOENT"), nil}
		if _, err := os.Stat(name); err == nil {
			test.control = onHost("write", name)
		}
		list = append(list, test)
	}
	return list
}

// engineEscapes reach for other engines, for berth, and for what the host runs.
func engineEscapes(t *testing.T, self *engine) []escape {
	t.Helper()
	other := up(t, "neighbour")
	other.docker("run", "-d", "--name", "web", "-p", "8080:8080", imageName, "sh", "-c", "mkdir /w; echo "+canary+">/w/x; exec httpd -f -p 8080 -h /w")
	other.docker("run", "-d", imageName, "sleep", "98765")
	address := engineAddress(t, other.ID)
	abstract, err := net.Listen("unix", "@"+canary)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := abstract.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	key, err := unix.AddKey("user", canary, []byte("x"), unix.KEY_SPEC_USER_KEYRING)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		abstract.Close()
		unix.KeyctlInt(unix.KEYCTL_UNLINK, key, unix.KEY_SPEC_USER_KEYRING, 0, 0)
	})
	host := []string{"--net", "host", "--pid", "host", "--ipc", "host", "--uts", "host", "--cgroupns", "host"}
	return []escape{
		{"the neighbour's port", host, fmt.Sprintf("nc -w 2 %s 8080 </dev/null && echo open || echo closed", address), []string{"closed", "timed out"}, func(t *testing.T) {
			other.t = t
			want(t, "control", must(t, "exec", other.ID, "--", busybox, "wget", "-q", "-O", "-", "http://"+address+":8080/x"), canary)
		}},
		{"the neighbour's processes", host, "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -c '[9]8765'", []string{"0"}, func(t *testing.T) {
			if out, _ := exec.Command("sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -c 98765").Output(); strings.TrimSpace(string(out)) == "0" {
				t.Error("control: not seen from the host either")
			}
		}},
		{"the neighbour's cgroup", host, "find / -name '*" + other.ID + "*' 2>/dev/null; echo end", []string{"end"}, nil},
		{"the neighbour's and berth's sockets", host, "find / -path /proc -prune -o -name '*.sock' -print 2>/dev/null | grep berth; echo end", []string{"end"}, nil},
		{"the neighbour's socket by its path", host, "/probe connect " + other.Socket + "; /probe connect /proc/1/root" + other.Socket, []string{"ENOENT"}, onHost("connect", other.Socket)},
		{"an abstract socket of the host's", host, "/probe connect @" + canary, []string{"ECONNREFUSED"}, onHost("connect", "@"+canary)},
		{"a key of the host's", host, "/probe keyring " + canary, []string{"ENOKEY"}, onHost("keyring", canary)},
		{"ptrace of anything outside", host, "/probe ptrace | grep -c -e '[9]8765' -e '[b]erth run' -e '[b]erth up'", []string{"0"}, nil},
		{"the host's interfaces", host, "ip link show " + sandbox.UplinkName, []string{"can't find device", "does not exist"}, func(t *testing.T) {
			if _, err := net.InterfaceByName(sandbox.UplinkName); err != nil && sandbox.Active() {
				t.Error("control:", err)
			}
		}},
		{"a packet filter and forwarding of its own", host, "echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter; ip route flush table main; echo end", []string{"end"}, nil},
		{"its own memory limit", host, raise("1073741824", "memory.memsw.limit_in_bytes", "memory.limit_in_bytes", "memory.max"), []string{"end"}, limitHolds(self, "536870912", "memory.limit_in_bytes", "memory.max")},
		{"its own process limit", host, raise("max", "pids.max"), []string{"end"}, limitHolds(self, "500", "pids.max")},
		{"its own share of processors", host, raise("-1", "cpu.cfs_quota_us") + "\n" + raise("max", "cpu.max"), []string{"end"}, limitHolds(self, "150000", "cpu.cfs_quota_us", "cpu.max")},
		{"leaving its cgroup", host, `for d in /sys/fs/cgroup /sys/fs/cgroup/*; do for f in $d/../cgroup.procs $d/../../cgroup.procs; do [ -e $f ] && echo 1 >$f 2>/dev/null; done; done
			grep -v -e '` + self.ID + `' /proc/1/cgroup | grep -c '\.\.'; echo end`, []string{"0", "end"}, nil},
	}
}

// raise tries to lift the limits on the highest cgroups that can be seen, and on
// those above them. It may lift limits of its own below the engine's; the check
// is [limitHolds].
func raise(value string, files ...string) string {
	var b strings.Builder
	for _, file := range files {
		fmt.Fprintf(&b, "for f in /sys/fs/cgroup/%[1]s /sys/fs/cgroup/*/%[1]s /sys/fs/cgroup/../%[1]s /sys/fs/cgroup/*/../%[1]s; do [ -e $f ] && echo %[2]s >$f; done 2>/dev/null\n", file, value)
	}
	return b.String() + "echo end"
}

// limitHolds is the check of raise: the engine's limit, seen from the host, is
// what it was; and the host may lift it, so that the test could fail.
func limitHolds(e *engine, want string, names ...string) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		file := engineCgroupFile(t, e.ID, names...)
		if text, _ := os.ReadFile(file); quota(string(text)) != want {
			t.Errorf("%s holds %q, want %s", file, text, want)
		}
		onHost("write", file)(t)
	}
}

// quota is the first word: cpu.max has the period behind the quota.
func quota(text string) string {
	word, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	return word
}

// engineCgroupFile finds a file of the highest cgroup that bears the engine's
// id.
func engineCgroupFile(t *testing.T, id string, names ...string) string {
	t.Helper()
	best := ""
	filepath.WalkDir("/sys/fs/cgroup", func(path string, d os.DirEntry, err error) error {
		if err == nil && slices.Contains(names, filepath.Base(path)) && strings.Contains(filepath.Dir(path), id) && (best == "" || len(path) < len(best)) {
			best = path
		}
		return nil
	})
	if best == "" {
		t.Fatalf("no %v in a cgroup of engine %s", names, id)
	}
	return best
}

// engineAddress asks for the engine's own address on its link.
func engineAddress(t *testing.T, id string) string {
	t.Helper()
	out := must(t, "exec", id, "--", busybox, "ip", "-4", "addr", "show", "eth0")
	for _, field := range strings.Fields(out) {
		if address, _, ok := strings.Cut(field, "/"); ok && strings.HasPrefix(address, "198.") {
			return address
		}
	}
	t.Fatalf("no address in %q", out)
	return ""
}
