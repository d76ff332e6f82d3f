// Package command runs a user's command on this machine: as that user, inside an engine's
// network namespace, with its terminal and signals as if berth were not in between.
//
// It knows nothing of engines beyond the few strings in [Environment]. Statuses are those
// a shell would see: the command's own, or 128 plus the number of the signal that ended it.
//
// How signals travel depends on the terminal:
//
//	with a controlling terminal      the command shares berth's process group, so that job
//	                                 control, ^C and window sizes reach it from the kernel;
//	                                 berth passes on only what was sent to itself alone
//	without one (CI, cron, systemd)  the command leads a process group of its own, and berth
//	                                 passes on every signal it gets
package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/linux"
)

// Command is one command to run.
type Command struct {
	Path  string   // the program, from [Find]
	Args  []string // its arguments, beginning with its name
	Env   []string
	As    Identity
	NetNS *os.File // network namespace to run it in; nil is berth's own
	Umask int      // file mode creation mask in Run (umask(2))
	// Stdin, Stdout and Stderr are all that the command inherits.
	Stdin, Stdout, Stderr *os.File
}

// Run starts the command, passes on the signals, and returns the command's exit status
// when it has ended. An error means that it was not started; it is a [*LookupError] when
// the program could not be executed. The kernel kills the command should berth be killed.
func (c *Command) Run(signals <-chan syscall.Signal) (int, error) {
	tty := controllingTerminal()
	defer tty.close()
	started, ended := make(chan *os.Process, 1), make(chan outcome, 1)
	go func() {
		// The thread that forks must outlive the command: PR_SET_PDEATHSIG (prctl(2))
		// follows the thread, not the process. So it waits for the command itself.
		ended <- c.onItsThread(tty == nil, started)
	}()
	process := <-started
	for {
		select {
		case sig := <-signals:
			if process != nil {
				forward(process, sig, tty)
			}
		case end := <-ended:
			return end.status, end.err
		}
	}
}

type outcome struct {
	status int
	err    error
}

func (c *Command) onItsThread(group bool, started chan<- *os.Process) (out outcome) {
	out.err = linux.OnThread(func() error {
		process, err := c.start(group)
		started <- process
		if err != nil {
			return err
		}
		state, err := process.Wait()
		if err != nil {
			return fmt.Errorf("wait for %s: %w", c.Path, err)
		}
		out.status = status(state)
		return nil
	})
	return out
}

func (c *Command) start(group bool) (*os.Process, error) {
	if err := enter(c.NetNS); err != nil {
		return nil, err
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil { // else the mask would be the whole process's
		return nil, os.NewSyscallError("unshare", err)
	}
	unix.Umask(c.Umask)
	attr := &os.ProcAttr{
		Env:   c.Env,
		Files: []*os.File{c.Stdin, c.Stdout, c.Stderr},
		Sys:   &syscall.SysProcAttr{Setpgid: group, Pdeathsig: unix.SIGKILL, Credential: c.As.credential()},
	}
	process, err := os.StartProcess(c.Path, c.Args, attr)
	if err != nil {
		return nil, c.startError(err)
	}
	return process, nil
}

// startError tells a program that is not there from one that cannot be executed.
func (c *Command) startError(err error) error {
	e := &LookupError{Name: c.Args[0], Status: StatusNotRunnable, Err: err}
	switch {
	case errors.Is(err, os.ErrNotExist):
		e.Status = StatusNotFound
		if _, statErr := os.Stat(c.Path); statErr == nil {
			e.Err = errors.New("the interpreter it names does not exist; check its first line")
		}
	case errors.Is(err, unix.ENOEXEC):
		e.Err = errors.New("not a program for this machine, nor a script with an interpreter in its first line")
	case errors.Is(err, os.ErrPermission):
		e.Err = errors.New("permission denied; check its mode and the mount's noexec option")
	}
	return e
}

// credential is nil when nothing is to change.
func (id Identity) credential() *syscall.Credential {
	if id.Same {
		return nil
	}
	groups := make([]uint32, len(id.Groups))
	for i, g := range id.Groups {
		groups[i] = uint32(g)
	}
	return &syscall.Credential{Uid: uint32(id.UID), Gid: uint32(id.GID), Groups: groups}
}

// forward passes a signal that berth got on to the command.
func forward(process *os.Process, sig syscall.Signal, tty *terminal) {
	fromKeyboard := sig == unix.SIGINT || sig == unix.SIGQUIT
	switch {
	case tty != nil && fromKeyboard && tty.foreground():
		// The kernel has sent it to the whole process group, the command included.
	case tty == nil && fromKeyboard:
		// What a keyboard would send to every process of a job goes to them all here too.
		_ = unix.Kill(-process.Pid, sig)
	default:
		_ = process.Signal(sig)
	}
}

// status is what a shell would show in $?.
func status(state *os.ProcessState) int {
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return state.ExitCode()
}

// Output runs the command without a terminal's signals and returns what it wrote to
// standard output; the error holds what it wrote to standard error. Cancelling ctx kills it.
func (c *Command) Output(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, c.Path)
	cmd.Args, cmd.Env = c.Args, c.Env
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.As.credential()}
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return "", fmt.Errorf("%s: %s", c.Args[0], exit.Stderr)
	}
	return string(out), err
}
