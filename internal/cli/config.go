package cli

import (
	"io"
	"os"

	"github.com/spf13/cobra"

	"daos/server/config"
)

func newConfig(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "The configuration of a server"}
	show := &cobra.Command{
		Use: "print", Short: "Print every key, its effective value and where it came from", Args: cobra.NoArgs,
		Long: `Print every key of the configuration, the value that daos serve with the same
flags would use, and where it came from: a flag, the environment (DAOS_...), the
file, or the default. docs/configuration.md explains the keys.`,
		Example: "  daos config print\n  daos config print --root ~/daos --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(cmd.Flags(), os.LookupEnv)
			if err != nil {
				return err
			}
			return a.print(c.Settings, func() error {
				_, err := io.WriteString(a.out, config.Print(c.Settings))
				return err
			})
		},
	}
	config.Flags(show.Flags())
	cmd.AddCommand(show)
	return cmd
}
