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

// patience is for how long the end of an engine waits for its data root to be deleted: a
// small one is gone by then, a large one is left to a process of its own.
const patience = 15 * time.Millisecond

// sweepSoon deletes dir, and returns before that is done if it takes long.
func (m *Manager) sweepSoon(dir string) error {
	done := make(chan error, 1)
	go func() { done <- os.RemoveAll(dir) }()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		return m.sweepDetached()
	}
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
