package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	runc "github.com/containerd/go-runc"
	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/cgroup"
	"github.com/berth-dev/berth/internal/linux"
	"github.com/berth-dev/berth/internal/payload"
)

// runtime is the OCI runtime that runs, or ran, the engine.
func (m *Manager) runtime(info *Info) *runc.Runc {
	command := info.Spec.Runtime
	if command == "" {
		command = filepath.Join(payload.Dir(m.paths.Payload(), info.Payload), "rootfs/usr/bin/runc")
	}
	return &runc.Runc{
		Command: command, Root: m.paths.Runtime(), Log: m.paths.RuntimeLog(info.ID), LogFormat: runc.JSON,
		PdeathSignal: syscall.SIGKILL, // a half-made container is no use to anybody
	}
}

// runContainer has the OCI runtime make the engine's namespaces and start init in them,
// which then waits for the monitor's start message.
func (l *launch) runContainer(ctx context.Context) error {
	control, theirs, err := linux.SocketPair()
	if err != nil {
		return err
	}
	defer theirs.Close()
	listener, err := l.listener.File()
	if err != nil {
		control.Close()
		return err
	}
	defer listener.Close()
	defer l.listener.Close() // from here on the engine has it
	logs, logWriter, err := os.Pipe()
	if err != nil {
		control.Close()
		return err
	}
	if l.monitor, err = newMonitor(l.m, &l.info, control, logs, logWriter); err != nil {
		return err
	}
	pidFile := l.m.paths.PIDFile(l.info.ID)
	if err := l.createContainer(ctx, pidFile, logWriter, append([]*os.File{theirs, listener}, l.m.nest.listeners()...)...); err != nil {
		return fmt.Errorf("start the engine's container: %s", runtimeReason(l.m.paths.RuntimeLog(l.info.ID), err))
	}
	if l.info.Init, err = processFromFile(pidFile); err != nil {
		return fmt.Errorf("start the engine's container: %w", err)
	}
	if err := l.verifyShares(); err != nil {
		return err
	}
	if err := l.settleNetwork(); err != nil {
		return err
	}
	return l.m.save(&l.info)
}

// createContainer runs the OCI runtime. The container's first process inherits the log as
// its standard output and error, and the files from number 3 on (--preserve-fds, which
// runc, crun and others have in common); nothing else.
func (l *launch) createContainer(ctx context.Context, pidFile string, log *os.File, files ...*os.File) error {
	r := l.m.runtime(&l.info)
	cmd := exec.CommandContext(ctx, r.Command,
		"--root", r.Root, "--log", r.Log, "--log-format", string(r.LogFormat),
		"run", "--bundle", l.m.paths.Engine(l.info.ID), "--pid-file", pidFile, "--detach",
		"--preserve-fds", strconv.Itoa(len(files)), l.info.ID)
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, files
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: r.PdeathSignal}
	shares := l.restrictedBases()
	for _, s := range l.info.Spec.Shares {
		shares = append(shares, linux.Restricted{Path: s.Path, ReadOnly: s.ReadOnly})
	}
	slices.SortFunc(shares, func(a, b linux.Restricted) int { return strings.Compare(a.Path, b.Path) })
	return linux.WithRestricted(shares, cmd.Run)
}

func processFromFile(path string) (Process, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Process{}, err
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(b)))
	if err != nil {
		return Process{}, err
	}
	start, err := linux.StartTime(pid)
	return Process{PID: pid, StartTime: start}, err
}

// runtimeReason finds the error that the OCI runtime wrote to its log.
func runtimeReason(log string, err error) string {
	b, readErr := os.ReadFile(log)
	if readErr != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	for i := len(lines) - 1; i >= 0; i-- {
		var entry struct{ Level, Msg string }
		if json.Unmarshal(lines[i], &entry) == nil && entry.Level == "error" {
			return strings.ReplaceAll(entry.Msg, "\n", " ")
		}
	}
	return err.Error()
}

func (l *launch) delegate(context.Context) error {
	g, err := cgroup.Open(l.m.cgroup(&l.info))
	if err != nil {
		return err
	}
	root := 0
	if l.info.IDs != nil {
		root = int(l.info.IDs.First)
	}
	if err := g.Delegate(root, root); err != nil {
		return err
	}
	if l.info.Spec.Limits.Memory == 0 {
		return nil
	}
	return l.monitor.watchMemory(g)
}

// killContainer ends every process of the engine and waits for that. Init takes the rest of
// its pid namespace with it (pid_namespaces(7)); a runtime that was killed while it made
// the container has left others in the cgroup. One that stands still for a snapshot goes on
// first: nothing that is frozen can end on cgroup v1.
func (m *Manager) killContainer(ctx context.Context, info *Info) error {
	if err := m.resume(info.ID); err != nil {
		return err
	}
	if info.Init.PID != 0 {
		if err := info.Init.kill(ctx); err != nil {
			return fmt.Errorf("end the engine: %w", err)
		}
	}
	return m.killStragglers(ctx, info)
}

// deleteContainer removes what the OCI runtime knows of the container, of which there may
// be nothing, and the control group, which the runtime may have made without noting it.
func (m *Manager) deleteContainer(ctx context.Context, info *Info) error {
	dir := filepath.Join(m.paths.Runtime(), info.ID)
	if _, err := os.Stat(dir); err == nil {
		// Not forced: that would have runc wait 100 ms for what is dead already.
		if err := m.runtime(info).Delete(ctx, info.ID, nil); err != nil {
			// State that the runtime cannot read is state that nobody needs: it was killed before
			// it had written that.
			m.log.Debug("delete container", "engine", info.ID, "error", err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the runtime's state: %w", err)
	}
	return m.removeCgroup(info)
}

// killStragglers ends what is left in the engine's cgroup: every process there is the engine's.
func (m *Manager) killStragglers(ctx context.Context, info *Info) error {
	g, err := cgroup.Open(m.cgroup(info))
	if err != nil {
		return err
	}
	if err := g.Kill(); err != nil {
		return err
	}
	for {
		pids, err := g.PIDs()
		if err != nil || len(pids) == 0 {
			return err
		}
		for _, pid := range pids {
			start, err := linux.StartTime(pid)
			if err != nil {
				continue // ended meanwhile
			}
			if err := (Process{pid, start}).kill(ctx); err != nil {
				return fmt.Errorf("end process %d of the engine: %w", pid, err)
			}
		}
	}
}

// kill ends the process and waits until it has ended.
func (p Process) kill(ctx context.Context) error {
	fd, err := linux.OpenPIDFD(p.PID, p.StartTime)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer fd.Close()
	if err := fd.Signal(unix.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return fd.Wait(ctx)
}

func (m *Manager) removeCgroup(info *Info) error {
	g, err := cgroup.Open(m.cgroup(info))
	if err != nil {
		return err
	}
	if err := g.Remove(); err != nil {
		return fmt.Errorf("remove the engine's control group: %w", err)
	}
	return nil
}

// alive reports whether the process still runs.
func (p Process) alive() bool {
	start, err := linux.StartTime(p.PID)
	return err == nil && start == p.StartTime
}
