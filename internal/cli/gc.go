package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) gcVerb() *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Remove what killed processes left behind",
		Long: `Remove the engines whose monitor was killed and the payloads of other versions of berth that
no engine needs, and wait until the data of removed engines is off the disk. Every command
that changes something does the first by itself.`,
		Example: "  sudo berth gc",
		Args:    atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			es, err := a.open(a)
			if err != nil {
				return err
			}
			got, err := es.GC(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(got)
			}
			for _, id := range got.Engines {
				if _, err := fmt.Fprintf(a.Out, "removed engine %s\n", id); err != nil {
					return err
				}
			}
			for _, digest := range got.Payloads {
				if _, err := fmt.Fprintf(a.Out, "removed payload %s\n", digest); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}
