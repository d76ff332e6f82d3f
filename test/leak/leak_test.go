package leak

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/test/sandbox"
)

func TestMain(m *testing.M) { os.Exit(sandbox.Run(m.Run)) }

// Each case leaves one thing, which the comparison has to name, and takes it
// away again, after which nothing may be left.
func TestEveryKindOfLeakIsSeen(t *testing.T) {
	dir := t.TempDir()
	scope := Scope{All: true, Files: []string{dir}}
	cgroup := "/sys/fs/cgroup/pids/leak"
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.procs"); err == nil { // v2
		cgroup = "/sys/fs/cgroup/leak"
	}
	var sleeper *exec.Cmd
	var loop string
	table := &nftables.Table{Name: "berth", Family: nftables.TableFamilyIPv4}
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "bthtest"}, PeerName: "bthpeer"}
	for _, test := range []struct {
		kind       string
		make, undo func() error
	}{
		{"process", func() error { sleeper = exec.Command("sleep", "60"); return sleeper.Start() },
			func() error { sleeper.Process.Kill(); sleeper.Wait(); return nil }},
		{"namespace", func() error { sleeper = exec.Command("unshare", "-u", "sleep", "60"); return started(sleeper) },
			func() error { sleeper.Process.Kill(); sleeper.Wait(); return nil }},
		{"mount", func() error { return unix.Mount("leak", "/mnt", "tmpfs", 0, "") }, func() error { return unix.Unmount("/mnt", 0) }},
		{"cgroup", func() error { return os.Mkdir(cgroup, 0o755) }, func() error { return os.Remove(cgroup) }},
		{"network", func() error { return netlink.LinkAdd(link) }, func() error { return netlink.LinkDel(link) }},
		{"nft", func() error { return nft(func(c *nftables.Conn) { c.AddTable(table) }) },
			func() error { return nft(func(c *nftables.Conn) { c.DelTable(table) }) }},
		{"setting", func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0) },
			func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("0"), 0) }},
		{"loop device", func() error { return losetup(dir, &loop) }, func() error {
			return errors.Join(exec.Command("losetup", "-d", loop).Run(), os.Remove(filepath.Join(dir, "image")))
		}},
		{"file", func() error { return os.WriteFile(filepath.Join(dir, "x"), nil, 0o600) }, func() error { return os.Remove(filepath.Join(dir, "x")) }},
	} {
		t.Run(test.kind, func(t *testing.T) {
			before, err := Take(scope)
			if err != nil {
				t.Fatal(err)
			}
			if err := test.make(); err != nil {
				t.Fatal(err)
			}
			after, err := Take(scope)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(Compare(before, after), "\n"); !strings.Contains(got, " "+test.kind+": ") {
				t.Errorf("not seen; differences: %q", got)
			}
			if err := test.undo(); err != nil {
				t.Fatal(err)
			}
			left, err := Settle(t.Context(), before, scope)
			if err != nil || len(left) > 0 {
				t.Errorf("after the clean-up: %v %v", left, err)
			}
		})
	}
}

// started waits until the command has replaced itself, so that its namespace
// exists.
func started(cmd *exec.Cmd) error {
	cmd.Args = []string{"unshare", "-u", "sh", "-c", "echo; exec sleep 60"}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	_, err = out.Read(make([]byte, 1))
	return err
}

// losetup makes a loop device of a file in dir.
func losetup(dir string, device *string) error {
	path := filepath.Join(dir, "image")
	if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
		return err
	}
	out, err := exec.Command("losetup", "--find", "--show", path).Output()
	*device = strings.TrimSpace(string(out))
	return err
}

func nft(change func(*nftables.Conn)) error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	change(conn)
	return conn.Flush()
}
