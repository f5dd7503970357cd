package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"daos/internal/version"
)

// Main runs the command line and returns the exit status of the process.
func Main(args []string, _ io.Reader, stdout, stderr io.Writer) int {
	root := &cobra.Command{Use: "daos", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(&cobra.Command{Use: "version", Run: func(*cobra.Command, []string) {
		fmt.Fprintf(stdout, "daos %s (%s)\n", version.Version, version.Commit)
	}})
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.Execute(); err != nil {
		fmt.Fprintln(stderr, "daos:", err)
		return 1
	}
	return 0
}
