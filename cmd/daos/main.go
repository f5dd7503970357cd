// Command daos is the server, the engines and the command line of the DAOS
// dataset service in one binary. The commands are in internal/cli.
package main

import (
	"os"

	"daos/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
