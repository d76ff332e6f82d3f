package bundle

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestSpec(t *testing.T) {
	base := Config{
		Hostname: "ci", Rootfs: "/run/berth/engines/0123456789ab/rootfs", Usr: "/payload/rootfs/usr",
		Data: "/var/lib/berth/engines/0123456789ab/data", Cgroup: "/berth/0123456789ab",
		Caps: []string{"CAP_CHOWN", "CAP_SYS_ADMIN"},
	}
	userns := base
	userns.IDs = &IDRange{First: 589824, Size: 65536}
	userns.Volatile = true
	userns.Memory, userns.Swap, userns.CPUs, userns.PIDs = 512<<20, true, 1.5, 1000
	userns.Devices = []string{"/dev/fuse"}
	userns.Shares = []Share{
		{Source: "/home/me/p", Path: "/home/me/p", UIDs: []specs.LinuxIDMapping{{ContainerID: 1000, HostID: 589824, Size: 1}}},
		{Source: "/srv/ro", Path: "/srv/ro", ReadOnly: true},
	}
	for name, c := range map[string]Config{"rootful": base, "userns": userns} {
		t.Run(name, func(t *testing.T) {
			got, err := json.MarshalIndent(Spec(c), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(golden, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)+"\n"); diff != "" {
				t.Errorf("the configuration differs from %s (-want +got):\n%s", golden, diff)
			}
		})
	}
}

// What no engine may be without, whatever the golden files say.
func TestSpecHolds(t *testing.T) {
	for _, ids := range []*IDRange{nil, {First: 589824, Size: 65536}} {
		s := Spec(Config{IDs: ids, Rootfs: "/r", Usr: "/u", Data: "/d", Cgroup: "/berth/x"})
		if !s.Root.Readonly {
			t.Error("the root is writable")
		}
		have := map[specs.LinuxNamespaceType]bool{}
		for _, n := range s.Linux.Namespaces {
			if n.Path != "" {
				t.Errorf("namespace %s is joined, not new", n.Type)
			}
			have[n.Type] = true
		}
		for _, n := range []specs.LinuxNamespaceType{specs.PIDNamespace, specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.MountNamespace, specs.CgroupNamespace} {
			if !have[n] {
				t.Errorf("no %s namespace of its own", n)
			}
		}
		if have[specs.UserNamespace] != (ids != nil) {
			t.Errorf("user namespace: %v with ids %v", have[specs.UserNamespace], ids)
		}
		for _, m := range s.Mounts {
			if m.Type == "bind" && m.Destination != "/usr" && m.Destination != DataPath {
				t.Errorf("%s of the host is mounted, and nobody asked for it", m.Source)
			}
		}
		if s.Linux.Seccomp != nil {
			t.Error("syncs are ignored in an engine that is not volatile")
		}
	}
}
