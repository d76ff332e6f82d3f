package integration

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/berth-dev/berth/test/sandbox"
)

// Bad input is one clear line on stderr with the right status, and leaves
// nothing.
func TestBadInput(t *testing.T) {
	guard(t)
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken.json")
	if err := os.WriteFile(broken, []byte("{not json"), 0o644); err != nil {
		t.Fatal(err)
	}
	unknown := filepath.Join(dir, "unknown.json")
	if err := os.WriteFile(unknown, []byte(`{"no-such-setting": true}`), 0o644); err != nil {
		t.Fatal(err)
	}
	run := func(flags ...string) []string { return append(append([]string{"run"}, flags...), "--", "true") }
	for _, test := range []struct {
		title string
		args  []string
		code  int
		says  []string
	}{
		{"unknown verb", []string{"sail"}, 2, []string{"sail"}},
		{"unknown flag", run("--no-such-flag"), 2, []string{"no-such-flag"}},
		{"no command", []string{"run"}, 2, []string{"command"}},
		{"no command behind --", []string{"run", "--"}, 2, []string{"command"}},
		{"flag without its value", []string{"run", "--memory"}, 2, []string{"memory"}},
		{"memory that is no size", run("--memory", "lots"), 2, []string{"memory", "lots"}},
		{"memory below what works", run("--memory", "1k"), 2, []string{"memory"}},
		{"negative memory", run("--memory", "-5m"), 2, []string{"memory"}},
		{"cpus that is no number", run("--cpus", "many"), 2, []string{"cpus"}},
		{"no cpus at all", run("--cpus", "0"), 2, []string{"cpus"}},
		{"infinite cpus", run("--cpus", "inf"), 2, []string{"cpus"}},
		{"negative pids", run("--pids", "-1"), 2, []string{"pids"}},
		{"bad name", run("--name", "../x"), 2, []string{"../x"}},
		{"long name", run("--name", string(make([]byte, 0))+"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), 2, []string{"name"}},
		{"bad network", run("--net", "magic"), 2, []string{"magic"}},
		{"bad mtu", run("--mtu", "12"), 2, []string{"mtu"}},
		{"bad isolation", run("--isolation", "total"), 2, []string{"total"}},
		{"bad share-as", run("--share-as", "ghost"), 2, []string{"ghost"}},
		{"no such user", run("--user", "no-such-user"), 2, []string{"no-such-user"}},
		{"add-host without an address", run("--add-host", "x"), 2, []string{"add-host"}},
		{"add-host with a bad address", run("--add-host", "x:1.2.3"), 2, []string{"1.2.3"}},
		{"registry-ca without a file", run("--registry-ca", "x"), 2, []string{"registry-ca"}},
		{"registry-ca file not there", run("--registry-ca", "x=/no/such/file"), 2, []string{"/no/such/file"}},
		{"registry-ca file no certificate", run("--registry-ca", "x="+broken), 2, []string{"certificate"}},
		{"registry-ca host with a slash", run("--registry-ca", "../../x="+broken), 2, []string{"registry-ca"}},
		{"daemon-config not there", run("--daemon-config", "/no/such/file"), 2, []string{"/no/such/file"}},
		{"daemon-config no JSON", run("--daemon-config", broken), 2, []string{"daemon-config"}},
		{"daemon-config dockerd refuses", run("--daemon-config", unknown), 125, []string{"no-such-setting"}},
		{"runtime not there", run("--runtime", "/no/such/runtime"), 2, []string{"/no/such/runtime"}},
		{"exec without an engine", []string{"exec", "nobody", "--", "true"}, 125, []string{"nobody"}},
		{"inspect of nothing", []string{"inspect", "nobody"}, 125, []string{"nobody"}},
		{"logs of nothing", []string{"logs", "nobody"}, 125, []string{"nobody"}},
		{"stop of nothing", []string{"stop", "nobody"}, 125, []string{"nobody"}},
		{"rm of nothing", []string{"rm", "nobody"}, 125, []string{"nobody"}},
		{"too many arguments", []string{"up", "one", "two"}, 2, []string{"two"}},
		{"up in the host's network", []string{"up", "--net", "host"}, 2, []string{"host"}},
	} {
		t.Run(test.title, func(t *testing.T) {
			r := berth(t, test.args...)
			if r.code != test.code {
				t.Errorf("want status %d, got %s", test.code, r)
			}
			if r.stdout != "" {
				t.Errorf("an error printed %q on stdout", r.stdout)
			}
			oneLine(t, r, test.says...)
		})
	}
}

// A name can be used once.
func TestNameTaken(t *testing.T) {
	guard(t)
	bare(t, "taken")
	for _, args := range [][]string{{"up", "taken"}, {"run", "--name", "taken", "--", "true"}} {
		r := berth(t, args...)
		if r.code != 125 {
			t.Errorf("want status 125, got %s", r)
		}
		oneLine(t, r, "taken")
	}
}

// Without root berth says what would work.
func TestNotRoot(t *testing.T) {
	guard(t)
	program := filepath.Join("/tmp", "berth-for-all")
	data, err := os.ReadFile(berthProgram)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, data, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(program) })
	for _, args := range [][]string{{"run", "--", "true"}, {"up"}, {"ls"}, {"gc"}} {
		cmd := command(t, nil, args...)
		cmd.Path = program
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: sandbox.UserID, Gid: sandbox.UserID}}
		r := finish(t, cmd)
		if r.code != 125 {
			t.Errorf("berth %v: %s", args, r)
		}
		oneLine(t, r, "sudo")
	}
	for _, args := range [][]string{{"version"}, {"--help"}, {"run", "--help"}} {
		cmd := command(t, nil, args...)
		cmd.Path = program
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: sandbox.UserID, Gid: sandbox.UserID}}
		if r := finish(t, cmd); r.code != 0 {
			t.Errorf("berth %v needs no root: %s", args, r)
		}
	}
}

// A user without subordinate ids gets reserved ones.
func TestNoSubordinateIds(t *testing.T) {
	guard(t)
	needsSandbox(t)
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		before, err := os.ReadFile(file)
		if err != nil {
			t.Skipf("this machine has no %s", file)
		}
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.WriteFile(file, before, 0o644) })
	}
	dir := workspace(t)
	r := inWorkspace(t, dir, "box $image sh -c 'touch a; chown 1000:1000 a; stat -c %u a'")
	if r.code != 0 {
		t.Fatal(r)
	}
	want(t, "inside", r.stdout, "1000")
	if got := owner(t, filepath.Join(dir, "a")); got != "1234:1234 644" {
		t.Errorf("afterwards it is %s", got)
	}
}

// A limit whose controller the machine lacks is refused.
func TestControllerMissing(t *testing.T) {
	guard(t)
	needsSandbox(t)
	if _, err := os.Stat("/sys/fs/cgroup/pids/cgroup.procs"); err != nil {
		t.Skip("not cgroup v1: a controller cannot be unmounted alone")
	}
	cmd := command(t, nil)
	cmd.Path, cmd.Args = "/usr/bin/unshare", []string{"unshare", "-m", "sh", "-c", "umount /sys/fs/cgroup/pids && exec " + berthProgram + " run --pids 100 -- true"}
	r := finish(t, cmd)
	if r.code != 125 && r.code != 2 {
		t.Errorf("want a refusal, got %s", r)
	}
	oneLine(t, r, "pids")
}
