package cli

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/engine"
)

func (a *app) lsVerb() *cobra.Command {
	asJSON, quiet := false, false
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List engines",
		Example: "  sudo berth ls --json | jq -r .docker_host",
		Args:    atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON && quiet {
				return usage(cmd, "--json and --quiet exclude each other")
			}
			es, err := a.open(a)
			if err != nil {
				return err
			}
			all, err := es.List(cmd.Context())
			if err != nil {
				return err
			}
			switch {
			case asJSON:
				return a.listJSON(all)
			case quiet:
				return a.listIDs(all)
			}
			return a.listTable(all, time.Now())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print ids only")
	return cmd
}

func (a *app) listJSON(all []engine.Info) error {
	for _, info := range all {
		if err := a.printJSON(viewOf(info)); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) listIDs(all []engine.Info) error {
	for _, info := range all {
		if _, err := fmt.Fprintln(a.Out, info.ID); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) listTable(all []engine.Info, now time.Time) error {
	w := a.table()
	fmt.Fprintln(w, "ID\tNAME\tSTATUS\tISOLATION\tAGE\tMEMORY LIMIT")
	for _, info := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", info.ID, info.Name, info.Status,
			orDash(string(info.Spec.Isolation)), age(info.Created, now), memory(info.Spec.Limits.Memory))
	}
	return w.Flush()
}

// table aligns columns that are separated by tabs.
func (a *app) table() *tabwriter.Writer { return tabwriter.NewWriter(a.Out, 0, 0, 3, ' ', 0) }

func age(since, now time.Time) string {
	if since.IsZero() {
		return "-"
	}
	return strings.ToLower(units.HumanDuration(now.Sub(since)))
}

func memory(bytes int64) string {
	if bytes == 0 {
		return "-"
	}
	return units.BytesSize(float64(bytes))
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
