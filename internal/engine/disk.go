package engine

import (
	"context"
	"fmt"

	"github.com/berth-dev/berth/internal/disklimit"
)

// limitDisk makes the data root one that holds no more than was asked for. uid is its owner.
func (l *launch) limitDisk(ctx context.Context, uid int) error {
	size := l.info.Spec.Limits.Disk
	if size == 0 {
		return nil
	}
	image := l.m.paths.Disk(l.info.ID)
	if l.info.Revived {
		return l.m.mountDisk(&l.info)
	}
	err := disklimit.Make(ctx, image, l.info.Data, disklimit.Options{Size: size, Owner: uid, Volatile: !l.info.Spec.Keep})
	if err != nil {
		return fmt.Errorf("limit the engine's disk: %w", err)
	}
	return nil
}

// mountDisk makes the data of a limited engine that is kept be there again.
func (m *Manager) mountDisk(info *Info) error {
	if info.Spec.Limits.Disk == 0 {
		return nil
	}
	if err := disklimit.Mount(m.paths.Disk(info.ID), info.Data); err != nil {
		return fmt.Errorf("mount the engine's disk: %w", err)
	}
	return nil
}

// leaveData lets go of the data root of an engine that is kept.
func (m *Manager) leaveData(info *Info) error {
	return disklimit.Unmount(m.paths.Data(info.ID))
}
