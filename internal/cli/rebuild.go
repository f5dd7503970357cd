package cli

import (
	"fmt"
	"log/slog"
	"strconv"

	"github.com/spf13/cobra"

	"daos/internal/fault"
	"daos/server"
)

// rebuiltJSON is what a rebuild found.
type rebuiltJSON struct {
	Target   int      `json:"target"`
	Segments int64    `json:"segments"`
	Unsealed int64    `json:"unsealed"`
	Records  int64    `json:"records"`
	Damaged  int64    `json:"damaged"`
	Errors   []string `json:"errors"`
}

// systemRebuild is no call of a server: none can run on such a root.
func systemRebuild(a *app) *cobra.Command {
	var root string
	cmd := &cobra.Command{
		Use: "rebuild TARGET", Short: "Make a new index for a target that has lost its own", Args: cobra.ExactArgs(1),
		Long: `Make a new index for a target of a root on this host that no server uses, from
what its segments and the journal have. It is the last resort where there is no
copy: values of up to 1 KiB, names of files among them, that lay in the index
alone are lost, and what was removed may be back. Move the damaged index,
ROOT/engine/target-TARGET/index, away first.`,
		Example: "  daos system rebuild 2 --root ~/daos",
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := strconv.ParseUint(args[0], 10, 16)
			if err != nil {
				return fault.New(fault.Invalid, "cli.rebuild", args[0], "no number of a target").Do("write the N of target-N")
			}
			out := rebuiltJSON{Target: int(n), Errors: []string{}}
			log := slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
			st, err := server.RebuildTarget(cmd.Context(), root, int(n), log, func(err error) { out.Errors = append(out.Errors, err.Error()) })
			if err != nil {
				return err
			}
			out.Segments, out.Unsealed, out.Records, out.Damaged = st.Segments, st.Bare, st.Records, st.Damaged
			return a.print(out, func() error {
				for _, e := range out.Errors {
					if _, err := fmt.Fprintln(a.out, printable(e)); err != nil {
						return err
					}
				}
				a.say("target %d has an index: %s records of %s segments, beside what was in the journal; %s segments have no list of their records, %s records are damaged",
					n, formatCount(out.Records), formatCount(out.Segments), formatCount(out.Unsealed), formatCount(out.Damaged))
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&root, "root", "", "root folder of the server")
	mustMark(cmd, "root")
	return cmd
}
