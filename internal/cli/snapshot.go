package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/engine"
	"github.com/berth-dev/berth/internal/snapshot"
)

func (a *app) snapshotVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "snapshot",
		Short: "Engines that already have their images",
		Long: `A snapshot is what an engine holds, frozen: images, build cache, volumes. An engine that is
started from one (` + "`berth run --from NAME`" + `) has it all at once, as a copy of its own that
costs next to nothing.`,
		Example: `  sudo berth snapshot create ci --pull postgres:17 --pull node:24
  sudo berth run --from ci -- docker compose up --abort-on-container-exit`,
		Args: unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.snapshotCreateVerb(), a.snapshotLsVerb(), a.snapshotInspectVerb(), a.snapshotVerifyVerb(), a.snapshotRmVerb())
	cmd.AddCommand(a.snapshotExportVerb(), a.snapshotImportVerb(), a.snapshotPushVerb(), a.snapshotPullVerb())
	return cmd
}

// forkFlags are the flags of verbs that start engines.
func (f *engineFlags) registerFork(a *app, cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.from, "from", "", "snapshot that the engine starts as a copy of: `NAME` or NAME@VERSION")
	cmd.Flags().BoolVar(&f.noVolumes, "no-volumes", false, "leave the snapshot's volumes out")
	_ = cmd.RegisterFlagCompletionFunc("from", a.completeSnapshots)
}

func (f *engineFlags) parseFork(spec *engine.Spec) error {
	spec.From, spec.NoVolumes = f.from, f.noVolumes
	if f.from == "" {
		return nil
	}
	if _, err := snapshot.ParseRef(f.from); err != nil {
		return fmt.Errorf("--from: %w", err)
	}
	return nil
}

func (a *app) snapshotLsVerb() *cobra.Command {
	asJSON, quiet := false, false
	cmd := &cobra.Command{
		Use:     "ls [NAME]",
		Aliases: []string{"list"},
		Short:   "List snapshots",
		Example: "  sudo berth snapshot ls --json | jq -r .name",
		Args:    atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if asJSON && quiet {
				return usage(cmd, "--json and --quiet exclude each other")
			}
			m, err := a.manager()
			if err != nil {
				return err
			}
			all, err := m.Snapshots().List(cmd.Context())
			if err != nil {
				return err
			}
			if len(args) == 1 {
				all = slices.DeleteFunc(all, func(m snapshot.Manifest) bool { return m.Name != args[0] })
			}
			switch {
			case asJSON:
				return a.snapshotsJSON(all)
			case quiet:
				return a.snapshotsQuiet(all)
			}
			return a.snapshotsTable(all, time.Now())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print NAME@VERSION only")
	return cmd
}

func (a *app) snapshotsJSON(all []snapshot.Manifest) error {
	for _, m := range all {
		if err := a.printJSON(m); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) snapshotsQuiet(all []snapshot.Manifest) error {
	for _, m := range all {
		if _, err := fmt.Fprintln(a.Out, m.Ref()); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) snapshotsTable(all []snapshot.Manifest, now time.Time) error {
	w := a.table()
	fmt.Fprintln(w, "NAME\tVERSION\tIMAGES\tVOLUMES\tSIZE\tAGE\tBUILT ON")
	for _, m := range all {
		var bases []string
		for _, b := range m.Bases {
			bases = append(bases, b.Snapshot)
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\t%s\t%s\n", m.Name, m.Version, len(m.Images), len(m.Volumes),
			units.BytesSize(float64(m.Size.Layers+m.Size.Blobs+m.Size.Metadata)), age(m.Created, now), orDash(strings.Join(bases, " ")))
	}
	return w.Flush()
}

func (a *app) snapshotInspectVerb() *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:               "inspect NAME[@VERSION]...",
		Short:             "Show what is in a snapshot as JSON",
		Example:           "  sudo berth snapshot inspect ci | jq -r '.images[].name'",
		Args:              atLeast(1, "the name of a snapshot"),
		ValidArgsFunction: a.completeSnapshots,
		RunE: func(cmd *cobra.Command, args []string) error {
			out := json.NewEncoder(a.Out)
			if !asJSON {
				out.SetIndent("", "  ")
			}
			return a.eachSnapshot(cmd, args, func(_ *engine.Manager, m *snapshot.Manifest) error { return out.Encode(m) })
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one object a line instead of indented")
	return cmd
}

func (a *app) snapshotVerifyVerb() *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "verify NAME[@VERSION]...",
		Short: "Check that a snapshot is as it was made",
		Long: `Compare snapshots with their manifests: image data by its contents, layers and databases by
names, owners, modes, sizes, times and attributes.`,
		Example:           "  sudo berth snapshot verify ci\n  sudo berth snapshot verify --json ci | jq -r '.problems[]'",
		Args:              atLeast(1, "the name of a snapshot"),
		ValidArgsFunction: a.completeSnapshots,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.eachSnapshot(cmd, args, func(e *engine.Manager, m *snapshot.Manifest) error {
				return a.printVerified(m.Ref(), e.Snapshots().Verify(cmd.Context(), m), asJSON)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a snapshot, one a line, for damaged ones too")
	return cmd
}

// verified is what --json prints of a snapshot that was looked at.
type verified struct {
	Snapshot string   `json:"snapshot"`
	OK       bool     `json:"ok"`
	Problems []string `json:"problems"`
}

// printVerified prints what came of looking at a snapshot, and returns err.
func (a *app) printVerified(ref snapshot.Ref, err error, asJSON bool) error {
	var damaged *snapshot.DamagedError
	switch {
	case asJSON && err == nil:
		return a.printJSON(verified{ref.String(), true, []string{}})
	case asJSON && errors.As(err, &damaged):
		return errors.Join(err, a.printJSON(verified{ref.String(), false, damaged.Problems}))
	case err == nil:
		_, err = fmt.Fprintln(a.Out, ref)
	}
	return err
}

// eachSnapshot does one thing with every snapshot named, and goes on after an error.
func (a *app) eachSnapshot(cmd *cobra.Command, refs []string, do func(*engine.Manager, *snapshot.Manifest) error) error {
	parsed, err := parseRefs(cmd, refs)
	if err != nil {
		return err
	}
	e, err := a.manager()
	if err != nil {
		return err
	}
	var errs []error
	for _, ref := range parsed {
		m, err := e.Snapshots().Find(ref)
		if err == nil {
			err = do(e, m)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func parseRefs(cmd *cobra.Command, refs []string) ([]snapshot.Ref, error) {
	var out []snapshot.Ref
	for _, r := range refs {
		ref, err := snapshot.ParseRef(r)
		if err != nil {
			return nil, usage(cmd, "%w", err)
		}
		out = append(out, ref)
	}
	return out, nil
}

func (a *app) snapshotRmVerb() *cobra.Command {
	force, asJSON := false, false
	cmd := &cobra.Command{
		Annotations: map[string]string{whenInterrupted: sayAgain},
		Use:         "rm NAME[@VERSION]...",
		Short:       "Remove snapshots",
		Long: `Remove one version of a snapshot, or all of them. A snapshot that an engine was started from,
or another snapshot builds on, is not removed.`,
		Example:           "  sudo berth snapshot rm ci@3",
		Args:              atLeast(1, "the name of a snapshot"),
		ValidArgsFunction: a.completeSnapshots,
		RunE: func(cmd *cobra.Command, args []string) error {
			refs, err := parseRefs(cmd, args)
			if err != nil {
				return err
			}
			m, err := a.manager()
			if err != nil {
				return err
			}
			return a.removeSnapshots(cmd.Context(), m, refs, force, asJSON)
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "do not mind a snapshot that does not exist")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a version that was removed, one a line")
	return cmd
}

// removed is what --json prints of a version that was removed.
type removed struct {
	Snapshot string `json:"snapshot"`
}

// removeSnapshots removes them in an order that is possible: one that another of them builds
// on goes after that.
func (a *app) removeSnapshots(ctx context.Context, m *engine.Manager, refs []snapshot.Ref, force, asJSON bool) error {
	for {
		var errs []error
		var left []snapshot.Ref
		for _, ref := range refs {
			gone, err := m.RemoveSnapshot(ctx, ref)
			if force && errors.Is(err, snapshot.ErrNotFound) {
				err = nil
			}
			if err != nil {
				left, errs = append(left, ref), append(errs, err)
			}
			if err := a.printRemoved(gone, asJSON); err != nil {
				return err
			}
		}
		if len(left) == 0 || len(left) == len(refs) {
			return errors.Join(errs...)
		}
		refs = left
	}
}

func (a *app) printRemoved(refs []snapshot.Ref, asJSON bool) error {
	for _, ref := range refs {
		var err error
		if asJSON {
			err = a.printJSON(removed{ref.String()})
		} else {
			_, err = fmt.Fprintln(a.Out, ref)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *app) completeSnapshots(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	m, err := a.manager()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, err := m.Snapshots().List(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, s := range all {
		names = append(names, s.Name, s.Ref().String())
	}
	return slices.Compact(names), cobra.ShellCompDirectiveNoFileComp
}
