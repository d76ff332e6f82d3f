package engine

import (
	"context"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/diskusage"
	"github.com/berth-dev/berth/internal/snapshot"
	"github.com/berth-dev/berth/internal/snapshot/layers"
)

// DiskUse is what one thing of berth's takes on disk, in bytes.
type DiskUse struct {
	Kind   string `json:"kind"` // engine, snapshot, mirror, payload, trash, downloads
	Name   string `json:"name,omitempty"`
	Status Status `json:"status,omitempty"` // of an engine
	Own    int64  `json:"own"`              // what would be free without it
	Shared int64  `json:"shared"`           // what others need as well
	Limit  int64  `json:"limit,omitempty"`  // --disk of an engine
	// LimitBy is what holds Limit: [disklimit.Quota] or [disklimit.Loop].
	LimitBy string `json:"limit_by,omitempty"`
}

// DiskReport is what berth takes on disk, in bytes.
type DiskReport struct {
	Uses  []DiskUse `json:"uses"`
	Total int64     `json:"total"` // what is shared counts once
	Free  int64     `json:"free"`  // of the file system
	Size  int64     `json:"size"`
	Dir   string    `json:"dir"`
}

// Disk looks at all that berth has on disk. Layers of snapshots, which never change, are
// known by their manifests.
func (m *Manager) Disk(ctx context.Context) (DiskReport, error) {
	r := DiskReport{Dir: m.paths.State}
	engines, err := m.List(ctx)
	if err != nil {
		return r, err
	}
	store := m.Snapshots()
	snapshots, err := store.List(ctx)
	if err != nil {
		return r, err
	}
	var holders []diskusage.Holder
	add := func(u DiskUse, h diskusage.Holder) {
		r.Uses, holders = append(r.Uses, u), append(holders, h)
	}
	for _, e := range engines {
		add(DiskUse{Kind: "engine", Name: e.Name, Status: e.Status, Limit: e.Spec.Limits.Disk, LimitBy: e.DiskLimit, Shared: layersOf(snapshots, e.Bases)},
			diskusage.Holder{Paths: []string{m.paths.StateEngine(e.ID)}})
	}
	for _, s := range snapshots {
		add(DiskUse{Kind: "snapshot", Name: s.Ref().String(), Shared: layersOf(snapshots, s.Bases)},
			diskusage.Holder{Paths: []string{filepath.Join(store.Dir(&s), "data")}, Known: s.Size.Layers})
	}
	for _, u := range []struct{ kind, path string }{
		{"downloads", store.Downloads()}, {"mirror", m.paths.Mirror()}, {"payload", m.paths.Payload()}, {"trash", m.paths.Trash()},
	} {
		add(DiskUse{Kind: u.kind}, diskusage.Holder{Paths: []string{u.path}})
	}
	uses, total, err := diskusage.Measure(ctx, holders)
	if err != nil {
		return r, err
	}
	for i, u := range uses {
		r.Uses[i].Own += u.Own
		r.Uses[i].Shared += u.Shared
	}
	var st unix.Statfs_t
	if err := unix.Statfs(m.paths.State, &st); err != nil {
		return r, err
	}
	r.Total, r.Free, r.Size = total, int64(st.Bavail)*st.Bsize, int64(st.Blocks)*st.Bsize
	return r, nil
}

// layersOf adds up the layers of bases.
func layersOf(all []snapshot.Manifest, bases []layers.Base) (total int64) {
	for _, b := range bases {
		for _, s := range all {
			if s.ID == b.ID {
				total += s.Size.Layers
			}
		}
	}
	return total
}
