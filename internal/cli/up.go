package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/engine"
)

func (a *app) upVerb() *cobra.Command {
	f := &engineFlags{}
	asJSON, pidFile := false, ""
	cmd := &cobra.Command{
		Use:   "up [NAME]",
		Short: "Start an engine and keep it",
		Long: `Start an engine, wait until it can be used, and say how to reach it. It runs until
` + "`berth stop`, which keeps its images and containers, or `berth rm`" + `.`,
		Example: `  sudo berth up web && eval "$(sudo berth env web)"`,
		Args:    atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				f.name = args[0]
			}
			if f.net == netHost {
				return usage(cmd, "--net host is for a command; choose veth or none")
			}
			return a.up(cmd, f, pidFile, asJSON)
		},
	}
	f.registerFork(a, cmd)
	f.register(cmd, "network of the engine: veth or none")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	registerPIDFile(cmd, &pidFile)
	return cmd
}

func (a *app) up(cmd *cobra.Command, f *engineFlags, pidFile string, asJSON bool) error {
	ctx := cmd.Context()
	r, err := a.request(cmd, f)
	if err != nil {
		return err
	}
	es, err := a.open(a)
	if err != nil {
		return err
	}
	if _, err := es.Tree(ctx); err != nil { // here, where the progress can be shown
		return err
	}
	r.spec.Keep = true
	info, err := withPIDFile(pidFile, func() (engine.Info, error) { return es.StartDetached(ctx, r.spec) })
	if err != nil {
		return explain(cmd, err)
	}
	return a.printUp(info, asJSON)
}

// printUp says how to reach an engine that has just become ready.
func (a *app) printUp(info engine.Info, asJSON bool) error {
	if asJSON {
		return a.printJSON(viewOf(info))
	}
	_, err := fmt.Fprintf(a.Out, `Engine %[1]s is ready.
  export DOCKER_HOST=%[2]s
  sudo berth docker --engine %[1]s ps    # without a docker of your own
  sudo berth rm %[1]s                    # when it is no longer needed
`, info.Name, info.DockerHost())
	return err
}
