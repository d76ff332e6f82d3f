package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/engine"
)

// gcFlags say what may go that is not garbage.
type gcFlags struct {
	snapshots, engines, keepFree string
	asJSON                       bool
}

func (a *app) gcVerb() *cobra.Command {
	f := &gcFlags{}
	cmd := &cobra.Command{
		Annotations: map[string]string{whenInterrupted: sayAgain},
		Use:         "gc",
		Short:       "Remove what killed processes left behind, and what a policy says",
		Long: `Remove what is left of engines whose monitor was killed and the payloads of other versions of
berth that no engine needs, and wait until the data of removed engines is off the disk. An
engine of berth up is kept: it is stopped then. Every command that changes something does
the first by itself.

With a policy, versions of snapshots go by age, or the oldest first until enough is free, and
stopped engines by age. Running engines, what they need, and the latest version of each
snapshot always stay. Layers that other versions need stay as well.`,
		Example: `  sudo berth gc
  sudo berth gc --snapshots-older-than 7d --engines-older-than 30d --keep-free 50g`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			policy, err := f.policy()
			if err != nil {
				return usage(cmd, "%w", err)
			}
			return a.gc(cmd, policy, f.asJSON)
		},
	}
	cmd.Flags().StringVar(&f.snapshots, "snapshots-older-than", "", "remove versions of snapshots made longer ago than `AGE`, such as 36h or 7d")
	cmd.Flags().StringVar(&f.engines, "engines-older-than", "", "remove engines that were stopped longer ago than `AGE`")
	cmd.Flags().StringVar(&f.keepFree, "keep-free", "", "remove versions of snapshots, the oldest first, until `SIZE` is free, such as 50g")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print one JSON object")
	return cmd
}

// collected is what --json prints.
type collected struct {
	engine.Collected
	*engine.Trimmed
}

func (a *app) gc(cmd *cobra.Command, policy engine.Policy, asJSON bool) error {
	es, err := a.open(a)
	if err != nil {
		return err
	}
	got := collected{}
	if got.Collected, err = es.GC(cmd.Context()); err != nil {
		return err
	}
	var trimErr error
	if policy != (engine.Policy{}) {
		m, err := a.manager()
		if err != nil {
			return err
		}
		var t engine.Trimmed
		t, trimErr = m.Trim(cmd.Context(), policy, time.Now())
		got.Trimmed = &t
	}
	if asJSON {
		err = a.printJSON(got)
	} else {
		err = a.printCollected(got)
	}
	if trimErr != nil {
		return trimErr
	}
	return err
}

func (a *app) printCollected(got collected) error {
	lists := []struct {
		what  string
		names []string
	}{{"engine", got.Engines}, {"payload", got.Payloads}}
	if t := got.Trimmed; t != nil {
		lists = append(lists, struct {
			what  string
			names []string
		}{"stopped engine", t.Stopped}, struct {
			what  string
			names []string
		}{"snapshot", t.Snapshots})
	}
	for _, name := range got.Kept {
		if _, err := fmt.Fprintf(a.Out, "engine %s is stopped now\n", name); err != nil {
			return err
		}
	}
	for _, l := range lists {
		for _, name := range l.names {
			if _, err := fmt.Fprintf(a.Out, "removed %s %s\n", l.what, name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *gcFlags) policy() (p engine.Policy, err error) {
	if p.Snapshots, err = parseAge(f.snapshots); err != nil {
		return p, fmt.Errorf("--snapshots-older-than %s: %w", f.snapshots, err)
	}
	if p.Engines, err = parseAge(f.engines); err != nil {
		return p, fmt.Errorf("--engines-older-than %s: %w", f.engines, err)
	}
	if f.keepFree != "" {
		if p.KeepFree, err = units.RAMInBytes(f.keepFree); err != nil || p.KeepFree <= 0 {
			return p, fmt.Errorf("--keep-free %s: not a size; give a number with b, k, m, g or t, such as 50g", f.keepFree)
		}
	}
	return p, nil
}

// parseAge understands Go's durations, and days; empty is none.
func parseAge(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n int
		n, err = strconv.Atoi(days)
		d = time.Duration(n) * 24 * time.Hour
		if int(d/(24*time.Hour)) != n {
			err = strconv.ErrRange
		}
	}
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("not an age; give one such as 90m, 36h or 7d")
	}
	return d, nil
}
