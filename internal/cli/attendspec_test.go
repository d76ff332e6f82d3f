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
	"github.com/berth-dev/berth/internal/trust"
)

// TestProgramsCanSayWhatFlagsSay: whoever adds a flag to `berth run` or `berth up` thinks of
// package berth.
func TestProgramsCanSayWhatFlagsSay(t *testing.T) {
	authority, err := trust.NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	dir, pem := t.TempDir(), authority.PEM()
	settings := map[string]attend.Settings{
		"memory": {Memory: 1 << 30}, "cpus": {CPUs: 1.5}, "pids": {PIDs: 99}, "disk": {Disk: 1 << 30}, "name": {Name: "web"},
		"net": {Network: "none"}, "mtu": {MTU: 1400}, "add-host": {Hosts: []string{"a.test:10.0.0.1"}},
		"share": {Shares: []string{dir + ":ro"}}, "share-as": {ShareAs: "keep-id"}, "user": {User: "4321:4321"},
		"isolation": {Isolation: "rootful"}, "runtime": {Runtime: "sh"}, "cgroup-parent": {CgroupParent: "own"},
		"daemon-config": {DaemonConfig: []byte(`{"debug":true}`)},
		"ca":            {CAs: []string{pem}}, "share-ca": {CAs: []string{pem}, ShareCA: true},
		"registry-ca":       {RegistryCAs: []attend.RegistryCA{{Host: "r.test:5000", PEM: pem}}},
		"insecure-registry": {Insecure: []string{"r.test:5000"}}, "certs-dir": {CertsDir: dir}, "mirror": {Mirror: "http://10.0.0.1:5000"}, "mirror-only": {MirrorOnly: true},
		"from": {From: "warm"}, "no-volumes": {From: "warm", NoVolumes: true},
	}
	// Programs share the current directory only if they say so, and have their own output
	// and their own way to the docker CLI. The pid in a file is for systemd.
	notSettings := []string{"no-share-cwd", "no-docker-cli", "json", "pidfile"}
	a := &app{}
	for _, verb := range []*cobra.Command{a.runVerb(), a.upVerb()} {
		verb.Flags().VisitAll(func(flag *pflag.Flag) {
			if _, ok := settings[flag.Name]; !ok && !slices.Contains(notSettings, flag.Name) {
				t.Errorf("%s --%s: programs cannot say it; give attend.Settings a field and package berth an option", verb.Name(), flag.Name)
			}
		})
	}
	// What a flag needs beside it does not count as its own effect.
	usual := map[string]attend.Settings{"share-ca": {CAs: []string{pem}}, "no-volumes": {From: "warm"}}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		with, without := settings[name], usual[name]
		got, err := specOf(&with)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		before, err := specOf(&without)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if cmp.Equal(before, got, cmp.Exporter(func(reflect.Type) bool { return true })) {
			t.Errorf("%s: the setting changes nothing", name)
		}
	}
}
