package cli

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"daos/server"
	"daos/server/config"
)

func newServe(_ *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "serve", Short: "Run a server", Args: cobra.NoArgs,
		Long: `Run a server with its data under one folder. It prints one line that begins with
"ready" when clients can come, logs on standard error, and ends on SIGTERM or
SIGINT after the calls under way; a second signal cuts them off.

Values come from flags, the environment (DAOS_...), a YAML file (--config, else
ROOT/daos.yaml) and defaults, in this order; daos config print shows them.`,
		Example: "  daos serve --root ~/daos\n  daos serve --root ~/daos --listen 127.0.0.1:7000 --targets 8",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(cmd.Flags(), os.LookupEnv)
			if err != nil {
				return err
			}
			// The server has its own handling of signals: the first drains.
			return server.Run(context.WithoutCancel(cmd.Context()), c)
		},
	}
	config.Flags(cmd.Flags())
	return cmd
}
