// Command daos is the server, the engines and the command line of the DAOS
// dataset service in one binary. The commands are in internal/cli.
package main

import (
	"os"

	"google.golang.org/grpc/experimental"

	"daos/internal/bufpool"
	"daos/internal/cli"
	"daos/internal/sqltask"
	"daos/internal/sqlworker"
)

func main() {
	// Before any connection: gRPC's codec takes its buffers from this pool.
	experimental.SetDefaultBufferPool(new(bufpool.Pool))
	if len(os.Args) == 2 && os.Args[1] == sqltask.Command {
		os.Exit(sqlworker.Run(os.Stdin, os.Stdout))
	}
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
