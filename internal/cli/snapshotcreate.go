package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/engine"
	"github.com/berth-dev/berth/internal/linux"
	"github.com/berth-dev/berth/internal/snapshot"
	"github.com/berth-dev/berth/internal/state"
)

// createFlags say what a snapshot is to be made of.
type createFlags struct {
	engine                    engineFlags
	pulls, loads, builds, run []string
	fromEngine                string
	update, stop, asJSON      bool
	containers                bool
}

func (a *app) snapshotCreateVerb() *cobra.Command {
	f := &createFlags{}
	cmd := &cobra.Command{
		Use:   "create [flags] NAME",
		Short: "Make a snapshot, or the next version of one",
		Long: `Start an engine, fill it, stop it, and freeze what it holds. What is asked for is done in this
order: --pull, --load, --build, --run. With --update the engine begins as a copy of the latest
version, so that only what has changed is pulled and stored. Containers do not travel, unless asked for.

With --from ENGINE nothing is started: the snapshot is what that engine holds. One that runs
stands still for a moment, so that what is in its volumes is as after a loss of power; with
--stop it is stopped for the moment instead.`,
		Example: `  sudo berth snapshot create ci --pull postgres:17 --run 'docker compose pull'
  sudo berth snapshot create ci --update --pull postgres:17`,
		Args: exactly(1, "a name for the snapshot"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.snapshotCreate(cmd, f, args[0]) },
	}
	fs := cmd.Flags()
	fs.StringArrayVar(&f.pulls, "pull", nil, "pull the image `REF`, with the credentials of who called berth")
	fs.StringArrayVar(&f.loads, "load", nil, "load the images in the archive `FILE` (docker save)")
	fs.StringArrayVar(&f.builds, "build", nil, "build the Dockerfile in `DIR`; its image gets the name of the directory")
	fs.StringArrayVar(&f.run, "run", nil, "run the shell script `SCRIPT` on this machine with docker pointing at the engine")
	fs.StringVar(&f.fromEngine, "from", "", "make it of what `ENGINE` holds")
	fs.BoolVar(&f.stop, "stop", false, "with --from: stop the engine if it runs, and start it again afterwards, instead of pausing it")
	fs.BoolVar(&f.containers, "containers", false, "let containers travel too; in forks they are stopped, unless their restart policy starts them")
	fs.BoolVar(&f.update, "update", false, "begin with the latest version of the snapshot")
	fs.BoolVar(&f.asJSON, "json", false, "print the snapshot as one JSON object")
	f.engine.register(cmd, "network of the engine: veth or none")
	_ = cmd.RegisterFlagCompletionFunc("from", a.completeFirst)
	return cmd
}

func (a *app) snapshotCreate(cmd *cobra.Command, f *createFlags, name string) error {
	if !state.NamePattern().MatchString(name) {
		return usage(cmd, "name %q: use at most 63 of a-z 0-9 _ . - and begin with a letter or digit", name)
	}
	todo := f.commands()
	switch {
	case f.fromEngine != "" && (len(todo) > 0 || f.update):
		return usage(cmd, "--from takes an engine as it is; leave the other sources out")
	case f.stop && f.fromEngine == "":
		return usage(cmd, "--stop is for --from ENGINE")
	case f.fromEngine == "" && len(todo) == 0:
		return usage(cmd, "say what to put in: --pull, --load, --build, --run or --from")
	case f.engine.net == netHost:
		return usage(cmd, "--net host is for a command; choose veth or none")
	}
	if f.fromEngine != "" {
		return a.snapshotOfEngine(cmd, f, name)
	}
	r, err := a.request(cmd, &f.engine)
	if err != nil {
		return err
	}
	es, err := a.open(a)
	if err != nil {
		return err
	}
	if f.update {
		r.spec.From = name
	}
	calls := make([]call, len(todo))
	for i, t := range todo {
		calls[i] = call{as: r.as, args: t.args, inside: true, docker: true}
		calls[i].env.Dir = r.dir
		// A command that is not there is found out before an engine is started for it.
		if err := calls[i].find(cmd.Context(), es); err != nil {
			return err
		}
	}
	e, err := es.Start(cmd.Context(), r.spec)
	if err != nil {
		return explain(cmd, err)
	}
	freezer, ok := e.(interface {
		Freeze(context.Context, engine.Freezing) (*snapshot.Manifest, error)
	})
	if !ok {
		return errors.Join(errors.New("this engine cannot be frozen"), e.Close(cmd.Context()))
	}
	netns, err := linux.Hold(e.NetNS())
	if err != nil {
		return errors.Join(err, e.Close(context.WithoutCancel(cmd.Context())))
	}
	defer netns.Close()
	defer a.clear(netns) // when the engine is gone: all that is left there are commands
	if err := a.fill(cmd.Context(), e, todo, calls, netns); err != nil {
		a.report(e.Close(context.WithoutCancel(cmd.Context())))
		return err
	}
	var sources []string
	for _, t := range todo {
		sources = append(sources, t.source)
	}
	m, err := freezer.Freeze(cmd.Context(), engine.Freezing{Name: name, Sources: sources, Containers: f.containers})
	if err != nil {
		return err
	}
	return a.printSnapshot(m, f.asJSON)
}

// filling is one thing to do to an engine that becomes a snapshot.
type filling struct {
	source string // as it is noted in the manifest
	args   []string
}

func (f *createFlags) commands() []filling {
	var out []filling
	for _, ref := range f.pulls {
		out = append(out, filling{"pull " + ref, []string{"docker", "pull", ref}})
	}
	for _, file := range f.loads {
		out = append(out, filling{"load " + file, []string{"docker", "load", "--input", file}})
	}
	for _, dir := range f.builds {
		tag := dir
		if abs, err := filepath.Abs(dir); err == nil {
			tag = strings.ToLower(filepath.Base(abs))
		}
		out = append(out, filling{"build " + dir, []string{"docker", "build", "--tag", tag, dir}})
	}
	for _, script := range f.run {
		out = append(out, filling{"run " + script, []string{"sh", "-ec", script}})
	}
	return out
}

// fill runs the commands one after the other. What they print is not berth's result.
func (a *app) fill(ctx context.Context, e running, todo []filling, calls []call, netns *os.File) error {
	signals := a.signals.Take()
	defer a.signals.Release() // what follows ends with the context
	if err := context.Cause(ctx); err != nil {
		return err
	}
	done := make(chan struct{})
	quiet := a.follow(e, done)
	defer func() { close(done); <-quiet }()
	streams := a.Streams
	streams.Out = a.Err
	for i, c := range calls {
		status, err := c.run(streams, a.umask, e.Info(), netns, signals)
		if err != nil {
			return err
		}
		if status != 0 {
			return fmt.Errorf("%s ended with status %d; no snapshot was made", todo[i].source, status)
		}
	}
	return nil
}

func (a *app) snapshotOfEngine(cmd *cobra.Command, f *createFlags, name string) error {
	m, err := a.manager()
	if err != nil {
		return err
	}
	info, err := a.find(cmd.Context(), manager{m}, f.fromEngine)
	if err != nil {
		return err
	}
	man, err := m.FreezeEngine(cmd.Context(), info.ID, engine.Freezing{
		Name: name, Sources: []string{"engine " + info.Name}, Containers: f.containers, Stop: f.stop,
	})
	if err != nil {
		return err
	}
	return a.printSnapshot(man, f.asJSON)
}

func (a *app) printSnapshot(m *snapshot.Manifest, asJSON bool) error {
	if asJSON {
		return a.printJSON(m)
	}
	_, err := fmt.Fprintln(a.Out, m.Ref())
	return err
}
