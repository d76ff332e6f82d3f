package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/engine"
	"github.com/berth-dev/berth/internal/snapshot"
	"github.com/berth-dev/berth/internal/snapshot/artifact"
	"github.com/berth-dev/berth/internal/state"
)

func (a *app) snapshotExportVerb() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "export -o FILE NAME[@VERSION]...",
		Short: "Write snapshots to an archive",
		Long: `Write snapshots, with everything they build on, to one OCI archive. What several of them have
in common is in it once.`,
		Example:           "  sudo berth snapshot export -o ci.tar ci\n  sudo berth snapshot export -o - ci | ssh build2 sudo berth snapshot import -",
		Args:              atLeast(1, "the name of a snapshot"),
		ValidArgsFunction: a.completeSnapshots,
		RunE: func(cmd *cobra.Command, args []string) error {
			if out == "" {
				return usage(cmd, "-o FILE is missing; use -o - for standard output")
			}
			refs, err := parseRefs(cmd, args)
			if err != nil {
				return err
			}
			m, err := a.manager()
			if err != nil {
				return err
			}
			return a.exportSnapshots(cmd.Context(), m.Snapshots(), refs, out)
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "`FILE` to write, or - for standard output")
	return cmd
}

func (a *app) exportSnapshots(ctx context.Context, s *snapshot.Store, refs []snapshot.Ref, out string) error {
	var all []artifact.Named
	for _, ref := range refs {
		o, err := s.Export(ctx, ref)
		if err != nil {
			return err
		}
		defer o.Close()
		all = append(all, artifact.Named{Name: o.Ref.String(), Artifact: o.Artifact})
	}
	write := func(w io.Writer) error { return artifact.WriteArchive(ctx, w, all) }
	if out == "-" {
		_, err := abandoned(ctx, func() (struct{}, error) { return struct{}{}, write(a.Out) })
		return err
	}
	return writeWhole(ctx, out, 0o600, write) // volumes are in it
}

func (a *app) snapshotImportVerb() *cobra.Command {
	var isolation string
	asJSON := false
	cmd := &cobra.Command{
		Use:   "import FILE [NAME]",
		Short: "Make snapshots from an archive",
		Long: `Make snapshots from an archive that berth snapshot export has written; - is standard input.
Each becomes the next version of the name it had, or of NAME. Layers that a snapshot here has
already are shared with it.`,
		Example: "  sudo berth snapshot import ci.tar\n  sudo berth snapshot import ci.tar nightly",
		Args:    between(1, 2, "an archive"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkImport(cmd, args[1:], isolation); err != nil {
				return err
			}
			m, err := a.manager()
			if err != nil {
				return err
			}
			f, err := a.openArchive(cmd.Context(), m, args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			all, err := artifact.OpenArchive(cmd.Context(), f)
			if err != nil {
				return err
			}
			return a.importAll(cmd, m, all, append(args, "")[1], engine.Isolation(isolation), asJSON)
		},
	}
	registerImport(cmd, &isolation, &asJSON)
	return cmd
}

func registerImport(cmd *cobra.Command, isolation *string, asJSON *bool) {
	cmd.Flags().StringVar(isolation, "isolation", "", "engines it is for: userns or rootful (default: as it was made)")
	cmd.Flags().BoolVar(asJSON, "json", false, "print each snapshot as one JSON object")
	_ = cmd.RegisterFlagCompletionFunc("isolation", cobra.FixedCompletions([]string{"userns", "rootful"}, cobra.ShellCompDirectiveNoFileComp))
}

func checkImport(cmd *cobra.Command, name []string, isolation string) error {
	if len(name) > 0 && !state.NamePattern().MatchString(name[0]) {
		return usage(cmd, "name %q: use at most 63 of a-z 0-9 _ . - and begin with a letter or digit", name[0])
	}
	if isolation != "" && !slices.Contains([]string{snapshot.IsolationUserNS, snapshot.IsolationRootful}, isolation) {
		return usage(cmd, "--isolation %s: choose userns or rootful", isolation)
	}
	return nil
}

// openArchive opens a file, or writes what comes by a pipe to one that has no name.
func (a *app) openArchive(ctx context.Context, m *engine.Manager, path string) (*os.File, error) {
	return abandoned(ctx, func() (*os.File, error) {
		f := a.In
		if path != "-" {
			var err error
			if f, err = os.Open(path); err != nil {
				return nil, err
			}
		}
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			return f, nil
		}
		defer f.Close()
		return m.Snapshots().Spool(f)
	})
}

// abandoned does what may wait for the other end of a pipe, for ever. When ctx ends, it is left
// alone, for nothing but the end of this process would end it.
func abandoned[T any](ctx context.Context, do func() (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	done := make(chan outcome, 1)
	go func() {
		value, err := do()
		done <- outcome{value, err}
	}()
	select {
	case o := <-done:
		return o.value, o.err
	case <-ctx.Done():
		return *new(T), ctx.Err()
	}
}

func (a *app) importAll(cmd *cobra.Command, m *engine.Manager, all []*artifact.Incoming, name string, isolation engine.Isolation, asJSON bool) error {
	for i, in := range all {
		as := name
		if as == "" {
			as, _, _ = strings.Cut(in.Name, "@")
		}
		if !state.NamePattern().MatchString(as) {
			return fmt.Errorf("snapshot %d of %d has no name that could be used; say `berth snapshot import FILE NAME`", i+1, len(all))
		}
		got, err := m.ImportSnapshot(cmd.Context(), in, as, isolation, a.transferProgress("fetching "+as))
		if err != nil {
			return err
		}
		if err := a.printSnapshot(got, asJSON); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) snapshotPushVerb() *cobra.Command {
	f := &registryFlags{}
	asJSON := false
	cmd := &cobra.Command{
		Use:   "push NAME[@VERSION] REF",
		Short: "Send a snapshot to a registry",
		Long: `Send a snapshot, with everything it builds on, to a registry, as an OCI artifact. Only what the
repository does not have moves, so a push that was cut off goes on when it is repeated.
Credentials are those of docker login, of the user who called berth.`,
		Example:           "  sudo berth snapshot push ci registry.example/ci/cache:main",
		Args:              exactly(2, "a snapshot and a reference"),
		ValidArgsFunction: a.completeSnapshots,
		RunE: func(cmd *cobra.Command, args []string) error {
			refs, err := parseRefs(cmd, args[:1])
			if err != nil {
				return err
			}
			r, to, err := f.registry(cmd, args[1])
			if err != nil {
				return err
			}
			m, err := a.manager()
			if err != nil {
				return err
			}
			o, err := m.Snapshots().Export(cmd.Context(), refs[0])
			if err != nil {
				return err
			}
			defer o.Close()
			r.Progress = a.transferProgress("pushing " + o.Ref.String())
			if err := r.Push(cmd.Context(), to, o.Artifact); err != nil {
				return untrusted(to, err)
			}
			if asJSON {
				return a.printJSON(pushed{o.Ref.String(), to.Name(), o.Descriptor.Digest.String()})
			}
			_, err = fmt.Fprintf(a.Out, "%s@%s\n", to.Context().Name(), o.Descriptor.Digest)
			return err
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// pushed is what --json prints of a push.
type pushed struct {
	Snapshot  string `json:"snapshot"`
	Reference string `json:"reference"`
	Digest    string `json:"digest"`
}

func (a *app) snapshotPullVerb() *cobra.Command {
	f := &registryFlags{}
	var isolation string
	asJSON := false
	cmd := &cobra.Command{
		Use:   "pull REF [NAME]",
		Short: "Get a snapshot from a registry",
		Long: `Get a snapshot that berth snapshot push has sent to a registry. It becomes the next version of
NAME, or of the last part of the repository's name. Only what no snapshot here has is
fetched; a pull that was cut off goes on where it was when it is repeated.`,
		Example: "  sudo berth snapshot pull registry.example/ci/cache:main ci",
		Args:    between(1, 2, "a reference"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkImport(cmd, args[1:], isolation); err != nil {
				return err
			}
			r, from, err := f.registry(cmd, args[0])
			if err != nil {
				return err
			}
			m, err := a.manager()
			if err != nil {
				return err
			}
			in, err := r.Pull(cmd.Context(), from)
			if err != nil {
				return untrusted(from, err)
			}
			repo := from.Context().RepositoryStr()
			in.Name = repo[strings.LastIndexByte(repo, '/')+1:]
			return a.importAll(cmd, m, []*artifact.Incoming{in}, append(args, "")[1], engine.Isolation(isolation), asJSON)
		},
	}
	f.register(cmd)
	registerImport(cmd, &isolation, &asJSON)
	return cmd
}
