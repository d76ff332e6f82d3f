package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/engine"
)

// monitorVerb is what `berth up` starts to watch over its engine; it is not for users.
func (a *app) monitorVerb() *cobra.Command {
	return &cobra.Command{
		Use:    engine.MonitorVerb,
		Short:  "Watch over an engine (used by berth itself)",
		Hidden: true,
		Args:   atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, err := a.manager()
			if err != nil {
				return err
			}
			return engine.RunMonitor(cmd.Context(), m, a.In, a.Out)
		},
	}
}

// sweepVerb deletes the data of engines that are gone, off their users' path.
func (a *app) sweepVerb() *cobra.Command {
	return &cobra.Command{
		Use:    engine.SweepVerb,
		Short:  "Delete the data of removed engines (used by berth itself)",
		Hidden: true,
		Args:   atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, err := a.manager()
			if err != nil {
				return err
			}
			return m.Sweep(cmd.Context(), false)
		},
	}
}

// guardVerb has an engine go on that was paused by a process that is no more.
func (a *app) guardVerb() *cobra.Command {
	return &cobra.Command{
		Use:    engine.GuardVerb + " ID",
		Short:  "Wait for the end of a pause of an engine (used by berth itself)",
		Hidden: true,
		Args:   exactly(1, "an engine's id"),
		RunE: func(_ *cobra.Command, args []string) error {
			m, err := a.manager()
			if err != nil {
				return err
			}
			return m.GuardPause(args[0], a.In)
		},
	}
}

// stepsVerb lists the steps at which tests inject crashes.
func (a *app) stepsVerb() *cobra.Command {
	return &cobra.Command{
		Use:    "_steps",
		Short:  "List the steps of an engine's life (used by tests)",
		Hidden: true,
		Args:   atMost(0),
		RunE: func(*cobra.Command, []string) error {
			for _, name := range engine.StepNames() {
				if _, err := fmt.Fprintln(a.Out, name); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
