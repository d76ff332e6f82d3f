package cli

import (
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/berth-dev/berth/internal/attend"
)

// TestProgramsCanSayWhatFlagsSay: whoever adds a flag to `berth up` thinks of package berth.
func TestProgramsCanSayWhatFlagsSay(t *testing.T) {
	dir := t.TempDir()
	settings := map[string]attend.Settings{
		"memory": {Memory: 1 << 30}, "cpus": {CPUs: 1.5}, "pids": {PIDs: 99}, "disk": {Disk: 1 << 30},
		"net": {Network: "none"}, "mtu": {MTU: 1400}, "add-host": {Hosts: []string{"a.test:10.0.0.1"}},
		"share": {Shares: []string{dir + ":ro"}}, "share-as": {ShareAs: "keep-id"}, "user": {User: "4321:4321"},
		"isolation": {Isolation: "rootful"}, "runtime": {Runtime: "sh"}, "cgroup-parent": {CgroupParent: "own"},
		"insecure-registry": {Insecure: []string{"r.test:5000"}}, "certs-dir": {CertsDir: dir}, "mirror": {Mirror: "http://10.0.0.1:5000"},
		"daemon-config": {DaemonConfig: []byte(`{"debug":true}`)},
	}
	// These are not for specOf to turn into a spec, or need certificates and snapshots:
	// test/sdk has them.
	elsewhere := []string{"no-share-cwd", "registry-ca", "ca", "share-ca"}
	f, cmd := &engineFlags{}, &cobra.Command{Use: "up"}
	f.register(cmd, "")
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		if _, ok := settings[flag.Name]; !ok && !slices.Contains(elsewhere, flag.Name) {
			t.Errorf("--%s: programs cannot say it; give attend.Settings a field and package berth an option", flag.Name)
		}
	})
	usual, err := specOf(&attend.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		set := settings[name]
		got, err := specOf(&set)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if cmp.Equal(usual, got, cmp.Exporter(func(reflect.Type) bool { return true })) {
			t.Errorf("%s: the setting changes nothing", name)
		}
	}
}
