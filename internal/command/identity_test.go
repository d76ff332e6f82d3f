package command

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseID(t *testing.T) {
	for in, want := range map[string]int{"0": 0, "1000": 1000, "4294967294": 4294967294} {
		if got, err := parseID(in); err != nil || got != want {
			t.Errorf("parseID(%q) = %d, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "-1", "4294967295", "4294967296", "1 ", "0x10", "root", "1e3"} {
		if got, err := parseID(in); err == nil {
			t.Errorf("parseID(%q) = %d; want an error", in, got)
		}
	}
}

func TestLookup(t *testing.T) {
	id, err := Lookup("root")
	if err != nil || id.UID != 0 || id.GID != 0 || id.Home == "" {
		t.Errorf("Lookup(root) = %+v, %v", id, err)
	}
	id, err = Lookup("123456:234567")
	want := Identity{UID: 123456, GID: 234567, Groups: []int{234567}, Name: "123456", Home: "/"}
	if diff := cmp.Diff(want, id); diff != "" || err != nil {
		t.Errorf("Lookup of ids nobody has: %v (-want +got):\n%s", err, diff)
	}
	for _, in := range []string{"", "no such user", "root:no such group", ":0", "-1", "0:4294967295"} {
		if id, err := Lookup(in); err == nil {
			t.Errorf("Lookup(%q) = %+v; want an error", in, id)
		}
	}
}

func TestInvokingBelievesOnlyNumbers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: sudo's variables count for root only")
	}
	t.Setenv(envSudoUID, "123456")
	t.Setenv(envSudoGID, "234567")
	if id, err := Invoking(); err != nil || id.UID != 123456 || id.GID != 234567 {
		t.Errorf("under sudo: %+v, %v", id, err)
	}
	for _, bad := range []string{"-1", "4294967295", "1;id", "root"} {
		t.Setenv(envSudoUID, bad)
		if id, err := Invoking(); err == nil {
			t.Errorf("%s=%s: %+v; want an error", envSudoUID, bad, id)
		}
	}
}

func TestEnviron(t *testing.T) {
	base := []string{"PATH=/bin", "HOME=/root", "DOCKER_CONTEXT=x", "DOCKER_TLS=1", "DOCKER_HOST=tcp://y", "KEEP=1", "PWD=/link"}
	got := Environment{DockerHost: "unix:///s", Engine: "id", Dir: "/real", BinDir: "/opt", Inside: true}.
		Environ(base, Identity{Name: "ann", Home: "/home/ann"})
	want := []string{
		"KEEP=1", "BERTH_ENGINE=id", "DOCKER_HOST=unix:///s", "HOME=/home/ann", "LOGNAME=ann", "PATH=/opt:/bin", "PWD=/real",
		"TESTCONTAINERS_DOCKER_SOCKET_OVERRIDE=/var/run/docker.sock", "TESTCONTAINERS_HOST_OVERRIDE=localhost", "USER=ann",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := (Environment{}).Environ([]string{"A=1", "A=2"}, Identity{Same: true}); !cmp.Equal(got, []string{"A=1", "A=2"}) {
		t.Errorf("an empty environment changed %q", got)
	}
}
