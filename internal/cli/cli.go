// Package cli is berth's command line: one file per verb, each of which turns flags into
// a call of internal/engine or internal/command and prints the answer.
//
// What all verbs have in common is here and in errors.go: results go to standard output,
// everything else to standard error as one line that begins with "berth:"; exit statuses
// are 2 for a usage error, 125 for berth's own failures, 126 and 127 for a command that
// cannot be run or found, else the command's own. Sizes are bytes, times are UTC.
// Nothing here knows how an engine is made, nor what a cgroup or a namespace is.
package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/command"
)

// Streams are the three files a process begins with. Commands that berth runs inherit them.
type Streams struct{ In, Out, Err *os.File }

// app is what the verbs share.
type app struct {
	Streams
	umask   int // the caller's
	debug   bool
	signals *command.Signals
	began   bool // the arguments were in order and the verb is at work
	// open returns the engines of this machine; a test puts a fake here.
	open func(*app) (engines, error)
}

// Run carries out one invocation of berth and returns its exit status.
func Run(ctx context.Context, streams Streams, args []string) int {
	// What berth's caller left open is no business of an engine or a command.
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		fmt.Fprintf(streams.Err, "berth: keep inherited files from commands: %v; Linux 5.11 or later is needed\n", err)
		return statusFailure
	}
	ctx, signals := command.Watch(ctx)
	defer signals.Stop()
	// What an engine needs is made with the modes that berth gives it, whatever is usual for the
	// caller's own files. Those of the commands that berth runs are made as the caller wants.
	umask := unix.Umask(0o022)
	a := &app{Streams: streams, umask: umask, signals: signals, open: openEngines}
	return a.run(ctx, asEntrypoint(os.Args[0], args))
}

// run is Run without what concerns the whole process.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	verb, err := root.ExecuteContextC(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil && !isStatus(err) {
		left := "what had been started is removed"
		if note, ok := verb.Annotations[whenInterrupted]; ok {
			left = note
		}
		err = fmt.Errorf("%w; %s", cause, left)
	}
	if err != nil && !a.began && !errors.As(err, new(*usageError)) {
		err = &usageError{"berth", err} // cobra's own complaint
	}
	status, message := verdict(err)
	if message != "" {
		fmt.Fprintf(a.Err, "berth: %s\n", oneLine(message))
	}
	return status
}

// whenInterrupted is an annotation of verbs that begin nothing: what a user is told when a signal ends
// them, and sayAgain what is told of those that remove something.
const (
	whenInterrupted = "interrupted"
	sayAgain        = "say it again to finish"
)

// Groups of verbs in the help text.
const (
	groupRun     = "run"
	groupEngines = "engines"
	groupMachine = "machine"
)

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "berth",
		Short: "A Docker engine of its own for every job",
		Long: `Berth gives every job its own Docker engine: real upstream dockerd in a user namespace,
ready in a fraction of a second, gone without a trace.`,
		Example:          "  sudo berth run -- sh -c 'docker build -t app . && docker run --rm app'",
		SilenceErrors:    true,
		SilenceUsage:     true,
		Args:             unknownCommand,
		PersistentPreRun: func(*cobra.Command, []string) { a.began = true },

		SuggestionsMinimumDistance: 2, // letters
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().BoolVar(&a.debug, "debug", false, "say on standard error what berth does")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(cmd, "%w", err) })
	root.AddGroup(
		&cobra.Group{ID: groupRun, Title: "Use an engine:"},
		&cobra.Group{ID: groupEngines, Title: "Look after engines:"},
		&cobra.Group{ID: groupMachine, Title: "This machine:"})
	root.SetHelpCommandGroupID(groupMachine)
	root.SetCompletionCommandGroupID(groupMachine)
	add := func(group string, verbs ...*cobra.Command) {
		for _, v := range verbs {
			v.GroupID = group
			root.AddCommand(v)
		}
	}
	add(groupRun, a.runVerb(), a.upVerb(), a.execVerb(), a.shellVerb(), a.dockerVerb(), a.envVerb(), a.contextVerb())
	add(groupEngines, a.lsVerb(), a.inspectVerb(), a.logsVerb(), a.statsVerb(), a.stopVerb(), a.startVerb(), a.rmVerb())
	add(groupMachine, a.snapshotVerb(), a.doctorVerb(), a.gcVerb(), a.imageVerb(), a.initVerb(), a.versionVerb())
	add(groupMachine, a.mirrorVerb(), a.configVerb(), a.diskVerb(), a.kubeVerb(), a.healthVerb())
	root.AddCommand(a.monitorVerb(), a.attendVerb(), a.sweepVerb(), a.guardVerb(), a.stepsVerb())
	return root
}

// unknownCommand refuses arguments of berth itself: they are misspelt verbs.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = " (did you mean " + strings.Join(near, " or ") + "?)"
	}
	return usage(cmd, "unknown command %q%s", args[0], hint)
}

// log is where internal packages report; only warnings are shown without --debug.
func (a *app) log() *slog.Logger {
	level := slog.LevelWarn
	if a.debug {
		level = slog.LevelDebug
	}
	return slog.New(&lineHandler{out: a.Err, level: level})
}
