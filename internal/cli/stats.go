package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/cgroup"
	"github.com/berth-dev/berth/internal/engine"
)

// statsInterval is how often --follow reads the figures.
const statsInterval = time.Second

// figures are one engine's at one moment.
type figures struct {
	ID   string    `json:"id"`
	Name string    `json:"name"`
	Time time.Time `json:"time"`
	cgroup.Stats
}

func (a *app) statsVerb() *cobra.Command {
	asJSON, follow := false, false
	cmd := &cobra.Command{
		Use:               "stats [NAME...]",
		Short:             "Show what engines use: dockerd and all containers together",
		Example:           "  sudo berth stats --json web",
		ValidArgsFunction: a.completeAll,
		RunE: func(cmd *cobra.Command, args []string) error {
			es, err := a.open(a)
			if err != nil {
				return err
			}
			for {
				all, err := a.figures(cmd.Context(), es, args)
				if err == nil {
					err = a.printStats(all, asJSON)
				}
				if err != nil || !follow {
					return err
				}
				select {
				case <-cmd.Context().Done():
					return context.Cause(cmd.Context())
				case <-time.After(statsInterval):
				}
			}
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "print them again every second")
	return cmd
}

// figures reads those of the engines named, or of all that run.
func (a *app) figures(ctx context.Context, es engines, refs []string) ([]figures, error) {
	infos, err := a.chosen(ctx, es, refs)
	if err != nil {
		return nil, err
	}
	var out []figures
	for _, info := range infos {
		s, err := es.Stats(ctx, info.ID)
		if err != nil {
			return nil, err
		}
		out = append(out, figures{info.ID, info.Name, time.Now().UTC(), s})
	}
	return out, nil
}

func (a *app) chosen(ctx context.Context, es engines, refs []string) ([]engine.Info, error) {
	var out []engine.Info
	for _, ref := range refs {
		info, err := a.findRunning(ctx, es, ref)
		if err != nil {
			return nil, err
		}
		out = append(out, info)
	}
	if len(refs) > 0 {
		return out, nil
	}
	all, err := es.List(ctx)
	for _, info := range all {
		if info.Status == engine.StatusRunning {
			out = append(out, info)
		}
	}
	return out, err
}

func (a *app) printStats(all []figures, asJSON bool) error {
	if asJSON {
		for _, f := range all {
			if err := a.printJSON(f); err != nil {
				return err
			}
		}
		return nil
	}
	w := a.table()
	fmt.Fprintln(w, "NAME\tMEMORY\tPEAK\tLIMIT\tCPU TIME\tTHROTTLED\tPIDS\tLIMIT\tWAITING CPU/MEMORY/IO")
	for _, f := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", f.Name,
			units.BytesSize(float64(f.Memory)), memory(int64(f.MemoryPeak)), memory(int64(f.MemoryLimit)),
			f.CPU.Round(time.Millisecond), f.Throttled.Round(time.Millisecond), f.PIDs, count(f.PIDsLimit), pressure(f.Pressure))
	}
	return w.Flush()
}

// pressure shows the share of the last ten seconds that something waited.
func pressure(p *cgroup.Pressure) string {
	if p == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f%% / %.1f%% / %.1f%%", p.CPU, p.Memory, p.IO)
}

func count(n uint64) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}
