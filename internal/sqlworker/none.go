//go:build !cgo

package sqlworker

import (
	"io"

	"daos/internal/fault"
	"daos/internal/sqltask"
	queryv1 "daos/proto/gen/daos/query/v1"
	"daos/server/wire"
)

// Run says that this build has no SQL. It returns the exit status.
func Run(in io.Reader, out io.Writer) int {
	for range 2 { // what it may use, and the statement
		if sqltask.ReadFrame(in, &queryv1.SqlTask{}) != nil {
			return 1
		}
	}
	err := fault.New(fault.Unsupported, "query.sql", "statement", "this build of daos has no SQL: it was built without cgo").
		Do("build it with CGO_ENABLED=1 and a C++ compiler; daos query find works in every build")
	if sqltask.WriteFrame(out, &queryv1.SqlReply{Error: wire.Detail(err)}) != nil {
		return 1
	}
	return 0
}
