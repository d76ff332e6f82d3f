package doctor

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/docker/go-units"
)

// healthy is a machine with nothing wrong.
func healthy() Facts {
	return Facts{
		Capabilities: math.MaxUint64, Kernel: "6.1.0-18-amd64", MaxUserNS: 15000, Overlay: true, CgroupVersion: "v2",
		StateDir: "/var/lib/berth", DiskFree: 100 * units.GiB, Payload: "unpacked", Unpacked: true,
		User: "ann", SubIDs: 65536, OpenFiles: 1 << 20, Fuse: true, Tun: true, Resolvers: []string{"192.0.2.1"},
	}
}

func TestHealthy(t *testing.T) {
	for _, r := range Examine(healthy()) {
		if r.Status != OK || r.Remedy != "" {
			t.Errorf("%s: %s %s; %s", r.Name, r.Status, r.Detail, r.Remedy)
		}
	}
	if err := Preflight(healthy()); err != nil {
		t.Error(err)
	}
}

func TestAilments(t *testing.T) {
	for _, test := range []struct {
		check  string
		ail    func(*Facts)
		status Status
		detail string // part of it
	}{
		{"root", func(f *Facts) { f.UID = 1000 }, Fail, "not root"},
		{"root", func(f *Facts) { f.Capabilities &^= 1 << 21 }, Fail, "CAP_SYS_ADMIN"},
		{"kernel", func(f *Facts) { f.Kernel = "5.11.22" }, Fail, "too old"},
		{"kernel", func(f *Facts) { f.Kernel = "4.19.0" }, Fail, "too old"},
		{"kernel", func(f *Facts) { f.Kernel = "5.12.0" }, OK, "5.12"},
		{"kernel", func(f *Facts) { f.Kernel = "strange" }, Warn, "not understood"},
		{"user namespaces", func(f *Facts) { f.NoUserNS = true }, Fail, "none"},
		{"user namespaces", func(f *Facts) { f.MaxUserNS = 0 }, Fail, "switched off"},
		{"user namespaces", func(f *Facts) { f.MaxUserNS = 5 }, Warn, "at most 5"},
		{"user namespaces", func(f *Facts) { f.MaxUserNS = Unknown }, OK, ""},
		{"overlayfs", func(f *Facts) { f.Overlay = false }, Fail, "none"},
		{"overlayfs", func(f *Facts) { f.Overlay, f.OverlayModule = false, true }, OK, "module"},
		{"cgroups", func(f *Facts) { f.CgroupMissing = []string{"memory", "pids"} }, Fail, "memory, pids"},
		{"idmapped mounts", func(f *Facts) { f.IDMap = errors.New("invalid argument") }, Warn, "/var/lib/berth"},
		{"payload", func(f *Facts) { f.PayloadErr = errors.New("not built") }, Fail, "not built"},
		{"disk", func(f *Facts) { f.DiskFree = 10 * units.MiB }, Fail, "10MiB"},
		{"disk", func(f *Facts) { f.DiskFree = 300 * units.MiB }, Warn, "300MiB"},
		{"disk", func(f *Facts) { f.DiskFree, f.Unpacked = 300*units.MiB, false }, Fail, "300MiB"},
		{"subordinate ids", func(f *Facts) { f.SubIDs = 0 }, OK, "reserved range"},
		{"open files", func(f *Facts) { f.OpenFiles = 1024 }, Warn, "1024"},
		{"CAP_SYS_RESOURCE", func(f *Facts) { f.Capabilities &^= 1 << 24 }, Warn, "not there"},
		{"/dev/fuse", func(f *Facts) { f.Fuse = false }, Warn, "FUSE"},
		{"/dev/net/tun", func(f *Facts) { f.Tun = false }, Warn, "tunnels"},
		{"dns", func(f *Facts) { f.Resolvers = nil }, Warn, "names no server"},
		{"dns", func(f *Facts) { f.Resolvers = []string{"127.0.0.53"} }, OK, "forwards"},
	} {
		f := healthy()
		test.ail(&f)
		for _, r := range Examine(f) {
			if r.Name != test.check {
				if r.Status != OK {
					t.Errorf("%s (%s): %s changed too", test.check, test.detail, r.Name)
				}
				continue
			}
			if r.Status != test.status || !strings.Contains(r.Detail, test.detail) {
				t.Errorf("%s: %s %q; want %s with %q", r.Name, r.Status, r.Detail, test.status, test.detail)
			}
			if r.Status != OK && r.Remedy == "" {
				t.Errorf("%s: %q without a remedy", r.Name, r.Detail)
			}
		}
	}
}

func TestPreflightNamesTheFirstReason(t *testing.T) {
	f := healthy()
	f.Kernel, f.Overlay = "4.4.0", false
	err := Preflight(f)
	if err == nil || !strings.Contains(err.Error(), "kernel: Linux 4.4.0 is too old; upgrade") || strings.Contains(err.Error(), "\n") {
		t.Errorf("Preflight: %v", err)
	}
}

func TestNetworkFindingsCount(t *testing.T) {
	f := healthy()
	f.Network = []Result{{Name: "nftables", Status: Fail, Detail: "no", Remedy: "yes"}}
	if Usable(Examine(f)) {
		t.Error("usable although a network check failed")
	}
}

// TestCheap only sees that this machine can be looked at, whoever looks.
func TestCheap(t *testing.T) {
	if f := Cheap(); f.Kernel == "" || f.CgroupVersion == "" {
		t.Errorf("Cheap() = %+v", f)
	}
}
