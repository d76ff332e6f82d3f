package cli

import (
	"fmt"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/engine"
)

func (a *app) diskVerb() *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "disk",
		Short: "Show what engines, snapshots and the mirror take on disk",
		Long: `Show what engines, snapshots, the mirror and what is being deleted take on disk. OWN is what
would be free without the one; SHARED is what others need as well; LIMIT is an engine's --disk,
held by a project quota (quota) or a file system in a file (loop).`,
		Example: "  sudo berth disk\n  sudo berth disk --json | jq .total",
		Args:    atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, err := a.manager()
			if err != nil {
				return err
			}
			r, err := m.Disk(cmd.Context())
			if err != nil {
				return fmt.Errorf("look at the disk: %w", err)
			}
			if asJSON {
				return a.printJSON(r)
			}
			return a.diskTable(r)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func (a *app) diskTable(r engine.DiskReport) error {
	size := func(n int64) string { return units.BytesSize(float64(n)) }
	w := a.table()
	fmt.Fprintln(w, "KIND\tNAME\tSTATUS\tOWN\tSHARED\tLIMIT")
	for _, u := range r.Uses {
		limit := "-"
		if u.Limit > 0 {
			limit = size(u.Limit)
		}
		if u.LimitBy != "" {
			limit += " (" + u.LimitBy + ")"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", u.Kind, orDash(u.Name), orDash(string(u.Status)), size(u.Own), size(u.Shared), limit)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.Out, "%s in all; %s of %s free on %s\n", size(r.Total), size(r.Free), size(r.Size), r.Dir)
	return err
}
