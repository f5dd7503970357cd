package flight

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"runtime"

	"google.golang.org/protobuf/proto"

	"daos/engine/object"
	"daos/internal/columnar"
	"daos/internal/fault"
	flightv1 "daos/proto/gen/daos/flight/v1"
	queryv1 "daos/proto/gen/daos/query/v1"
	"daos/query/exec"
	"daos/query/expr"
	"daos/server/codec"
	"daos/server/pool"
)

// Queries opens datasets as tables and runs statements; service.Query is one
// behind service.FlightQueries.
type Queries interface {
	// Table opens what a scan reads, at the epoch that it names or else the
	// address's, and checks the scan's form.
	Table(ctx context.Context, r *queryv1.ScanRequest) (*Table, error)
	// Begin enters a query into the list of those that run.
	Begin(ctx context.Context, r *queryv1.ScanRequest) (context.Context, Running)
	// Describe says of a statement what its columns are and what it reads.
	Describe(ctx context.Context, r *queryv1.SqlRequest) (*Statement, error)
	// Run runs a statement at the epochs given for what it reads: one Arrow IPC
	// message for each call of fn, the schema first; with the last the result is
	// complete. The context that fn gets ends with the statement, so that a client
	// which takes nothing does not hold it. It gives the same rows in the same order
	// whenever it is called.
	Run(ctx context.Context, r *queryv1.SqlRequest, epochs map[string]uint64, fn Take) error
}

// Take gets the messages of a statement.
type Take func(ctx context.Context, payload []byte, last bool, c *queryv1.Counters) error

// Table is a dataset as a table, and what is wanted of it.
type Table struct {
	pool.Resolved
	Source  exec.Source
	Epoch   object.Epoch
	Rows    *uint64 // where it is known without a scan
	Request exec.Request
	// Lists: the parts of the table list their chunks without reading them.
	Lists bool
	// Err makes the resource of an error a full address.
	Err func(error) error
}

// Running is a query in the list.
type Running interface {
	// Note keeps its counters.
	Note(c exec.Counters)
	// Why is its error, naming a kill where it was one.
	Why(ctx context.Context, err error) error
	End()
}

// Statement is what is known of a statement before it runs.
type Statement struct {
	Fields expr.Schema
	// Epochs that it reads, by the address that it names.
	Epochs map[string]uint64
}

func (s *Server) queries() (Queries, error) {
	if s.o.Queries == nil {
		return nil, fault.New(fault.Unsupported, "flight.info", "", "this server does not serve queries over Flight")
	}
	return s.o.Queries, nil
}

// single reports whether a scan has its result only as a whole: what it keeps
// or counts is of all parts together.
func single(r *exec.Request) bool {
	return r.Offset > 0 || r.Limit > 0 || r.Top != nil || r.Sample != nil && r.Sample.N > 0 || len(r.Group) > 0 || len(r.Aggregates) > 0
}

// scanInfo plans a scan: an endpoint for each piece of it.
func (s *Server) scanInfo(ctx context.Context, req *queryv1.ScanRequest) (*info, error) {
	q, err := s.queries()
	if err != nil {
		return nil, err
	}
	t, err := q.Table(ctx, req)
	if err != nil {
		return nil, err
	}
	p := &planned{Source: t.Source, want: s.o.Endpoints * partsEach}
	st, err := exec.Open(ctx, p, t.Request)
	if err != nil {
		return nil, t.Err(err)
	}
	defer st.Close()
	w, err := columnar.NewRowWriter(st.Schema())
	if err != nil {
		return nil, err
	}
	i := &info{sources: []source{{t.Resolved, t.Epoch}}, schema: w.Schema(), records: -1, bytes: -1}
	if t.Lists {
		if i.statistics, err = statisticsOf(ctx, p, t.Request.Where, t.Request.Text, st.Schema()); err != nil {
			return nil, t.Err(err)
		}
	}
	i.records = rowsOfResult(t, i.statistics)
	width, fixed := rowWidth(st.Schema())
	if i.records >= 0 && fixed {
		i.bytes = i.records * width
	}
	pin := proto.CloneOf(req)
	pin.Epoch, pin.Seen, pin.Label = uint64(t.Epoch), 0, ""
	whole := &flightv1.ScanPart{Scan: pin}
	n := s.pieces(p.parts, i, width, proto.Size(pin))
	if single(&t.Request) || n <= 1 {
		i.commands = []*flightv1.Command{{Of: &flightv1.Command_ScanPart{ScanPart: whole}}}
		return i, nil
	}
	for k := range n {
		part := &flightv1.ScanPart{Scan: pin, Want: uint32(p.want), Parts: uint32(p.parts), Bounds: p.bounds}
		part.From, part.To = uint32(p.parts*k/n), uint32(p.parts*(k+1)/n)
		i.commands = append(i.commands, &flightv1.Command{Of: &flightv1.Command_ScanPart{ScanPart: part}})
	}
	return i, nil
}

// maxTickets is how much all tickets of a FlightInfo may have, about: clients
// in Go and Rust take a message of 4 MiB.
const maxTickets = 2 << 20

// pieces is how many endpoints a scan of so many parts has.
func (s *Server) pieces(parts int, i *info, width int64, ticket int) int {
	n := min(s.o.Endpoints, parts, max(maxTickets/(ticket+1), 1))
	if st := i.statistics; st != nil && st.RowsAtMost != nil {
		most := min(*st.RowsAtMost, math.MaxInt32)
		n = min(n, int(max(int64(most)*width/rangeBytes, 1)))
	}
	return n
}

// rowsOfResult is how many rows a scan has, -1 where only the scan itself tells.
func rowsOfResult(t *Table, st *statistics) int64 {
	r := &t.Request
	if len(r.Group) > 0 || r.Sample != nil && (r.Sample.N == 0 || r.Sample.By != "") {
		return -1
	}
	n := uint64(1) // of aggregates without groups
	if len(r.Aggregates) == 0 {
		switch {
		case st != nil && st.exact:
			n = *st.RowsAtMost
		case r.Where == nil && t.Rows != nil:
			n = *t.Rows
		default:
			return -1
		}
		if r.Sample != nil {
			n = min(n, r.Sample.N)
		}
		if r.Top != nil {
			n = min(n, r.Top.K)
		}
	}
	n -= min(n, r.Offset)
	if r.Limit > 0 {
		n = min(n, r.Limit)
	}
	if n > math.MaxInt64 {
		return -1
	}
	return int64(n)
}

// rowWidth is the bytes of a row, a guess where they vary.
func rowWidth(fields expr.Schema) (width int64, fixed bool) {
	fixed = true
	for i := range fields {
		f := &fields[i]
		switch {
		case f.Type == expr.Text || f.Type == expr.Bytes || f.Type == expr.List && f.Shape == nil:
			width, fixed = width+64, false
		case f.Type == expr.List:
			w := int64(f.Elem.Size())
			for _, d := range f.Shape {
				w *= int64(d)
			}
			width += w
		default:
			width += int64(f.Type.Size())
		}
	}
	return width, fixed
}

// checkPart checks what a ticket says, though it is signed: an older server
// may have given it out.
func checkPart(p *flightv1.ScanPart) error {
	if p.GetScan() == nil || p.GetWant() > maxParts {
		return fault.New(fault.Invalid, "flight.ticket", "", "the ticket names no part of a scan").Do("call GetFlightInfo again")
	}
	return nil
}

// counters are the app_metadata of the batches of a scan, as JSON: those so far.
type counters struct {
	Chunks      uint64 `json:"chunks"`
	Pruned      uint64 `json:"chunks_pruned"`
	Read        uint64 `json:"chunks_read"`
	RowsScanned uint64 `json:"rows_scanned"`
	RowsMatched uint64 `json:"rows_matched"`
	RowsOut     uint64 `json:"rows_out"`
	BytesRead   uint64 `json:"bytes_read"`
	BytesOut    uint64 `json:"bytes_out"`
	Last        bool   `json:"last,omitempty"` // they are those of the whole ticket
}

func countersOf(c exec.Counters, last bool) ([]byte, error) {
	return json.Marshal(counters{c.Chunks, c.Pruned, c.Read, c.RowsScanned, c.RowsMatched, c.RowsOut, c.BytesRead, c.BytesOut, last})
}

// getScan sends the rows of a scan, or of a piece of one.
func (s *Server) getScan(ctx context.Context, part *flightv1.ScanPart, out stream) error {
	q, err := s.queries()
	if err != nil {
		return err
	}
	t, err := q.Table(ctx, part.GetScan())
	if err != nil {
		return err
	}
	ctx, run := q.Begin(ctx, part.GetScan())
	defer run.End()
	req, table := t.Request, t.Source
	if part.GetWant() > 0 {
		table = &piece{Source: t.Source, of: part}
		// Endpoints are read side by side.
		req.Parallel = max(1, runtime.GOMAXPROCS(0)/2)
	}
	st, err := exec.Open(ctx, table, req)
	if err != nil {
		return t.Err(run.Why(ctx, err))
	}
	defer st.Close()
	rows, err := columnar.NewRowWriter(st.Schema())
	if err != nil {
		return err
	}
	w, err := newSender(codec.Interrupt(ctx, out), rows.Schema())
	if err != nil {
		return run.Why(ctx, err)
	}
	// A batch is sent when the next one is there, so that the last is known.
	var held *exec.Rows
	var c exec.Counters
	flush := func(last bool) error {
		meta, err := countersOf(c, last)
		if err != nil {
			return err
		}
		if held == nil {
			held = emptyRows(st.Schema())
		}
		rec, err := rows.Record(held)
		if err != nil {
			return err
		}
		defer rec.Release()
		return sendRecord(w, rec, meta)
	}
	for {
		r, err := st.Next()
		run.Note(st.Counters())
		if errors.Is(err, io.EOF) {
			c = st.Counters()
			return run.Why(ctx, flush(true))
		}
		if err == nil && held != nil {
			err = flush(false)
		}
		if err != nil {
			return t.Err(run.Why(ctx, err))
		}
		held, c = r, st.Counters()
	}
}

// emptyRows is a batch without rows.
func emptyRows(fields expr.Schema) *exec.Rows {
	r := &exec.Rows{Columns: make([]expr.Vector, len(fields))}
	for i := range fields {
		if f := &fields[i]; f.Type == expr.Text || f.Type == expr.Bytes || f.Type == expr.List && f.Shape == nil {
			r.Columns[i].Offsets = []uint64{0}
		}
	}
	return r
}
