package flight

import (
	"bytes"
	"context"
	"unicode/utf8"

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
			return target{}, true, inTransaction()
		}
		return target{sql: &queryv1.SqlRequest{Text: q.GetQuery()}}, true, nil
	}
	var prepared flightpb.CommandPreparedStatementQuery
	if a.MessageIs(&prepared) {
		if err := a.UnmarshalTo(&prepared); err != nil {
			return target{}, true, bad.Because(err)
		}
		text := string(prepared.GetPreparedStatementHandle())
		if !utf8.ValidString(text) {
			return target{}, true, bad.Do("take handles from CreatePreparedStatement")
		}
		return target{sql: &queryv1.SqlRequest{Text: text}}, true, nil
	}
	l, err := listingOf(&a, b)
	if err != nil {
		return target{}, true, bad.Because(err)
	}
	if l != nil {
		return target{listing: l}, true, nil
	}
	return target{}, true, fault.New(fault.Unsupported, "flight.sql", clip(a.GetTypeUrl()), "this command of Flight SQL is not served").
		Do("use CommandStatementQuery or CommandPreparedStatementQuery; CommandGetTables lists what there is")
}

// The actions of Flight SQL for statements that are prepared. The handle of one is
// its text: the server keeps nothing, and there is nothing to be closed.
const (
	createPrepared = "CreatePreparedStatement"
	closePrepared  = "ClosePreparedStatement"
)

// unpack reads the body of an action of Flight SQL, which is an Any.
func unpack(action string, body []byte, into proto.Message) error {
	var a anypb.Any
	err := proto.Unmarshal(body, &a)
	if err == nil {
		err = a.UnmarshalTo(into)
	}
	if err != nil {
		return fault.New(fault.Invalid, "flight.action", action, "the request can't be read").Because(err)
	}
	return nil
}

// preparedActions plan a statement without parameters, and say what its columns are.
func (s *Server) preparedActions() []Action {
	return []Action{{
		Name:        createPrepared,
		Description: "Flight SQL: plans a statement without parameters (ActionCreatePreparedStatementRequest -> ActionCreatePreparedStatementResult)",
		Run: func(ctx context.Context, body []byte) ([][]byte, error) {
			var q flightpb.ActionCreatePreparedStatementRequest
			if err := unpack(createPrepared, body, &q); err != nil {
				return nil, err
			}
			if len(q.GetTransactionId()) > 0 {
				return nil, inTransaction()
			}
			i, err := s.sqlInfo(ctx, &queryv1.SqlRequest{Text: q.GetQuery()})
			if err != nil {
				return nil, err
			}
			schema, err := schemaBytes(i.schema)
			if err != nil {
				return nil, err
			}
			a, err := anypb.New(&flightpb.ActionCreatePreparedStatementResult{PreparedStatementHandle: []byte(q.GetQuery()), DatasetSchema: schema})
			if err != nil {
				return nil, err
			}
			b, err := proto.Marshal(a)
			return [][]byte{b}, err
		},
	}, {
		Name:        closePrepared,
		Description: "Flight SQL: forgets a statement that was prepared (ActionClosePreparedStatementRequest)",
		Run: func(_ context.Context, body []byte) ([][]byte, error) {
			return nil, unpack(closePrepared, body, &flightpb.ActionClosePreparedStatementRequest{})
		},
	}}
}

func inTransaction() error {
	return fault.New(fault.Unsupported, "flight.sql", "", "a statement in a transaction").Do("leave the transaction out: a statement reads one epoch of each dataset anyway")
}
