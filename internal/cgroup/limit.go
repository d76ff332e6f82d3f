package cgroup

import (
	"fmt"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"
)

// LimitPIDs makes the group at path and bounds the processes in it and below.
func LimitPIDs(path string, n int64) error {
	r := &cgroups.Resources{SkipDevices: true, PidsLimit: &n}
	m, err := manager.New(&cgroups.Cgroup{Path: path, Resources: r})
	if err == nil {
		err = m.Apply(-1)
	}
	if err == nil {
		err = m.Set(r)
	}
	if err != nil {
		return fmt.Errorf("limit the processes of control group %s: %w", path, err)
	}
	return nil
}
