package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/config"
)

func (a *app) configVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "config",
		Short:   "Look after the configuration file",
		Example: "  berth config check",
		Args:    unknownCommand,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.configCheckVerb())
	return cmd
}

func (a *app) configCheckVerb() *cobra.Command {
	return &cobra.Command{
		Use:   "check [FILE]",
		Short: "Say whether a configuration file is right",
		Long: `Read the configuration file, $BERTH_CONFIG or ` + config.Default + `, or FILE, and every file that it
names. The exit status is 0 when they can be used.`,
		Example: "  berth config check ./berth.toml",
		Args:    atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := ""
			if len(args) == 1 {
				path = args[0]
			}
			file, err := readConfig(path)
			if err != nil {
				return err
			}
			if file.Path == "" {
				_, err := fmt.Fprintf(a.Out, "there is no %s; berth's defaults hold\n", config.Default)
				return err
			}
			m := &mirrorFlags{Mirror: file.Mirror}
			if _, err := m.config(file); err != nil {
				return fmt.Errorf("%s: %w", file.Path, err)
			}
			_, err = fmt.Fprintf(a.Out, "%s is right\n", file.Path)
			return err
		},
	}
}
