package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/berth-dev/berth/internal/linux"
)

// makeData makes the data root, owned by the engine's root. A kept engine has one already.
func (l *launch) makeData(ctx context.Context) error {
	if l.m.nest != nil {
		return l.m.nest.owner(l.info.IDs)
	}
	if err := os.MkdirAll(l.info.Data, 0o711); err != nil {
		return fmt.Errorf("make the engine's data root: %w", err)
	}
	uid := 0
	if l.info.IDs != nil {
		uid = int(l.info.IDs.First)
	}
	if err := l.limitDisk(ctx, uid); err != nil {
		return err
	}
	if err := os.Lchown(l.info.Data, uid, uid); err != nil {
		return err
	}
	return l.populate(ctx)
}

// dropData moves the data root out of the way, which takes no time, and has it deleted.
func (m *Manager) dropData(_ context.Context, info *Info) error {
	dir := m.paths.StateEngine(info.ID)
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := m.endDisk(info); err != nil {
		return err
	}
	trash := filepath.Join(m.paths.Trash(), fmt.Sprintf("%s-%d", info.ID, time.Now().UnixNano()))
	if err := os.Rename(dir, trash); err != nil {
		return fmt.Errorf("throw the engine's data root away: %w", err)
	}
	m.warn("delete data root", info, m.sweepSoon(trash))
	return nil
}

// A data root of at most this size is deleted at once; a larger one by a process of its own,
// for the end of an engine must not take longer the more it holds.
const (
	smallEntries = 500
	smallBytes   = 32 << 20
)

func (m *Manager) sweepSoon(dir string) error {
	if small(dir) {
		return os.RemoveAll(dir)
	}
	return m.sweepDetached()
}

// small looks at no more of dir than a small one has.
func small(dir string) bool {
	var entries int
	var bytes int64
	tooLarge := errors.New("too large")
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		bytes += info.Size()
		if entries++; entries > smallEntries || bytes > smallBytes {
			return tooLarge
		}
		return nil
	})
	return err == nil
}

// SweepVerb is the hidden verb that runs [Manager.Sweep] in a process of its own.
const SweepVerb = "_sweep"

func (m *Manager) sweepDetached() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, SweepVerb)
	cmd.Env = append(os.Environ(), m.pathsEnv()...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start deleting %s: %w", m.paths.Trash(), err)
	}
	return cmd.Process.Release()
}

// Sweep deletes everything in the trash. When another process is at it already, it waits
// for that one if wait is set, and otherwise leaves the work to it.
func (m *Manager) Sweep(ctx context.Context, wait bool) error {
	for {
		swept, err := m.sweep(ctx, wait)
		if err != nil || !swept {
			return err
		}
		// What came while the lock was held, its bringer has left to its holder.
		left, err := os.ReadDir(m.paths.Trash())
		if err != nil || len(left) == 0 || len(left) == 1 && left[0].Name() == trashLock {
			return err
		}
	}
}

const trashLock = "lock"

// sweep is one round of Sweep; it returns false when another process is at it.
func (m *Manager) sweep(ctx context.Context, wait bool) (bool, error) {
	path := filepath.Join(m.paths.Trash(), trashLock)
	lock, err := linux.TryLock(path)
	if errors.Is(err, linux.ErrLocked) {
		if !wait {
			return false, nil
		}
		lock, err = linux.Lock(ctx, path)
	}
	if err != nil {
		return false, err
	}
	defer lock.Close()
	entries, err := os.ReadDir(m.paths.Trash())
	if err != nil {
		return false, err
	}
	var errs []error
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if e.Name() != trashLock {
			errs = append(errs, os.RemoveAll(filepath.Join(m.paths.Trash(), e.Name())))
		}
	}
	return true, errors.Join(errs...)
}
