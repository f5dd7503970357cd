//go:build cgo

package sqlworker

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	"google.golang.org/grpc"

	"daos/internal/columnar"
	"daos/internal/fault"
	"daos/internal/feedclient"
	"daos/internal/querywire"
	"daos/internal/sqltask"
	queryv1 "daos/proto/gen/daos/query/v1"
	"daos/query/exec"
	"daos/query/expr"
	"daos/query/sql"
	"daos/query/sql/duck"
	"daos/server/wire"
)

// remote is a dataset that is read over the server's socket.
type remote struct {
	j        *job
	ctx      context.Context //nolint:containedctx // DuckDB calls back without one
	ref      *sql.Ref
	groups   *sql.Groups // nil: its rows are those of the dataset
	counters atomic.Pointer[queryv1.Counters]
}

// Schema is its columns, as a statement calls them.
func (t *remote) Schema() expr.Schema {
	if t.groups != nil {
		return t.groups.Fields()
	}
	return t.ref.Columns()
}

// Rows is the number of rows where the server knows it.
func (t *remote) Rows() (uint64, bool) {
	if n := t.j.known[keyOf(t.ref)].rows; n != nil && t.ref.Where == nil && t.groups == nil {
		return *n, true
	}
	return 0, false
}

// Open begins a scan with what was lifted.
func (t *remote) Open(columns []int) (duck.Reader, error) {
	r := &queryv1.ScanRequest{Function: functionOf(t.ref), Predicate: querywire.FromExpr(t.ref.Where), Limit: t.ref.Limit, Label: "scan of a statement"}
	if id := t.j.task.GetQuery(); id != "" {
		r.Label = sqltask.ScanLabel(id)
	}
	r.Dataset, r.Epoch = t.j.reading(t.ref)
	places := make([]int, len(columns)) // in what the scan gives
	if g := t.groups; g != nil {
		r.GroupBy = g.By
		for _, a := range g.Aggregates {
			r.Aggregates = append(r.Aggregates, &queryv1.Aggregate{Function: queryv1.AggregateFunction(a.Fn), Column: a.Column})
		}
		for i, c := range columns {
			places[i] = g.Show[c]
		}
	} else {
		for i, c := range columns {
			r.Columns = append(r.Columns, t.ref.Schema[c].Name)
			places[i] = i
		}
		if len(columns) == 0 { // rows are only counted: a narrow column will do
			r.Columns = []string{t.ref.Schema[narrow(t.ref.Schema)].Name}
		}
	}
	ctx, cancel := context.WithCancel(t.ctx)
	conn, err := t.j.feed.take(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	s := &scan{t: t, cancel: cancel, conn: conn, places: places}
	if s.st, err = queryv1.NewQueryServiceClient(conn).Scan(ctx, r); err != nil {
		s.Close()
		return nil, wire.Fault(err)
	}
	return s, nil
}

// narrow is a column that costs little to read; the last ones number rows.
func narrow(s expr.Schema) int {
	best := len(s) - 1
	for i := len(s) - 1; i >= 0; i-- {
		if w := s[i].Type.Size(); w > 0 && (s[best].Type.Size() == 0 || w < s[best].Type.Size()) {
			best = i
		}
	}
	if n := len(s) - 1; s[n].Name == "_id" {
		return n // made, not read
	}
	return best
}

// scan is one scan under way.
type scan struct {
	t      *remote
	st     grpc.ServerStreamingClient[queryv1.ScanResponse]
	cancel context.CancelFunc
	conn   *feedclient.Client // nil: another one's
	places []int              // of the columns that are wanted
	rows   *columnar.RowReader
	done   bool
	whole  bool // and the stream has ended
}

func (s *scan) Close() {
	s.cancel()
	if s.conn != nil {
		s.t.j.feed.give(s.conn, s.whole)
		s.conn = nil
	}
	if s.rows != nil {
		s.rows.Close()
		s.rows = nil
	}
}

// Next is the next rows. A stream that ends without the proof that it is
// complete is an error.
func (s *scan) Next() (*exec.Rows, error) {
	if s.rows == nil {
		rows, err := columnar.NewRowReader(columnar.Payloads(func() ([]byte, error) {
			m, err := s.st.Recv()
			if errors.Is(err, io.EOF) && !s.done {
				return nil, fault.New(fault.DataLoss, "query.sql", s.t.ref.Address, "the scan ended without the proof that it is complete").Do("run it again")
			}
			if err != nil {
				if s.whole = errors.Is(err, io.EOF); !s.whole {
					err = wire.Fault(err)
				}
				return nil, err
			}
			s.done = m.GetDone()
			if c := m.GetCounters(); c != nil {
				s.t.counters.Store(c)
			}
			return m.GetPayload(), nil
		}))
		if err != nil {
			return nil, err
		}
		s.rows = rows
	}
	r, err := s.rows.Next()
	if errors.Is(err, io.EOF) {
		// The proof comes behind the end of the Arrow stream.
		for !s.done {
			m, err := s.st.Recv()
			if errors.Is(err, io.EOF) {
				return nil, fault.New(fault.DataLoss, "query.sql", s.t.ref.Address, "the scan ended without the proof that it is complete").Do("run it again")
			}
			if err != nil {
				return nil, wire.Fault(err)
			}
			s.done = m.GetDone()
		}
		_, err := s.st.Recv()
		s.whole = errors.Is(err, io.EOF)
		return nil, io.EOF
	}
	if err != nil {
		return nil, err
	}
	out := &exec.Rows{N: r.N}
	for _, i := range s.places {
		d := &r.Columns[i]
		out.Columns = append(out.Columns, expr.Vector{Values: d.Values, Offsets: d.Offsets, Valid: d.Valid})
	}
	return out, nil
}
