package cli

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/attend"
	"github.com/berth-dev/berth/internal/engine"
	"github.com/berth-dev/berth/internal/trust"
)

// specOf has the settings checked as flags are, so that both take the same and say the
// same, and the configuration file counts for both.
func specOf(set *attend.Settings) (engine.Spec, error) {
	f, cmd := &engineFlags{}, &cobra.Command{Use: attend.Verb}
	f.register(cmd, "")
	if err := setFlags(cmd, set); err != nil {
		return engine.Spec{}, err
	}
	f.noShareCWD, f.name, f.from, f.noVolumes = true, set.Name, set.From, set.NoVolumes
	if err := f.takeDefaults(cmd); err != nil {
		return engine.Spec{}, err
	}
	rules, err := engine.New(engine.Options{})
	if err != nil {
		return engine.Spec{}, err
	}
	r, err := f.parse(rules.ShareProblem)
	if err != nil {
		return engine.Spec{}, err
	}
	if len(set.DaemonConfig) > 0 {
		r.spec.DaemonConfig = set.DaemonConfig
	}
	if err := addTrust(&r.spec, set); err != nil {
		return engine.Spec{}, err
	}
	return r.spec, r.spec.Validate()
}

// setFlags sets the flags that have the settings' names.
func setFlags(cmd *cobra.Command, set *attend.Settings) error {
	values := map[string][]string{
		"net": {set.Network}, "share-as": {set.ShareAs}, "user": {set.User}, "isolation": {set.Isolation}, "runtime": {set.Runtime}, "cgroup-parent": {set.CgroupParent},
		"mirror": {set.Mirror}, "certs-dir": {set.CertsDir}, "add-host": set.Hosts, "share": set.Shares, "insecure-registry": set.Insecure,
	}
	if set.Memory != 0 {
		values["memory"] = []string{strconv.FormatInt(set.Memory, 10)}
	}
	if set.CPUs != 0 {
		values["cpus"] = []string{strconv.FormatFloat(set.CPUs, 'g', -1, 64)}
	}
	if set.PIDs != 0 {
		values["pids"] = []string{strconv.FormatInt(set.PIDs, 10)}
	}
	if set.Disk != 0 {
		values["disk"] = []string{strconv.FormatInt(set.Disk, 10)}
	}
	if set.MTU != 0 {
		values["mtu"] = []string{strconv.Itoa(set.MTU)}
	}
	for flag, on := range map[string]bool{"share-ca": set.ShareCA, "mirror-only": set.MirrorOnly} {
		if on {
			values[flag] = []string{"true"}
		}
	}
	for flag, list := range values {
		for _, v := range list {
			if v == "" {
				continue
			}
			if err := cmd.Flags().Set(flag, v); err != nil {
				return fmt.Errorf("--%s %s: %w", flag, v, err)
			}
		}
	}
	return nil
}

// addTrust adds the authorities, which programs give as text and flags as files.
func addTrust(spec *engine.Spec, set *attend.Settings) error {
	for _, text := range set.CAs {
		pem, err := trust.Certificates([]byte(text))
		if err != nil {
			return fmt.Errorf("authority: %w", err)
		}
		spec.Trust.CAs += pem
	}
	for _, ca := range set.RegistryCAs {
		pem, err := trust.Certificates([]byte(ca.PEM))
		if err != nil {
			return fmt.Errorf("registry authority for %s: %w", ca.Host, err)
		}
		spec.RegistryCAs = append(slices.DeleteFunc(spec.RegistryCAs, func(have engine.RegistryCA) bool {
			return have.Host == ca.Host
		}), engine.RegistryCA{Host: ca.Host, PEM: pem})
	}
	return nil
}
