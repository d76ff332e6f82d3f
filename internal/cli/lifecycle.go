package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/engine"
)

// defaultGrace is how long containers have to end when their engine is stopped.
const defaultGrace = 10 * time.Second

func (a *app) stopVerb() *cobra.Command {
	seconds := int(defaultGrace / time.Second)
	cmd := &cobra.Command{
		Annotations:       map[string]string{whenInterrupted: sayAgain},
		Use:               "stop NAME...",
		Short:             "Stop engines; images and containers are kept",
		Example:           "  sudo berth stop web",
		Args:              atLeast(1, "the name or id of an engine"),
		ValidArgsFunction: a.completeAll,
		RunE: func(cmd *cobra.Command, args []string) error {
			if seconds < 0 {
				return usage(cmd, "--time %d: give a number of seconds from 0", seconds)
			}
			grace := time.Duration(seconds) * time.Second
			return a.each(cmd.Context(), args, false, func(es engines, info engine.Info) error {
				return es.Stop(cmd.Context(), info.ID, grace)
			})
		},
	}
	cmd.Flags().IntVarP(&seconds, "time", "t", seconds, "`seconds` until what has not ended is killed")
	return cmd
}

func (a *app) startVerb() *cobra.Command {
	asJSON, pidFile := false, ""
	cmd := &cobra.Command{
		Use:               "start NAME",
		Short:             "Start a stopped engine with what it had",
		Example:           "  sudo berth start web",
		Args:              exactly(1, "the name or id of an engine"),
		ValidArgsFunction: a.completeFirst,
		RunE: func(cmd *cobra.Command, args []string) error {
			es, err := a.open(a)
			if err != nil {
				return err
			}
			info, err := a.find(cmd.Context(), es, args[0])
			if err != nil {
				return err
			}
			if _, err := es.Tree(cmd.Context()); err != nil { // here, where the progress can be shown
				return err
			}
			info, err = withPIDFile(pidFile, func() (engine.Info, error) { return es.StartStopped(cmd.Context(), info.ID) })
			if err != nil {
				return explain(cmd, err)
			}
			return a.printUp(info, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	registerPIDFile(cmd, &pidFile)
	return cmd
}

func (a *app) rmVerb() *cobra.Command {
	force := false
	cmd := &cobra.Command{
		Annotations:       map[string]string{whenInterrupted: sayAgain},
		Use:               "rm NAME...",
		Aliases:           []string{"remove", "down"},
		Short:             "Remove engines, running ones too, with all they hold",
		Example:           "  sudo berth rm web\n  sudo berth rm $(sudo berth ls -q)",
		Args:              atLeast(1, "the name or id of an engine"),
		ValidArgsFunction: a.completeAll,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.each(cmd.Context(), args, force, func(es engines, info engine.Info) error {
				return es.Remove(cmd.Context(), info.ID)
			})
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "do not mind an engine that does not exist")
	return cmd
}

// each does one thing to every engine named, and prints the names of those it was done
// to. It goes on after an error, and past an engine that does not exist when missing is fine.
func (a *app) each(ctx context.Context, refs []string, missing bool, do func(engines, engine.Info) error) error {
	es, err := a.open(a)
	if err != nil {
		return err
	}
	var failed []error
	for _, ref := range refs {
		info, err := a.find(ctx, es, ref)
		if err == nil {
			err = do(es, info)
		}
		if missing && errors.Is(err, engine.ErrNotFound) {
			continue
		}
		if err != nil {
			failed = append(failed, err)
			continue
		}
		if _, err := fmt.Fprintln(a.Out, info.Name); err != nil {
			return err
		}
	}
	return errors.Join(failed...)
}
