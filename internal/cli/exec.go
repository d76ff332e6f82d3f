package cli

import (
	"context"
	"os"

	"github.com/spf13/cobra"
)

func (a *app) execVerb() *cobra.Command {
	net, user, noCLI := "", "", false
	cmd := &cobra.Command{
		Use:   "exec [flags] NAME -- CMD [ARG...]",
		Short: "Run a command on this machine against an engine that runs",
		Long: `Run CMD on this machine, as ` + "`berth run`" + ` does, against an engine that ` + "`berth up`" + ` has started.
To run something inside the engine itself, see ` + "`berth shell`" + `.`,
		Example:           "  sudo berth exec web -- docker compose up -d",
		Args:              atLeast(2, "the name of an engine and a command"),
		ValidArgsFunction: a.completeFirst,
		RunE: func(cmd *cobra.Command, args []string) error {
			if net != "veth" && net != netHost {
				return usage(cmd, "--net %s: choose veth (the engine's network) or host", net)
			}
			as, err := identity(user)
			if err != nil {
				return usage(cmd, "--user: %w", err)
			}
			ref, argv := args[0], args[1:]
			if argv[0] == "--" {
				argv = argv[1:]
			}
			if len(argv) == 0 {
				return usage(cmd, "exec needs a command to run")
			}
			return a.execCommand(cmd.Context(), ref, call{as: as, args: argv, inside: net != netHost, docker: !noCLI})
		},
	}
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().StringVar(&net, "net", "veth", "network that CMD runs in: veth is the engine's, host is this machine's")
	cmd.Flags().StringVar(&user, "user", "", "user to run CMD as: `USER`, UID, USER:GROUP or UID:GID (default: who called berth or sudo)")
	cmd.Flags().BoolVar(&noCLI, "no-docker-cli", false, "do not put the bundled docker first on PATH")
	return cmd
}

// execCommand runs c against the engine ref names.
func (a *app) execCommand(ctx context.Context, ref string, c call) error {
	es, err := a.open(a)
	if err != nil {
		return err
	}
	info, err := a.findRunning(ctx, es, ref)
	if err != nil {
		return err
	}
	if err := c.find(ctx, es); err != nil {
		return err
	}
	var netns *os.File
	if c.inside {
		if netns, err = es.NetNS(ctx, info.ID); err != nil {
			return err
		}
		defer netns.Close()
	}
	signals := a.signals.Take()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	status, err := c.run(a.Streams, a.umask, info, netns, signals)
	if err != nil {
		return err
	}
	return withStatus(status)
}
