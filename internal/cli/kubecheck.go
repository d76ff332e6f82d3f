package cli

import (
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/boot"
	"github.com/berth-dev/berth/internal/doctor"
	"github.com/berth-dev/berth/internal/kube"
)

// isolations are what `berth init` does in a pod of a level.
var isolations = map[kube.Level]boot.Isolation{
	kube.Unprivileged: boot.None, kube.UserNS: boot.UserNS, kube.Rootful: boot.Rootful,
}

// advice is what an administrator would change for a better level than the one that works.
var advice = map[kube.Level]string{
	kube.UserNS:  "set the nodes up for the level unprivileged, which needs no privileged pods: `berth kube node-setup`",
	kube.Rootful: "use the level userns, which needs nothing more from the cluster",
}

func (a *app) kubeCheckVerb() *cobra.Command {
	level, asJSON := "", false
	cmd := &cobra.Command{
		Use:   "check --level LEVEL",
		Short: "In a pod: say whether an engine of a level can run there",
		Long: `In a pod of berth's image (those of ` + "`berth kube doctor`" + `): start an engine as a pod of the level has
it, say how that went and what would have to be changed, and end it. The exit status is 0 when
an engine can run, else 125.`,
		Example: "  berth kube check --level userns",
		Args:    atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			isolation, ok := isolations[kube.Level(level)]
			if !ok {
				return usage(cmd, "--level %q; choose %v", level, kube.Levels())
			}
			verb := append([]string{"kube", "check"}, "--level="+level)
			if asJSON {
				verb = append(verb, "--json")
			}
			results, err := boot.Try(cmd.Context(), boot.Config{Environ: os.Environ(), Out: a.Err, Log: a.log()}, isolation, verb)
			if err != nil {
				return err
			}
			failed := slices.ContainsFunc(results, func(r doctor.Result) bool { return r.Status == doctor.Fail })
			if better := advice[kube.Level(level)]; better != "" && !failed {
				results = append(results, doctor.Result{Name: "better", Status: doctor.OK, Detail: "the level " + level + " works here", Remedy: better})
			}
			if err := a.printDiagnosis(results, asJSON); err != nil {
				return err
			}
			if failed {
				return withStatus(statusFailure)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&level, "level", "", "unprivileged, userns or rootful")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a finding, one a line")
	return cmd
}
