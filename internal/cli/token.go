package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"daos/internal/client"
	"daos/internal/fault"
)

func newToken(a *app) *cobra.Command {
	var where bool
	cmd := &cobra.Command{
		Use: "token", Short: "Print the token of the server, or where it is kept", Args: cobra.NoArgs,
		Long:    "Print the token that a client sends to the server: for stock gRPC and Flight clients, as `authorization: Bearer TOKEN`.",
		Example: "  daos token\n  daos token --where",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := client.Find(cmd.Context(), a.where())
			if err != nil {
				return err
			}
			out := struct {
				Server string `json:"server"`
				Token  string `json:"token,omitempty"`
				File   string `json:"file"`
			}{Server: s.Name(), Token: s.Token}
			switch {
			case a.tokenFile != "":
				out.File = a.tokenFile
			case s.Entry != nil:
				out.File = s.Entry.TokenFile
			}
			if where {
				out.Token = ""
				if out.File == "" {
					return fault.New(fault.NotFound, "token", s.Name(), "no token file is registered for this server").Do("it is ROOT/token on the server's machine")
				}
			} else if out.Token == "" {
				return fault.New(fault.NotFound, "token", s.Name(), "no token is known for this server").Do("name it with --token-file or DAOS_TOKEN; it is ROOT/token on the server's machine")
			}
			return a.print(out, func() error {
				text := out.Token
				if where {
					text = out.File
				}
				_, err := fmt.Fprintln(a.out, text)
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&where, "where", false, "print the path of the file instead")
	return cmd
}
