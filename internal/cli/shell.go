package cli

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/command"
	"github.com/berth-dev/berth/internal/engine"
)

func (a *app) shellVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "shell NAME [-- CMD [ARG...]]",
		Short: "Open a shell inside an engine",
		Long: `Open a shell inside an engine's own namespaces, beside its dockerd, as the engine's root.
It sees what containers see of the host: nothing but what is shared.`,
		Example: `  sudo berth shell web
  sudo berth shell web -- ip address`,
		Args:              atLeast(1, "the name or id of an engine"),
		ValidArgsFunction: a.completeFirst,
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, argv := args[0], args[1:]
			if len(argv) > 0 && argv[0] == "--" {
				argv = argv[1:]
			}
			if len(argv) == 0 {
				argv = []string{"/bin/sh"}
			}
			es, err := a.open(a)
			if err != nil {
				return err
			}
			info, err := a.findRunning(cmd.Context(), es, ref)
			if err != nil {
				return err
			}
			status, err := es.Shell(cmd.Context(), info.ID, argv, command.IsTerminal(a.In))
			var notRun *engine.NotRunError
			if errors.As(err, &notRun) {
				return notRunStatus(notRun.Reason)
			}
			if err != nil {
				return err
			}
			return withStatus(status)
		},
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}

// notRunStatus is the status for what a runtime says of a command that it could not run.
func notRunStatus(reason string) error {
	says := func(texts ...string) bool {
		return slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(reason, text) })
	}
	switch {
	case says("executable file not found", "no such file or directory"):
		return statusError(command.StatusNotFound)
	case says("permission denied", "exec format error", "is a directory"):
		return statusError(command.StatusNotRunnable)
	}
	return statusError(statusFailure)
}
