package cli

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/linux"
)

func (a *app) runVerb() *cobra.Command {
	f := &engineFlags{}
	noCLI := false
	cmd := &cobra.Command{
		Use:   "run [flags] -- CMD [ARG...]",
		Short: "Run a command with a Docker engine of its own",
		Long: `Start an engine, run CMD with it, and take the engine away when CMD ends.

CMD runs on this machine as the user who called berth, in the current directory, which the
engine sees too. It runs in the engine's network: a port that a container publishes is at
localhost, for CMD alone. The exit status is CMD's.`,
		Example: `  sudo berth run -- go test ./...
  sudo berth run --memory 4g --cpus 2 -- docker compose up --abort-on-container-exit`,
		Args: atLeast(1, "a command to run"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.runCommand(cmd, f, noCLI, args) },
	}
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().StringVar(&f.name, "name", "", "name of the engine (default: its id)")
	cmd.Flags().BoolVar(&noCLI, "no-docker-cli", false, "do not put the bundled docker first on PATH")
	f.registerFork(a, cmd)
	f.register(cmd, "network of the engine: veth or none; host is veth with CMD in the host's network")
	return cmd
}

func (a *app) runCommand(cmd *cobra.Command, f *engineFlags, noCLI bool, args []string) error {
	ctx := cmd.Context()
	r, err := a.request(cmd, f)
	if err != nil {
		return err
	}
	es, err := a.open(a)
	if err != nil {
		return err
	}
	call := call{as: r.as, args: args, inside: f.net != netHost, docker: !noCLI}
	call.env.Dir = r.dir
	// A command that is not there is found out before an engine is started for it.
	if err := call.find(ctx, es); err != nil {
		return err
	}
	e, err := es.Start(ctx, r.spec)
	if err != nil {
		return explain(cmd, err)
	}
	return a.attend(ctx, e, call)
}

// attend runs the command beside its engine and takes the engine away whatever happens.
func (a *app) attend(ctx context.Context, e running, c call) error {
	// From here on ^C is for the command to act upon; berth ends when the command does.
	signals := a.signals.Take()
	closing := context.WithoutCancel(ctx)
	if err := context.Cause(ctx); err != nil {
		a.report(e.Close(closing))
		return err
	}
	netns, err := linux.Hold(e.NetNS())
	if err != nil {
		a.report(e.Close(closing))
		return err
	}
	defer netns.Close()
	done := make(chan struct{})
	quiet := a.follow(e, done)
	status, err := c.run(a.Streams, a.umask, e.Info(), netns, signals)
	close(done)
	<-quiet
	a.report(e.Close(closing))
	a.notes(e)
	a.clear(netns)
	if err != nil {
		return err
	}
	return withStatus(status)
}

// report tells of a clean-up that failed; the command's status counts all the same.
func (a *app) report(err error) {
	if err != nil {
		a.note("%v; `berth gc` removes what is left", err)
	}
}

// follow prints what happens to the engine while the command runs, until done is closed.
func (a *app) follow(e running, done <-chan struct{}) (quiet <-chan struct{}) {
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		ended, notes := e.Done(), e.Notes()
		for {
			select {
			case <-done:
				return
			case note, ok := <-notes:
				if !ok {
					notes = nil
					continue
				}
				a.note("%s", note)
			case <-ended:
				a.notes(e)
				a.note("%v; the command goes on without it", e.Err())
				ended = nil
			}
		}
	}()
	return finished
}

// notes prints the notes that are waiting.
func (a *app) notes(e running) {
	for {
		select {
		case note, ok := <-e.Notes():
			if !ok {
				return
			}
			a.note("%s", note)
		default:
			return
		}
	}
}

// clear ends what the command left running in the network of the engine that is gone.
func (a *app) clear(netns *os.File) {
	n, err := linux.KillInside(netns)
	if err != nil {
		a.note("%v", err)
	}
	if n > 0 {
		a.note("ended %d background processes of the command, whose network is gone", n)
	}
}
