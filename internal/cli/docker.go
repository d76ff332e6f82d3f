package cli

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/command"
	"github.com/berth-dev/berth/internal/engine"
)

// envEngine names the engine that `berth docker` uses when none is given.
const envEngine = "BERTH_ENGINE"

func (a *app) dockerVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "docker [--engine NAME] ARG...",
		Short: "Run the bundled docker CLI against an engine",
		Long: `Run the bundled docker CLI, with buildx and compose, against an engine. The engine is the
one --engine names, else BERTH_ENGINE, else the only one that runs. All flags after
--engine are docker's.`,
		Example: "  sudo berth docker --engine web run --rm hello-world",
		// docker's flags are not berth's to understand.
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, rest, err := splitDocker(cmd, args)
			if err != nil {
				return err
			}
			if rest == nil {
				return cmd.Help()
			}
			return a.docker(cmd.Context(), ref, rest)
		},
	}
	cmd.Flags().String("engine", "", "name or id of the engine") // for the help text
	return cmd
}

// splitDocker takes berth's own flag from the front. rest is nil when help is wanted.
func splitDocker(cmd *cobra.Command, args []string) (ref string, rest []string, err error) {
	switch {
	case len(args) == 0:
		return "", nil, usage(cmd, "docker needs arguments for docker")
	case args[0] == "--help" || args[0] == "-h":
		return "", nil, nil
	case args[0] == "--engine" && len(args) > 1:
		ref, rest = args[1], args[2:]
	case args[0] == "--engine":
		return "", nil, usage(cmd, "--engine needs the name or id of an engine")
	case strings.HasPrefix(args[0], "--engine="):
		ref, rest = strings.TrimPrefix(args[0], "--engine="), args[1:]
	default:
		return os.Getenv(envEngine), args, nil
	}
	if len(rest) == 0 || ref == "" {
		return "", nil, usage(cmd, "--engine needs the name of an engine and arguments for docker")
	}
	return ref, rest, nil
}

func (a *app) docker(ctx context.Context, ref string, args []string) error {
	as, err := command.Invoking()
	if err != nil {
		return err
	}
	if ref == "" {
		es, err := a.open(a)
		if err != nil {
			return err
		}
		if ref, err = onlyRunning(ctx, es); err != nil {
			return err
		}
	}
	return a.execCommand(ctx, ref, call{as: as, args: append([]string{"docker"}, args...), docker: true})
}

// onlyRunning returns the id of the engine that runs, if it is the only one.
func onlyRunning(ctx context.Context, es engines) (string, error) {
	all, err := es.List(ctx)
	if err != nil {
		return "", err
	}
	var ids, names []string
	for _, info := range all {
		if info.Status == engine.StatusRunning {
			ids, names = append(ids, info.ID), append(names, info.Name)
		}
	}
	switch len(ids) {
	case 1:
		return ids[0], nil
	case 0:
		return "", fmt.Errorf("no engine is running; start one with `berth up`")
	}
	return "", fmt.Errorf("%d engines are running (%s); choose one with --engine or %s", len(ids), strings.Join(names, ", "), envEngine)
}
