package cli

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/command"
)

func (a *app) envVerb() *cobra.Command {
	unset, asJSON := false, false
	cmd := &cobra.Command{
		Use:   "env NAME",
		Short: "Print shell commands that make docker use an engine",
		Example: `  eval "$(sudo berth env web)"
  eval "$(berth env --unset)"`,
		ValidArgsFunction: a.completeFirst,
		Args: func(cmd *cobra.Command, args []string) error {
			if unset {
				return atMost(0)(cmd, args)
			}
			return exactly(1, "the name or id of an engine")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if unset && asJSON {
				return usage(cmd, "--unset and --json exclude each other")
			}
			if unset {
				return a.unsetEnv()
			}
			es, err := a.open(a)
			if err != nil {
				return err
			}
			info, err := a.findRunning(cmd.Context(), es, args[0])
			if err != nil {
				return err
			}
			vars := [][2]string{{"DOCKER_HOST", info.DockerHost()}, {"BERTH_ENGINE", info.ID}}
			if info.Net != nil && info.Net.EngineIP.IsValid() {
				// Ports that containers publish are at the engine's address, seen from outside.
				vars = append(vars, [2]string{"TESTCONTAINERS_HOST_OVERRIDE", info.Net.EngineIP.String()})
			}
			if as, err := command.Invoking(); err == nil && os.Getenv("BUILDX_CONFIG") == "" {
				if dir := buildxDir(info, as); dir != "" {
					vars = append(vars, [2]string{"BUILDX_CONFIG", dir})
				}
			}
			if asJSON {
				return a.envJSON(vars)
			}
			return a.exportEnv(vars)
		},
	}
	cmd.Flags().BoolVar(&unset, "unset", false, "print what takes the variables away again")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func (a *app) exportEnv(vars [][2]string) error {
	var b strings.Builder
	for _, v := range vars {
		fmt.Fprintf(&b, "export %s=%s\n", v[0], shellQuote(v[1]))
	}
	fmt.Fprintf(&b, "unset %s\n", strings.Join(command.Misleading(), " "))
	_, err := a.Out.WriteString(b.String())
	return err
}

func (a *app) unsetEnv() error {
	_, err := fmt.Fprintln(a.Out, "unset DOCKER_HOST BERTH_ENGINE TESTCONTAINERS_HOST_OVERRIDE\n"+
		"case ${BUILDX_CONFIG-} in */engines/*/buildx) unset BUILDX_CONFIG;; esac")
	return err
}

func (a *app) envJSON(vars [][2]string) error {
	object := map[string]string{}
	for _, v := range vars {
		object[v[0]] = v[1]
	}
	return a.printJSON(object)
}

// shellQuote makes s one word of a POSIX shell.
func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
