package engine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/berth-dev/berth/internal/bundle"
)

// Shell runs argv inside the namespaces of a running engine with this process's standard
// streams, on a new terminal if tty is set, and returns its exit status. A command that could
// not be run is a *[NotRunError].
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
		// The status of a command may be any, also the runtime's own.
		if bytes.Contains(reason, []byte("level=error")) {
			return 0, &NotRunError{Reason: string(reason)}
		}
		return exit.ExitCode(), nil
	}
	return 0, errors.Join(err, readErr)
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
