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
func (l *launch) makeData(context.Context) error {
	if err := os.MkdirAll(l.info.Data, 0o711); err != nil {
		return fmt.Errorf("make the engine's data root: %w", err)
	}
	uid := 0
	if l.info.IDs != nil {
		uid = int(l.info.IDs.First)
	}
	return os.Lchown(l.info.Data, uid, uid)
}

// dropData moves the data root out of the way, which takes no time, and has it deleted.
func (m *Manager) dropData(_ context.Context, info *Info) error {
	dir := m.paths.StateEngine(info.ID)
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
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
	path := filepath.Join(m.paths.Trash(), "lock")
	lock, err := linux.TryLock(path)
	if errors.Is(err, linux.ErrLocked) {
		if !wait {
			return nil
		}
		lock, err = linux.Lock(ctx, path)
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	entries, err := os.ReadDir(m.paths.Trash())
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if e.Name() != "lock" {
			errs = append(errs, os.RemoveAll(filepath.Join(m.paths.Trash(), e.Name())))
		}
	}
	return errors.Join(errs...)
}
