// Command daos is the server, the engines and the command line of the DAOS
// dataset service in one binary. The commands are in internal/cli.
package main

import (
	"os"

	"google.golang.org/grpc/experimental"

	"daos/internal/bufpool"
	"daos/internal/cli"
)

func main() {
	// Before any connection: gRPC's codec takes its buffers from this pool.
	experimental.SetDefaultBufferPool(new(bufpool.Pool))
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
