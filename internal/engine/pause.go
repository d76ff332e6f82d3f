package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/cgroup"
	"github.com/berth-dev/berth/internal/linux"
)

// pauses has all processes of a running engine stand still for moments. That they go on again
// does not depend on this process: a guard, a process of its own, sees to it when this one
// is killed; should both be, the next [Manager.Collect] does.
//
//	<run>/engines/<id>/pause   locked by this process and the guard; in it, while the engine may
//	                           stand still, its control group
type pauses struct {
	m     *Manager
	info  *Info
	group *cgroup.Group
	lock  *os.File
	guard *exec.Cmd
	alive *os.File // the guard sees its end
	begin time.Time
}

// GuardVerb is the hidden verb that runs [Manager.GuardPause] in a process of its own.
const GuardVerb = "_guard"

// pauses waits until nobody else pauses the engine.
func (m *Manager) pauses(ctx context.Context, info *Info) (*pauses, error) {
	group, err := cgroup.Open(m.cgroup(info))
	if err != nil {
		return nil, err
	}
	lock, err := linux.Lock(ctx, m.paths.Pause(info.ID))
	if err != nil {
		return nil, fmt.Errorf("wait to pause %s: %w", info.Name, err)
	}
	p := &pauses{m: m, info: info, group: group, lock: lock}
	if err := p.startGuard(); err != nil {
		lock.Close()
		return nil, fmt.Errorf("start the guard of the pause of %s: %w", info.Name, err)
	}
	return p, nil
}

func (p *pauses) startGuard() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	theirs, alive, err := os.Pipe()
	if err != nil {
		return err
	}
	defer theirs.Close()
	cmd := exec.Command(self, GuardVerb, p.info.ID)
	cmd.Env = append(os.Environ(), p.m.pathsEnv()...)
	cmd.Dir, cmd.Stdin, cmd.ExtraFiles = "/", theirs, []*os.File{p.lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // ^C is not for it
	if err := cmd.Start(); err != nil {
		alive.Close()
		return err
	}
	p.guard, p.alive = cmd, alive
	signal.Ignore(unix.SIGTSTP) // ^Z would leave the engine standing still
	return nil
}

// GuardPause waits for the end of in, which is that of the process that paused the engine,
// and has the engine go on.
func (m *Manager) GuardPause(id string, in io.Reader) error {
	_, err := io.Copy(io.Discard, in)
	return errors.Join(err, m.resume(id))
}

// Pause returns when no process of the engine runs any more.
func (p *pauses) Pause(context.Context) error {
	if err := os.WriteFile(p.m.paths.Pause(p.info.ID), []byte(p.m.cgroup(p.info)), 0o600); err != nil {
		return err
	}
	p.begin = time.Now()
	if err := p.group.Freeze(); err != nil {
		return errors.Join(fmt.Errorf("pause %s: %w; say --stop to have it stopped instead", p.info.Name, err), p.m.resume(p.info.ID))
	}
	return nil
}

// Resume ends the pause. An error says that the engine did not stand still all the time.
func (p *pauses) Resume() error {
	frozen, err := p.group.Frozen()
	if err == nil && !frozen {
		err = fmt.Errorf("%s was stopped or went on meanwhile", p.info.Name)
	}
	err = errors.Join(err, p.m.resume(p.info.ID))
	p.m.trace("pause", time.Since(p.begin))
	return err
}

// close ends the guard, and with it the last pause if that has not been ended.
func (p *pauses) close() {
	signal.Reset(unix.SIGTSTP)
	p.alive.Close()
	p.m.warn("guard the pause", p.info, p.guard.Wait())
	p.lock.Close()
}

// resume has an engine go on that may stand still; one that does not is left alone.
func (m *Manager) resume(id string) error {
	path := m.paths.Pause(id)
	group, err := os.ReadFile(path)
	if err != nil || len(group) == 0 {
		return ignoreNotExist(err)
	}
	g, err := cgroup.Open(string(group))
	if err == nil {
		err = g.Thaw()
	}
	if err != nil {
		return err
	}
	return ignoreNotExist(os.Truncate(path, 0))
}

// resumeLeft has an engine go on whose pause nobody is there to end.
func (m *Manager) resumeLeft(id string) error {
	locked, err := linux.Locked(m.paths.Pause(id))
	if err != nil || locked {
		return err
	}
	return m.resume(id)
}

func ignoreNotExist(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
