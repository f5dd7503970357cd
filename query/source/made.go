package source

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"daos/query/exec"
	"daos/query/expr"
)

// madeRows is the most rows that a made table holds at once.
const madeRows = 4096

// Made is a table whose rows are made while they are read, in an order that is
// the same each time: what is known of datasets, not what lies in them.
type Made struct {
	name   string
	schema expr.Schema
	open   func(ctx context.Context) (Rows, error)
}

// Rows makes rows one after the other; one goroutine uses it.
type Rows interface {
	// Next adds some rows, at least one; io.EOF after the last.
	Next(ctx context.Context, out *Cells) error
	Close()
}

// NewMade makes a table. open is called for each scan.
func NewMade(name string, schema expr.Schema, open func(ctx context.Context) (Rows, error)) *Made {
	return &Made{name: name, schema: schema, open: open}
}

// Name is what the table was called as.
func (t *Made) Name() string { return t.name }

// Schema is its columns.
func (t *Made) Schema() expr.Schema { return t.schema }

// Key is the first column.
func (t *Made) Key() int { return 0 }

// Split is one part.
func (t *Made) Split(context.Context, expr.Expr, []int, int) ([]exec.Part, error) {
	return []exec.Part{&madePart{t: t}}, nil
}

type madePart struct {
	t    *Made
	rows Rows
}

func (p *madePart) Close() {
	if p.rows != nil {
		p.rows.Close()
	}
}

func (p *madePart) Next(ctx context.Context) (exec.Chunk, error) {
	if p.rows == nil {
		rows, err := p.t.open(ctx)
		if err != nil {
			return nil, err
		}
		p.rows = rows
	}
	c := newCells(p.t.schema)
	for c.n < madeRows && c.bytes < unitBytes {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := p.rows.Next(ctx, c); err == io.EOF { //nolint:errorlint // the end, said as it is
			break
		} else if err != nil {
			return nil, err
		}
	}
	if c.n == 0 {
		return nil, io.EOF
	}
	return c, nil
}

// Cells are rows under construction, and then a chunk of a scan.
type Cells struct {
	schema expr.Schema
	n      int
	bytes  int
	cols   []expr.Vector
}

func newCells(s expr.Schema) *Cells {
	c := &Cells{schema: s, cols: make([]expr.Vector, len(s))}
	for i := range s {
		if s[i].Type == expr.Text || s[i].Type == expr.Bytes || s[i].Type == expr.List {
			c.cols[i].Offsets = []uint64{0}
		}
	}
	return c
}

// Add adds a row: for each column nil, a bool, an int64 (times too), a uint64, a
// float64, a string, a []byte, or a []uint64 for a list of them.
func (c *Cells) Add(row ...any) {
	for i, x := range row {
		v, f := &c.cols[i], &c.schema[i]
		if x == nil || v.Valid != nil {
			for len(v.Valid) < c.n {
				v.Valid = append(v.Valid, 1)
			}
			v.Valid = append(v.Valid, flag(x != nil))
		}
		before := len(v.Values)
		switch y := x.(type) {
		case nil:
			v.Values = append(v.Values, make([]byte, f.Type.Size())...)
		case bool:
			v.Values = append(v.Values, flag(y))
		case int64:
			v.Values = c.word(v.Values, f.Type, uint64(y))
		case uint64:
			v.Values = c.word(v.Values, f.Type, y)
		case float64:
			v.Values = c.word(v.Values, f.Type, math.Float64bits(y))
		case string:
			v.Values = append(v.Values, y...)
		case []byte:
			v.Values = append(v.Values, y...)
		case []uint64:
			for _, u := range y {
				v.Values = binary.LittleEndian.AppendUint64(v.Values, u)
			}
		default:
			panic(fmt.Sprintf("a cell of type %T", x))
		}
		if v.Offsets != nil {
			v.Offsets = append(v.Offsets, uint64(len(v.Values)))
		}
		c.bytes += len(v.Values) - before + 8
	}
	c.n++
}

func (c *Cells) word(b []byte, t expr.Type, x uint64) []byte {
	var w [8]byte
	binary.LittleEndian.PutUint64(w[:], x)
	return append(b, w[:t.Size()]...)
}

// Rows is their number.
func (c *Cells) Rows() int { return c.n }

// Stats are not known.
func (c *Cells) Stats() []expr.Stats { return nil }

// Read is columns of all rows, or of those named.
func (c *Cells) Read(_ context.Context, columns []int, rows []uint32) ([]expr.Vector, error) {
	out := make([]expr.Vector, len(columns))
	for i, col := range columns {
		if out[i] = c.cols[col]; rows != nil {
			out[i] = exec.Pick(&c.schema[col], &c.cols[col], rows)
		}
	}
	return out, nil
}

// listed are rows that are there already.
type listed struct {
	rows [][]any
}

// Listed makes Rows of a few rows.
func Listed(rows [][]any) Rows { return &listed{rows} }

func (l *listed) Close() {}

func (l *listed) Next(_ context.Context, out *Cells) error {
	if len(l.rows) == 0 {
		return io.EOF
	}
	n := min(len(l.rows), madeRows)
	for _, r := range l.rows[:n] {
		out.Add(r...)
	}
	l.rows = l.rows[n:]
	return nil
}
