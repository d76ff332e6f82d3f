package engine

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/berth-dev/berth/internal/cgroup"
)

// NetNS opens the network namespace of a running engine. The caller closes it.
func (m *Manager) NetNS(ctx context.Context, ref string) (*os.File, error) {
	info, err := m.running(ctx, ref)
	if err != nil {
		return nil, err
	}
	return info.netns()
}

// Stats reads the figures of a running engine: dockerd and all containers together.
func (m *Manager) Stats(ctx context.Context, ref string) (cgroup.Stats, error) {
	info, err := m.running(ctx, ref)
	if err != nil {
		return cgroup.Stats{}, err
	}
	g, err := cgroup.Open(m.cgroup(&info))
	if err != nil {
		return cgroup.Stats{}, err
	}
	return g.Stats()
}

// Shell runs argv inside the namespaces of a running engine with this process's standard
// streams, on a new terminal if tty is set, and returns its exit status.
func (m *Manager) Shell(ctx context.Context, ref string, argv []string, tty bool) (int, error) {
	info, err := m.running(ctx, ref)
	if err != nil {
		return 0, err
	}
	r := m.runtime(&info)
	args := []string{"--root", r.Root, "exec"}
	if tty {
		args = append(args, "--tty")
	}
	for _, e := range shellEnv() {
		args = append(args, "--env", e)
	}
	cmd := exec.CommandContext(ctx, r.Command, append(append(args, info.ID), argv...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// shellEnv is what a shell inside an engine needs to know; TERM is the caller's.
func shellEnv() []string {
	env := []string{"DOCKER_HOST=" + innerSocket, "TMPDIR=/run/tmp"}
	if term := os.Getenv("TERM"); term != "" {
		env = append(env, "TERM="+filepath.Base(term))
	}
	return env
}
