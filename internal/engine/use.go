package engine

import (
	"context"
	"os"

	"github.com/berth-dev/berth/internal/cgroup"
)

// NetNS opens the network namespace of a running engine. The caller closes it.
func (m *Manager) NetNS(ctx context.Context, ref string) (*os.File, error) {
	info, err := m.running(ctx, ref)
	if err != nil {
		return nil, err
	}
	return info.netns()
}

// Stats reads the figures of a running engine: dockerd and all containers together.
func (m *Manager) Stats(ctx context.Context, ref string) (cgroup.Stats, error) {
	info, err := m.running(ctx, ref)
	if err != nil {
		return cgroup.Stats{}, err
	}
	g, err := cgroup.Open(m.cgroup(&info))
	if err != nil {
		return cgroup.Stats{}, err
	}
	return g.Stats()
}
