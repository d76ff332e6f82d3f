package engine

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/berth-dev/berth/internal/bundle"
)

// Exit statuses of a command that could not be run, as docker-run(1) has them.
const (
	statusFailed      = 125
	statusNotRunnable = 126
	statusNotFound    = 127
)

// Shell runs argv inside the namespaces of a running engine with this process's standard
// streams, on a new terminal if tty is set, and returns its exit status: 127 when there is
// no such program, 126 when it is none, which the runtime has then said on standard error.
func (m *Manager) Shell(ctx context.Context, ref string, argv []string, tty bool) (int, error) {
	info, err := m.running(ctx, ref)
	if err != nil {
		return 0, err
	}
	said, log, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer said.Close()
	r := m.runtime(&info)
	args := []string{"--root", r.Root, "--log", "/proc/self/fd/3", "exec"}
	if tty {
		args = append(args, "--tty")
	}
	for _, e := range shellEnv() {
		args = append(args, "--env", e)
	}
	cmd := exec.CommandContext(ctx, r.Command, append(append(args, info.ID), argv...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = os.Stdin, os.Stdout, os.Stderr, []*os.File{log}
	err = cmd.Start()
	log.Close()
	if err != nil {
		return 0, err
	}
	reason, readErr := io.ReadAll(said)
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return shellStatus(exit.ExitCode(), string(reason)), nil
	}
	return 0, errors.Join(err, readErr)
}

// shellStatus tells the status of a command, which may be any, from the runtime's own: then
// there is an error in its log.
func shellStatus(status int, log string) int {
	switch {
	case !strings.Contains(log, "level=error"):
		return status
	case strings.Contains(log, "executable file not found"), strings.Contains(log, "no such file or directory"):
		return statusNotFound
	case strings.Contains(log, "permission denied"), strings.Contains(log, "exec format error"), strings.Contains(log, "is a directory"):
		return statusNotRunnable
	}
	return statusFailed
}

// shellEnv is what a shell inside an engine needs to know; TERM is the caller's. PATH is among
// it because runc takes the engine's own when none is given, and crun takes none.
func shellEnv() []string {
	env := []string{bundle.PathEnv, "DOCKER_HOST=" + innerSocket, "TMPDIR=/run/tmp"}
	if term := os.Getenv("TERM"); term != "" {
		env = append(env, "TERM="+filepath.Base(term))
	}
	return env
}
