package cli

import (
	"encoding/json"

	"github.com/spf13/cobra"
)

func (a *app) inspectVerb() *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:               "inspect NAME...",
		Short:             "Show everything about an engine as JSON",
		Example:           "  sudo berth inspect web | jq .oom_kills",
		Args:              atLeast(1, "the name or id of an engine"),
		ValidArgsFunction: a.completeAll,
		RunE: func(cmd *cobra.Command, args []string) error {
			es, err := a.open(a)
			if err != nil {
				return err
			}
			out := json.NewEncoder(a.Out)
			if !asJSON {
				out.SetIndent("", "  ")
			}
			for _, ref := range args {
				info, err := a.find(cmd.Context(), es, ref)
				if err != nil {
					return err
				}
				if err := out.Encode(viewOf(info)); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one object a line instead of indented")
	return cmd
}
