package cgroup

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/opencontainers/cgroups"
)

// Freeze stops all processes of the group and of the groups below it where they are, those
// included that are being made meanwhile, and returns when all stand still. On an error they
// go on. It takes the freezer (Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst; on
// cgroup v2 Linux 5.2).
func (g *Group) Freeze() error {
	if err := g.m.Freeze(cgroups.Frozen); err != nil {
		return errors.Join(fmt.Errorf("stop the processes of control group %s: %w", g.path, err), g.Thaw())
	}
	return nil
}

// Thaw lets the processes go on. A group that is not frozen, or does not exist, is no error.
func (g *Group) Thaw() error {
	if err := g.m.Freeze(cgroups.Thawed); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("let the processes of control group %s go on: %w", g.path, err)
	}
	return nil
}

// Frozen reports whether the processes of the group stand still because of Freeze. Those of
// a group that does not exist do not.
func (g *Group) Frozen() (bool, error) {
	s, err := g.m.GetFreezerState()
	if err != nil {
		return false, fmt.Errorf("look whether control group %s is frozen: %w", g.path, err)
	}
	return s == cgroups.Frozen, nil
}
