package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/docker/go-units"
	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/disklimit"
	"github.com/berth-dev/berth/internal/linux"
)

// limitDisk makes the data root, which is empty, one that holds no more than was asked for.
// uid is its owner.
func (l *launch) limitDisk(ctx context.Context, uid int) error {
	size := l.info.Spec.Limits.Disk
	if size == 0 {
		return nil
	}
	if l.info.Revived {
		return l.m.mountDisk(&l.info)
	}
	if err := l.boundDisk(size); err == nil {
		l.info.DiskLimit = disklimit.Quota
		return nil
	} else if !errors.Is(err, disklimit.ErrUnable) {
		return fmt.Errorf("limit the engine's disk: %w", err)
	} else {
		l.m.log.Debug("no project quota", "engine", l.info.ID, "because", err)
	}
	l.info.DiskLimit = disklimit.Loop
	err := disklimit.Make(ctx, l.m.paths.Disk(l.info.ID), l.info.Data, disklimit.Options{Size: size, Owner: uid, Volatile: !l.info.Spec.Keep})
	if err != nil {
		return fmt.Errorf("limit the engine's disk: %w", err)
	}
	return nil
}

// boundDisk bounds the data root by a quota, where that would hold.
func (l *launch) boundDisk(size int64) error {
	if l.info.IDs == nil {
		return fmt.Errorf("%w: root of the host's user namespace goes beyond any quota", disklimit.ErrUnable)
	}
	return disklimit.Bound(l.info.Data, size)
}

// mountDisk makes the data of a limited engine that is kept be there again, and limited.
func (m *Manager) mountDisk(info *Info) error {
	var err error
	switch {
	case info.Spec.Limits.Disk == 0:
	case info.DiskLimit == disklimit.Quota:
		if err = disklimit.Rebound(info.Data, info.Spec.Limits.Disk); errors.Is(err, disklimit.ErrUnable) {
			err = fmt.Errorf("%w; mount the file system of %s with prjquota, as it was, or remove the engine", err, m.paths.State)
		}
	default:
		err = disklimit.Mount(m.paths.Disk(info.ID), info.Data)
	}
	if err != nil {
		return fmt.Errorf("limit the engine's disk again: %w", err)
	}
	return nil
}

// leaveData lets go of the data root of an engine that is kept.
func (m *Manager) leaveData(info *Info) error {
	return disklimit.Unmount(m.paths.Data(info.ID))
}

// endDisk ends the limit of a data root that is thrown away.
func (m *Manager) endDisk(info *Info) error {
	if err := m.leaveData(info); err != nil || info.Spec.Isolation == IsolationRootful {
		return err // its root could have put it into another's project
	}
	return disklimit.Unbound(m.paths.Data(info.ID))
}

// withinDisk runs f, which fills the data root for the engine and so counts like what the
// engine stores.
func (l *launch) withinDisk(f func() error) error {
	limit := l.info.Spec.Limits.Disk
	if limit == 0 {
		return f()
	}
	err := linux.WithinLimits(f)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w; what a fork copies of the snapshot does not fit --disk %s, give more", err, units.BytesSize(float64(limit)))
	}
	return err
}
