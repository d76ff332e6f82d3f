package cli

import (
	"context"
	"os"
	"syscall"

	"github.com/berth-dev/berth/internal/command"
	"github.com/berth-dev/berth/internal/engine"
)

// call is a user's command that is to run against an engine.
type call struct {
	as     command.Identity
	args   []string
	inside bool // in the engine's network namespace
	docker bool // the bundled docker is first on PATH
	env    command.Environment
	path   string // of the program; set by find
}

// find looks the program up, as the user it will run as. A missing payload only matters
// to a call that asked for the bundled docker.
func (c *call) find(ctx context.Context, es engines) error {
	if c.docker {
		tree, err := es.Tree(ctx)
		if err != nil {
			return err
		}
		c.env.BinDir = tree.HostBin()
	}
	search := os.Getenv("PATH")
	if c.env.BinDir != "" {
		search = command.Prepend(c.env.BinDir, search)
	}
	path, err := command.Find(c.as, c.args[0], search)
	c.path = path
	return err
}

// run runs the program and returns its status; netns is the engine's.
func (c *call) run(s Streams, umask int, info engine.Info, netns *os.File, signals <-chan syscall.Signal) (int, error) {
	c.env.DockerHost, c.env.Engine, c.env.Inside = info.DockerHost(), info.ID, c.inside
	c.env.Buildx = buildxDir(info, c.as)
	cmd := &command.Command{
		Path: c.path, Args: c.args, As: c.as, Env: c.env.Environ(os.Environ(), c.as), Umask: umask,
		Stdin: s.In, Stdout: s.Out, Stderr: s.Err,
	}
	if c.inside {
		cmd.NetNS = netns
	}
	return cmd.Run(signals)
}
