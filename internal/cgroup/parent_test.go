package cgroup

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCheckParent(t *testing.T) {
	for asked, right := range map[string]bool{
		"": true, "own": true, "/ci.slice": true, "/a/b": true,
		"/": false, "ci": false, "/a/": false, "/a/../b": false, "//a": false, "Own": false,
	} {
		if err := CheckParent(asked); (err == nil) != right {
			t.Errorf("%q: %v", asked, err)
		}
	}
}

func TestParentMustBeVacant(t *testing.T) {
	v := v2{fake(t, map[string]string{"empty/cgroup.procs": "", "full/cgroup.procs": "41\n42\n"})}
	if got, err := v.parent("/empty"); got != "/empty" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for asked, says := range map[string]string{"/full": "2 processes", "/missing": "make it first"} {
		if _, err := v.parent(asked); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v; want it to say %q", asked, err, says)
		}
	}
}

// What systemd marks is the unit's group; berth may run in one that the unit has made.
func TestDelegated(t *testing.T) {
	t.Setenv("TMPDIR", "/var/tmp") // a tmpfs holds no such attributes before Linux 6.6
	v := v2{fake(t, map[string]string{"system.slice/ci.service/job/cgroup.procs": "", "system.slice/web.service/cgroup.procs": ""})}
	if err := unix.Setxattr(v.root+"/system.slice/ci.service", "user.delegate", []byte("1"), 0); err != nil {
		t.Skipf("%s cannot hold extended attributes: %v", v.root, err)
	}
	for group, want := range map[string]bool{
		"/system.slice/ci.service": true, "/system.slice/ci.service/job": true,
		"/system.slice/web.service": false, "/system.slice": false, "/": false, "/missing": false,
	} {
		if v.delegated(group) != want {
			t.Errorf("%s: want %v", group, want)
		}
	}
}
