package flight

import (
	"context"
	"encoding/binary"
	"hash/fnv"
	"io"
	"math"
	"slices"

	"daos/internal/fault"
	flightv1 "daos/proto/gen/daos/flight/v1"
	"daos/query/exec"
	"daos/query/expr"
)

// partsEach is how many parts of a table an endpoint has, so that it can be
// read by several cores.
const partsEach = 4

// maxParts bounds what a ticket may ask a table to be split into.
const maxParts = 1 << 14

// bounds is one number for the places of all parts. Tickets that divide a scan
// among them carry it: the parts of another split are not theirs.
func bounds(parts []exec.Part) uint64 {
	h := fnv.New64a()
	var n [8]byte
	for _, p := range parts {
		if x, ok := p.(exec.Placed); ok {
			b := x.Place()
			binary.LittleEndian.PutUint64(n[:], uint64(len(b)))
			h.Write(n[:])
			h.Write(b)
		}
	}
	return h.Sum64()
}

// planned is a table that is split and not read: exec checks the request
// against it and says what the columns of the result are.
type planned struct {
	exec.Source
	want   int
	parts  int
	bounds uint64
	where  expr.Expr
	read   []int
}

// Split notes what the parts would be, and gives none.
func (p *planned) Split(ctx context.Context, where expr.Expr, columns []int, _ int) ([]exec.Part, error) {
	parts, err := p.Source.Split(ctx, where, columns, p.want)
	if err != nil {
		return nil, err
	}
	p.parts, p.bounds = len(parts), bounds(parts)
	p.where, p.read = where, slices.Clone(columns)
	for _, x := range parts {
		x.Close()
	}
	return nil, nil
}

// piece is some neighbouring parts of a table.
type piece struct {
	exec.Source
	of *flightv1.ScanPart
}

// Split gives the parts of the piece; fault.Stale if the table is now split in
// another place.
func (p *piece) Split(ctx context.Context, where expr.Expr, columns []int, _ int) ([]exec.Part, error) {
	parts, err := p.Source.Split(ctx, where, columns, int(p.of.GetWant()))
	if err != nil {
		return nil, err
	}
	from, to := int(p.of.GetFrom()), int(p.of.GetTo())
	if len(parts) != int(p.of.GetParts()) || bounds(parts) != p.of.GetBounds() || from > to || to > len(parts) {
		for _, x := range parts {
			x.Close()
		}
		return nil, fault.New(fault.Stale, "flight.get", p.Name(), "this server would cut the scan at other places than the one that gave out the ticket").
			Do("call GetFlightInfo again, and read all of its endpoints")
	}
	for i, x := range parts {
		if i < from || i >= to {
			x.Close()
		}
	}
	return parts[from:to], nil
}

// statistics is what is known of a scan before it runs.
type statistics struct {
	RowsAtMost   *uint64                      `json:"rows_at_most,omitempty"`
	Chunks       uint64                       `json:"chunks,omitempty"`
	ChunksPruned uint64                       `json:"chunks_pruned,omitempty"`
	Columns      map[string]*columnStatistics `json:"columns,omitempty"`

	exact bool     // RowsAtMost is how many rows match
	rows  []uint64 // the same by part
}

// columnStatistics bound a column over the chunks that are not pruned.
type columnStatistics struct {
	Min   any   `json:"min,omitempty"`
	Max   any   `json:"max,omitempty"`
	Nulls *bool `json:"nulls,omitempty"` // there are some
	NaNs  *bool `json:"nans,omitempty"`

	min, max     *expr.Value
	nulls, nans  bool
	some         bool
	known, bound bool
}

const (
	// maxStatisticsChunks is how many chunks are looked at for statistics.
	maxStatisticsChunks  = 1 << 16
	maxStatisticsColumns = 64
	maxStatisticsText    = 256
)

// statisticsOf looks at the statistics of the chunks of a table whose parts
// list them without reading anything; nil for more chunks than are looked at.
// The columns described are those of the result.
func statisticsOf(ctx context.Context, p *planned, where expr.Expr, text string, result expr.Schema) (*statistics, error) {
	schema := p.Schema()
	var pred *expr.Predicate
	if where != nil {
		var err error
		if pred, err = expr.Bind(where, schema, text); err != nil {
			return nil, err
		}
	}
	out := &statistics{exact: true, Columns: map[string]*columnStatistics{}}
	asked := where // a table has the statistics of the columns that a predicate names
	at := map[int]*columnStatistics{}
	for _, f := range result {
		i := schema.Index(f.Name)
		if i < 0 || f.Type == expr.List || len(at) == maxStatisticsColumns {
			continue
		}
		if at[i] == nil {
			at[i] = &columnStatistics{known: true, bound: true}
			asked = expr.Conjunction(asked, &expr.Call{Fn: expr.NotNull, Args: []expr.Expr{&expr.Column{Name: schema[i].Name, Pos: -1}}, Pos: -1})
		}
	}
	parts, err := p.Source.Split(ctx, asked, p.read, p.want)
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, x := range parts {
			x.Close()
		}
	}()
	total := uint64(0)
	for _, x := range parts {
		rows := uint64(0)
		for {
			c, err := x.Next(ctx)
			if err == io.EOF { //nolint:errorlint // what Next promises
				break
			}
			if err != nil {
				return nil, err
			}
			if out.Chunks++; out.Chunks > maxStatisticsChunks {
				return nil, nil
			}
			st := c.Stats()
			verdict := expr.All
			if pred != nil {
				verdict = expr.Some
				if st != nil {
					verdict = pred.Prune(st)
				}
			}
			if verdict == expr.None {
				out.ChunksPruned++
				continue
			}
			out.exact = out.exact && verdict == expr.All
			rows += uint64(c.Rows())
			for i, s := range at {
				if st == nil {
					s.known, s.bound = false, false
					continue
				}
				s.join(&st[i])
			}
		}
		total += rows
		out.rows = append(out.rows, rows)
	}
	out.RowsAtMost = &total
	for i, s := range at {
		if s.show(out.Chunks == out.ChunksPruned) {
			out.Columns[schema[i].Name] = s
		}
	}
	return out, nil
}

// join takes the statistics of a further chunk into account.
func (s *columnStatistics) join(c *expr.Stats) {
	s.known = s.known && c.Known
	s.nulls = s.nulls || c.Nulls > 0 // of the stored chunk, which may be a larger one: no numbers
	s.nans = s.nans || c.NaNs > 0
	if c.Known && c.Rows <= c.Nulls+c.NaNs {
		return // no values
	}
	if c.Min == nil || c.Max == nil {
		s.bound = false
		return
	}
	if !s.some || c.Min.Compare(*s.min) < 0 {
		s.min = c.Min
	}
	if !s.some || c.Max.Compare(*s.max) > 0 {
		s.max = c.Max
	}
	s.some = true
}

// show fills in what goes out, and says whether that is anything.
func (s *columnStatistics) show(none bool) bool {
	if s.bound && s.some {
		s.Min, s.Max = plain(*s.min), plain(*s.max)
	}
	if s.known && !none {
		s.Nulls, s.NaNs = &s.nulls, &s.nans
	}
	return s.Min != nil || s.Nulls != nil
}

// plain is a value as JSON has it; nil for what JSON has not.
func plain(v expr.Value) any {
	switch v.Type {
	case expr.Bool:
		return v.B
	case expr.Int64, expr.Time:
		return v.I
	case expr.Uint64:
		return v.U
	case expr.Float64:
		if math.IsNaN(v.F) || math.IsInf(v.F, 0) {
			return nil
		}
		return v.F
	case expr.Text:
		if len(v.S) <= maxStatisticsText {
			return v.S
		}
	}
	return nil
}
