package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/command"
	"github.com/berth-dev/berth/internal/doctor"
	"github.com/berth-dev/berth/internal/network/probe"
	"github.com/berth-dev/berth/internal/payload"
	"github.com/berth-dev/berth/internal/state"
)

func (a *app) doctorVerb() *cobra.Command {
	asJSON, registry, trusted, registryCAs := false, "", &trustFlags{}, []string(nil)
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what this machine can do, what is missing, and how to mend it",
		Long: `Check whether this machine can run engines. Nothing is changed. The exit status is 0 when
an engine can run, else 125.`,
		Example: "  sudo berth doctor",
		Args:    atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var results []doctor.Result
			var err error
			if registry != "" {
				if results, err = examineRegistry(cmd.Context(), registry, trusted, registryCAs); err != nil {
					return usage(cmd, "%w", err)
				}
			} else if results, err = a.examine(cmd.Context()); err != nil {
				return err
			}
			if err := a.printDiagnosis(results, asJSON); err != nil {
				return err
			}
			if !doctor.Usable(results) {
				return withStatus(statusFailure)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a check, one a line")
	cmd.Flags().StringVar(&registry, "registry", "", "look at a registry instead: `HOST[:PORT]`")
	cmd.Flags().StringArrayVar(&trusted.cas, "ca", nil, "with --registry: "+caHelp)
	cmd.Flags().StringArrayVar(&registryCAs, "registry-ca", nil, "with --registry: "+registryCAHelp)
	return cmd
}

func (a *app) examine(ctx context.Context) ([]doctor.Result, error) {
	paths, err := state.FromEnv()
	if err != nil {
		return nil, err
	}
	user, err := command.Invoking()
	if err != nil {
		return nil, err
	}
	results := doctor.Examine(doctor.Gather(ctx, doctor.Sources{
		StateDir: paths.State,
		User:     user.Name,
		Payload:  func(ctx context.Context) (string, bool, error) { return lookAtPayload(ctx, paths) },
		Network:  lookAtNetwork,
	}))
	return append(results, a.lookAtDisk(ctx, paths)...), nil
}

// lookAtNetwork runs the network's own probes.
func lookAtNetwork(ctx context.Context) []doctor.Result {
	var out []doctor.Result
	for _, f := range probe.Run(ctx) {
		out = append(out, doctor.Result{Name: f.Name, Status: doctor.Status(f.Level), Detail: f.Detail, Remedy: f.Remedy})
	}
	return out
}

// lookAtPayload checks the payload on disk, without unpacking it for the first time.
func lookAtPayload(ctx context.Context, paths state.Paths) (about string, unpacked bool, err error) {
	p, err := payload.Embedded()
	if err != nil {
		return "", false, err
	}
	dir := filepath.Join(paths.Payload(), p.Digest())
	if _, err := os.Stat(dir); err != nil {
		return "built in; it is unpacked at first use", false, nil
	}
	if os.Geteuid() != 0 {
		return "unpacked to " + dir, true, nil
	}
	if _, err := p.Extract(ctx, paths.Payload(), nil); err != nil {
		return "", true, err
	}
	return "unpacked to " + dir + ", unchanged", true, nil
}

func (a *app) printDiagnosis(results []doctor.Result, asJSON bool) error {
	if asJSON {
		for _, r := range results {
			if err := a.printJSON(r); err != nil {
				return err
			}
		}
		return nil
	}
	colours := a.colours()
	w := a.table()
	for _, r := range results {
		fmt.Fprintf(w, "%s\t%s\t%s\n", colours[r.Status], r.Name, r.Detail)
		if r.Remedy != "" {
			fmt.Fprintf(w, "%s\t\t→ %s\n", colours[""], r.Remedy)
		}
	}
	return w.Flush()
}

// colours are the words for the outcomes, all equally wide, coloured on a terminal
// unless NO_COLOR is set (https://no-color.org).
func (a *app) colours() map[doctor.Status]string {
	words := map[doctor.Status]string{doctor.OK: "ok", doctor.Warn: "warn", doctor.Fail: "FAIL", "": ""}
	if os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" || !command.IsTerminal(a.Out) {
		return words
	}
	codes := map[doctor.Status]int{doctor.OK: 32, doctor.Warn: 33, doctor.Fail: 31, "": 39}
	for status, word := range words {
		words[status] = fmt.Sprintf("\x1b[%dm%s\x1b[0m", codes[status], word)
	}
	return words
}
