package source

import (
	"context"
	"encoding/binary"
	"io"
	"math"
	"slices"
	"sort"
	"strings"

	"daos/dataset/tensor"
	"daos/engine/object"
	"daos/internal/half"
	"daos/query/exec"
	"daos/query/expr"
)

// RowID is the column that numbers the rows of a tensor dataset, from 0: the
// sample index of the loader.
const RowID = "_id"

// renamed stands before the name of a column whose own is taken.
const renamed = "value."

const (
	unitRows  = 1 << 16 // rows of a chunk of a scan, at most
	unitBytes = 8 << 20 // of them, roughly
)

// TensorTable is a tensor dataset as a table: its columns, and RowID. A column that
// is called as that is, in any case, is "value._id".
type TensorTable struct {
	name   string
	p      *tensor.Pinned
	cols   []tensor.Column
	schema expr.Schema
	// Unit is the most rows of a chunk of a scan; 0: 65536.
	Unit uint64
}

// Tensor makes a table of a pinned tensor dataset. name is its address.
func Tensor(name string, p *tensor.Pinned) *TensorTable {
	t := &TensorTable{name: name, p: p, cols: p.Columns()}
	for i := range t.cols {
		t.schema = append(t.schema, TensorField(&t.cols[i]))
	}
	for i := range t.schema {
		f := &t.schema[i]
		for strings.EqualFold(f.Name, RowID) || strings.HasPrefix(f.Name, renamed) && t.schema[:i].Index(f.Name) >= 0 {
			f.Name = renamed + f.Name
		}
	}
	t.schema = append(t.schema, expr.Field{Name: RowID, Type: expr.Uint64})
	return t
}

var elements = [...]expr.Type{tensor.Bool: expr.Bool, tensor.Int8: expr.Int8, tensor.Int16: expr.Int16, tensor.Int32: expr.Int32,
	tensor.Int64: expr.Int64, tensor.Uint8: expr.Uint8, tensor.Uint16: expr.Uint16, tensor.Uint32: expr.Uint32, tensor.Uint64: expr.Uint64,
	tensor.Float16: expr.Float16, tensor.Float32: expr.Float32, tensor.Float64: expr.Float64}

// TensorField is a column of a tensor dataset as one of a table.
func TensorField(c *tensor.Column) expr.Field {
	f := expr.Field{Name: c.Name}
	switch {
	case c.Layout == tensor.String:
		f.Type = expr.Text
	case c.Layout == tensor.Bytes:
		f.Type = expr.Bytes
	case c.Layout == tensor.Ragged:
		f.Type, f.Elem = expr.List, elements[c.DType]
	case len(c.Shape) == 0:
		f.Type = elements[c.DType]
	default:
		f.Type, f.Elem, f.Shape = expr.List, elements[c.DType], slices.Clone(c.Shape)
	}
	return f
}

// Name is its address.
func (t *TensorTable) Name() string { return t.name }

// Schema is the columns and RowID.
func (t *TensorTable) Schema() expr.Schema { return t.schema }

// Key is RowID.
func (t *TensorTable) Key() int { return len(t.cols) }

// Length is the number of rows.
func (t *TensorTable) Length() uint64 { return t.p.Length() }

// Split cuts the rows into pieces of neighbours.
func (t *TensorTable) Split(ctx context.Context, where expr.Expr, columns []int, want int) ([]exec.Part, error) {
	n := t.p.Length()
	if n == 0 {
		return nil, nil
	}
	width := uint64(1)
	for _, c := range columns {
		if c == len(t.cols) {
			continue
		}
		if cd := &t.cols[c]; cd.Layout == tensor.Fixed {
			width += uint64(cd.ItemSize())
			continue
		}
		sums, err := t.p.Summaries(ctx, c)
		if err != nil {
			return nil, err
		}
		var bytes uint64
		for _, s := range sums {
			bytes = max(bytes, s.Bytes/max(s.Count, 1))
		}
		width += 8 + bytes
	}
	most := t.Unit
	if most == 0 {
		most = unitRows
	}
	unit := min(max(unitBytes/width, 1), most)
	if unit > tensor.ZoneRows {
		unit -= unit % tensor.ZoneRows // so that zones are learned whole
	}
	stats := map[int][]tensor.Summary{}
	for _, name := range expr.Columns(where) {
		c := t.schema.Index(name)
		if c < 0 || c == len(t.cols) {
			continue
		}
		sums, err := t.p.Summaries(ctx, c)
		if err != nil {
			return nil, err
		}
		stats[c] = sums
	}
	units := (n + unit - 1) / unit
	per := max(1, (units+uint64(want)-1)/uint64(want))
	var parts []exec.Part
	for u := uint64(0); u < units; u += per {
		parts = append(parts, &rowsPart{t: t, at: u * unit, to: min(n, (u+per)*unit), unit: unit, stats: stats})
	}
	return parts, nil
}

type rowsPart struct {
	t            *TensorTable
	at, to, unit uint64
	stats        map[int][]tensor.Summary
	lens         *tensor.Lens // once something was read
}

func (p *rowsPart) Close() {
	if p.lens != nil {
		p.lens.Close()
	}
}

func (p *rowsPart) Next(context.Context) (exec.Chunk, error) {
	if p.at >= p.to {
		return nil, io.EOF
	}
	c := &rowsChunk{p, p.at, min(p.to, p.at+p.unit)}
	p.at = c.to
	return c, nil
}

type rowsChunk struct {
	p        *rowsPart
	from, to uint64
}

func (c *rowsChunk) Rows() int { return int(c.to - c.from) }

// Stats joins the statistics of the stored chunks that the rows lie in.
func (c *rowsChunk) Stats() []expr.Stats {
	t := c.p.t
	out := make([]expr.Stats, len(t.schema))
	lo, hi := expr.UintValue(c.from), expr.UintValue(c.to-1)
	out[len(t.cols)] = expr.Stats{Known: true, Rows: c.to - c.from, Min: &lo, Max: &hi}
	for col, sums := range c.p.stats {
		f := &t.schema[col]
		if z, ok := t.p.Learned(col, c.from, c.to); ok {
			out[col] = columnStats(f, &z)
			continue
		}
		at := sort.Search(len(sums), func(i int) bool { return sums[i].First+sums[i].Count > c.from })
		var s expr.Stats
		for i := at; i < len(sums) && sums[i].First < c.to; i++ {
			one := columnStats(f, &sums[i])
			if i == at {
				s = one
				continue
			}
			s = joinStats(s, one)
		}
		out[col] = s
	}
	return out
}

// columnStats is the statistics of a stored chunk. They hold for any part of it
// as far as pruning asks: with more rows than there are, "some are null" and
// "some are not" stay possible, "all are" is still all.
func columnStats(f *expr.Field, s *tensor.Summary) expr.Stats {
	out := expr.Stats{Known: true, Rows: s.Count, Nulls: s.Nulls, NaNs: s.NaNs}
	if f.Type == expr.List {
		out.NaNs = 0 // of elements, not of rows
		return out
	}
	out.Min, out.Max = bound(f.Type, s.Min, s), bound(f.Type, s.Max, s)
	if f.Type == expr.Text || f.Type == expr.Bytes {
		if s.Max == nil || s.Nulls == s.Count {
			out.Max = nil
		}
	}
	return out
}

func bound(t expr.Type, b []byte, s *tensor.Summary) *expr.Value {
	if (t == expr.Text || t == expr.Bytes) && s != nil {
		if s.Nulls == s.Count {
			return nil
		}
		v := expr.TextValue(string(b))
		return &v
	}
	if len(b) != t.Size() {
		return nil
	}
	var v expr.Value
	switch t {
	case expr.Bool:
		v = expr.BoolValue(b[0] != 0)
	case expr.Float16:
		v = expr.FloatValue(float64(half.Float32(binary.LittleEndian.Uint16(b))))
	case expr.Float32:
		v = expr.FloatValue(float64(math.Float32frombits(binary.LittleEndian.Uint32(b))))
	case expr.Float64:
		v = expr.FloatValue(math.Float64frombits(binary.LittleEndian.Uint64(b)))
	case expr.Uint64:
		v = expr.UintValue(binary.LittleEndian.Uint64(b))
	case expr.Int8:
		v = expr.IntValue(int64(int8(b[0])))
	case expr.Uint8:
		v = expr.IntValue(int64(b[0]))
	case expr.Int16:
		v = expr.IntValue(int64(int16(binary.LittleEndian.Uint16(b))))
	case expr.Uint16:
		v = expr.IntValue(int64(binary.LittleEndian.Uint16(b)))
	case expr.Int32:
		v = expr.IntValue(int64(int32(binary.LittleEndian.Uint32(b))))
	case expr.Uint32:
		v = expr.IntValue(int64(binary.LittleEndian.Uint32(b)))
	default:
		v = expr.IntValue(int64(binary.LittleEndian.Uint64(b)))
	}
	return &v
}

// joinStats is the statistics of two chunks together.
func joinStats(a, b expr.Stats) expr.Stats {
	out := expr.Stats{Known: a.Known && b.Known, Rows: a.Rows + b.Rows, Nulls: a.Nulls + b.Nulls, NaNs: a.NaNs + b.NaNs}
	values := func(s expr.Stats) bool { return s.Rows > s.Nulls+s.NaNs }
	pick := func(x, y *expr.Value, sx, sy bool, first bool) *expr.Value {
		switch {
		case !sx:
			return y
		case !sy:
			return x
		case x == nil || y == nil:
			return nil // one of them is not known
		case (x.Compare(*y) < 0) == first:
			return x
		}
		return y
	}
	out.Min = pick(a.Min, b.Min, values(a), values(b), true)
	out.Max = pick(a.Max, b.Max, values(a), values(b), false)
	return out
}

func vector(d *tensor.Data) expr.Vector {
	return expr.Vector{Values: d.Values, Offsets: d.Offsets, Valid: d.Valid}
}

// Rows are read one by one where fewer than one in sparse is wanted and their
// bytes can't be looked at; and where they touch only a few granules of those.
const sparse = 16

// Read gives vectors that lie in mapped memory where that is possible.
func (c *rowsChunk) Read(ctx context.Context, columns []int, rows []uint32) ([]expr.Vector, error) {
	t := c.p.t
	if c.p.lens == nil {
		c.p.lens = t.p.Lens()
	}
	out := make([]expr.Vector, len(columns))
	from, to := c.from, c.to
	if len(rows) > 0 {
		from, to = c.from+uint64(rows[0]), c.from+uint64(rows[len(rows)-1])+1
	}
	var later, places []int
	for i, col := range columns {
		if col == len(t.cols) {
			out[i] = c.numbers(rows)
			continue
		}
		d, err := c.look(ctx, col, from, to, rows)
		if err != nil {
			return nil, err
		}
		if d != nil {
			c.learn(col, d, rows)
			out[i] = vector(d)
			continue
		}
		if rows != nil && uint64(len(rows))*sparse < to-from {
			later, places = append(later, col), append(places, i)
			continue
		}
		if d, err = t.p.Range(ctx, col, from, to); err != nil {
			return nil, err
		}
		c.learn(col, d, rows)
		out[i] = vector(d)
		if rows != nil && int(to-from) != len(rows) {
			shifted := make([]uint32, len(rows))
			for k, r := range rows {
				shifted[k] = r - rows[0]
			}
			out[i] = exec.Pick(&t.schema[col], &out[i], shifted)
		}
	}
	if len(later) == 0 {
		return out, nil
	}
	ids := make([]uint64, len(rows))
	for i, r := range rows {
		ids[i] = c.from + uint64(r)
	}
	ds, err := t.p.Rows(ctx, later, ids)
	if err != nil {
		return nil, err
	}
	for k := range ds {
		out[places[k]] = vector(&ds[k])
	}
	return out, nil
}

// learn notes the bounds of what a condition is about, where all rows of it were
// read.
func (c *rowsChunk) learn(col int, d *tensor.Data, rows []uint32) {
	if _, condition := c.p.stats[col]; condition && rows == nil {
		c.p.t.p.Learn(col, c.from, d, c.Rows())
	}
}

// look takes rows from where they lie; nil if they have to be read.
func (c *rowsChunk) look(ctx context.Context, col int, from, to uint64, rows []uint32) (*tensor.Data, error) {
	switch {
	case rows == nil || int(to-from) == len(rows):
		return c.p.lens.Look(ctx, col, from, to, rows == nil)
	case uint64(len(rows))*sparse < to-from && !c.scattered(col, len(rows), to-from):
		return nil, nil
	}
	return c.p.lens.Pick(ctx, col, c.from, rows)
}

// numbers is RowID.
func (c *rowsChunk) numbers(rows []uint32) expr.Vector {
	if rows == nil {
		b := make([]byte, 0, 8*c.Rows())
		for i := c.from; i < c.to; i++ {
			b = binary.LittleEndian.AppendUint64(b, i)
		}
		return expr.Vector{Values: b}
	}
	b := make([]byte, 0, 8*len(rows))
	for _, r := range rows {
		b = binary.LittleEndian.AppendUint64(b, c.from+uint64(r))
	}
	return expr.Vector{Values: b}
}

// scattered reports whether n rows of a stretch touch most of its granules, so
// that all of it may as well be verified.
func (c *rowsChunk) scattered(col, n int, stretch uint64) bool {
	width := uint64(64) // of variable length: a guess
	if cd := &c.p.t.cols[col]; cd.Layout == tensor.Fixed {
		width = uint64(cd.ItemSize())
	}
	return 2*uint64(n) >= stretch*width/object.Granule
}
