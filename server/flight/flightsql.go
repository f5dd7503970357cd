package flight

import (
	"bytes"

	flightpb "github.com/apache/arrow/go/v17/arrow/flight/gen/flight"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"daos/internal/fault"
	queryv1 "daos/proto/gen/daos/query/v1"
)

// flightSQL is how the type of every command of Flight SQL begins.
const flightSQL = "type.googleapis.com/arrow.flight.protocol.sql."

// parseFlightSQL reads a command of Flight SQL, which is an Any; ok is false for
// other commands. A Command does not look like one: the type's name is no
// message of ours.
func parseFlightSQL(b []byte) (t target, ok bool, err error) {
	if len(b) < 2 || b[0] != 0x0a || !bytes.HasPrefix(b[min(2, len(b)):], []byte(flightSQL)) {
		return target{}, false, nil
	}
	bad := fault.New(fault.Invalid, "flight.sql", "", "the Flight SQL command can't be read")
	var a anypb.Any
	if err := proto.Unmarshal(b, &a); err != nil {
		return target{}, true, bad.Because(err)
	}
	var q flightpb.CommandStatementQuery
	if a.MessageIs(&q) {
		if err := a.UnmarshalTo(&q); err != nil {
			return target{}, true, bad.Because(err)
		}
		if len(q.GetTransactionId()) > 0 {
			return target{}, true, fault.New(fault.Unsupported, "flight.sql", "", "a statement in a transaction").Do("leave the transaction out: a statement reads one epoch of each dataset anyway")
		}
		return target{sql: &queryv1.SqlRequest{Text: q.GetQuery()}}, true, nil
	}
	return target{}, true, fault.New(fault.Unsupported, "flight.sql", clip(a.GetTypeUrl()), "this command of Flight SQL is not served").Do("use CommandStatementQuery")
}
