package boot

import (
	"strings"
	"testing"
)

func TestLackNamesTheOptions(t *testing.T) {
	for _, c := range []struct {
		lack   lack
		here   string
		nested string // part of the reason
	}{
		{lack{}, "", ""},
		{lack{sysRO: true}, "", "/sys is read-only"},
		{lack{procMasks: true}, "--security-opt systempaths=unconfined", "/proc"},
		{lack{cgroupRO: true}, "--security-opt writable-cgroups=true --cgroupns private", "control groups"},
		{lack{apparmor: true}, "--security-opt apparmor=unconfined", ""},
		{lack{seccomp: true}, "--security-opt seccomp=unconfined", ""},
	} {
		if got := strings.Join(c.lack.forHere(), " "); got != c.here {
			t.Errorf("%+v: %q, want %q", c.lack, got, c.here)
		}
		if got := c.lack.forNested(); (got == "") != (c.nested == "") || !strings.Contains(got, c.nested) {
			t.Errorf("%+v: %q, want %q", c.lack, got, c.nested)
		}
	}
}

func TestReservedPaths(t *testing.T) {
	for path, want := range map[string]bool{"/proc/x": true, "/var/lib/docker": true, "/var/lib/docker/x": true, "/etc/hosts": true, "/tmp": false, "/no-such-place": true} {
		if got := reservedPath(path, []string{"/var/lib/docker"}); got != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
}
