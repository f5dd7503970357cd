package source

import (
	"context"
	"encoding/binary"
	"io"
	"math"
	"slices"
	"sync"

	"daos/dataset/array"
	"daos/internal/fault"
	"daos/query/exec"
	"daos/query/expr"
)

// ElementsTable is an array as a table: one row for each element, chunk by chunk
// in C order, and in C order within a chunk. The columns are the coordinates,
// named as the axes are or dim_0, dim_1, ..., then "value" and RowID, which is
// the element's number in C order of the whole array.
type ElementsTable struct {
	name   string
	s      *array.Scan
	spec   *array.Spec
	schema expr.Schema
	widen  func([]byte) []byte // of elements that are shown as float32; nil: as they are
	grid   []uint64

	once   sync.Once
	chunks map[string]*array.ChunkStats // written ones, by coordinates
	err    error
}

// Elements makes a table of an array at a scan's epoch. fault.Unsupported for an
// element type that is no column type.
func Elements(name string, s *array.Scan) (*ElementsTable, error) {
	t := &ElementsTable{name: name, s: s, spec: s.Spec()}
	for d, axis := range AxisNames(t.spec.Dims, len(t.spec.Shape)) {
		t.schema = append(t.schema, expr.Field{Name: axis, Type: expr.Uint64})
		t.grid = append(t.grid, (t.spec.Shape[d]+t.spec.Chunks[d]-1)/t.spec.Chunks[d])
	}
	ty, widen, known := ElementType(t.spec.DType)
	t.widen = widen
	if !known {
		return nil, fault.New(fault.Unsupported, "query.open", name, "elements of type %s are no column of a table", t.spec.DType).
			Do("read slices instead: daos array slice %s", name)
	}
	t.schema = append(t.schema, expr.Field{Name: "value", Type: ty}, expr.Field{Name: RowID, Type: expr.Uint64})
	return t, nil
}

// Name is its address.
func (t *ElementsTable) Name() string { return t.name }

// Schema is its columns.
func (t *ElementsTable) Schema() expr.Schema { return t.schema }

// Key is RowID.
func (t *ElementsTable) Key() int { return len(t.schema) - 1 }

// Rows is the number of elements.
func (t *ElementsTable) Rows() uint64 { return t.spec.Elements() }

func coordsKey(c []uint64) string {
	b := make([]byte, 0, 8*len(c))
	for _, x := range c {
		b = binary.BigEndian.AppendUint64(b, x)
	}
	return string(b)
}

// written finds the chunks that have been written, once.
func (t *ElementsTable) written(ctx context.Context) (map[string]*array.ChunkStats, error) {
	t.once.Do(func() {
		t.chunks = map[string]*array.ChunkStats{}
		t.err = t.s.Chunks(ctx, nil, func(c *array.ChunkStats) bool {
			k := *c
			k.Coords = slices.Clone(c.Coords)
			t.chunks[coordsKey(k.Coords)] = &k
			return true
		})
	})
	return t.chunks, t.err
}

// Split cuts the grid of chunks into pieces of neighbours.
func (t *ElementsTable) Split(ctx context.Context, _ expr.Expr, _ []int, want int) ([]exec.Part, error) {
	if t.spec.Elements() == 0 {
		return nil, nil
	}
	chunks, err := t.written(ctx)
	if err != nil {
		return nil, err
	}
	n := uint64(1)
	for _, g := range t.grid {
		n *= g
	}
	return neighbours(n, want, func(at, to uint64) exec.Part { return &elementsPart{t: t, chunks: chunks, at: at, to: to} }), nil
}

// neighbours cuts n chunks into about as many pieces as are wanted.
func neighbours(n uint64, want int, piece func(at, to uint64) exec.Part) []exec.Part {
	per := max(1, (n+uint64(want)-1)/uint64(want))
	var parts []exec.Part
	for at := uint64(0); at < n; at += per {
		parts = append(parts, piece(at, min(n, at+per)))
	}
	return parts
}

// stretch is rows of a chunk of very many, which is given out unitRows at a time.
type stretch struct {
	all      uint64 // elements of the chunk
	from, to uint64
}

// Rows is the number of rows.
func (s stretch) Rows() int { return int(s.to - s.from) }

// stretches is what is left of a chunk that is being given out.
type stretches struct {
	stretch
	chunk func(stretch) exec.Chunk
}

// begin opens a chunk and gives out its first rows.
func (s *stretches) begin(all uint64, chunk func(stretch) exec.Chunk) exec.Chunk {
	s.stretch, s.chunk = stretch{all: all, to: min(all, unitRows)}, chunk
	return chunk(s.stretch)
}

// next gives out the next rows; nil when there are none left.
func (s *stretches) next() exec.Chunk {
	if s.to == s.all {
		s.chunk = nil
		return nil
	}
	s.from, s.to = s.to, min(s.all, s.to+unitRows)
	return s.chunk(s.stretch)
}

type elementsPart struct {
	t      *ElementsTable
	chunks map[string]*array.ChunkStats
	at, to uint64
	open   stretches
}

func (p *elementsPart) Close() {}

// Next is the next chunk, or the next rows of one with very many.
func (p *elementsPart) Next(context.Context) (exec.Chunk, error) {
	if c := p.open.next(); c != nil {
		return c, nil
	}
	if p.at >= p.to {
		return nil, io.EOF
	}
	coords := make([]uint64, len(p.t.grid))
	for d, rest := len(coords)-1, p.at; d >= 0; d-- {
		coords[d] = rest % p.t.grid[d]
		rest /= p.t.grid[d]
	}
	p.at++
	c := &elementsChunk{p: p, coords: coords, written: p.chunks[coordsKey(coords)], stretch: stretch{all: 1}, data: &chunkData{}}
	for d := range coords {
		c.shape = append(c.shape, min(p.t.spec.Chunks[d], p.t.spec.Shape[d]-coords[d]*p.t.spec.Chunks[d]))
		c.all *= c.shape[d]
	}
	return p.open.begin(c.all, func(s stretch) exec.Chunk {
		part := *c
		part.stretch = s
		return &part
	}), nil
}

// chunkData is the elements of a chunk, read once.
type chunkData struct{ b []byte }

type elementsChunk struct {
	stretch
	p       *elementsPart
	coords  []uint64
	written *array.ChunkStats
	shape   []uint64
	data    *chunkData
}

// Stats are those of the whole chunk, which bound its rows.
func (c *elementsChunk) Stats() []expr.Stats {
	t := c.p.t
	out := make([]expr.Stats, len(t.schema))
	for d := range c.coords {
		lo := expr.UintValue(c.coords[d] * t.spec.Chunks[d])
		hi := expr.UintValue(c.coords[d]*t.spec.Chunks[d] + c.shape[d] - 1)
		out[d] = expr.Stats{Known: true, Rows: c.all, Min: &lo, Max: &hi}
	}
	w := c.written
	if w == nil && t.widen == nil {
		if f := t.fill(c.all); f.Known {
			out[len(c.coords)] = f
		}
	}
	if w == nil || w.Count == 0 || !w.Exact && w.NaNs >= w.Count || t.widen != nil {
		return out
	}
	ty := t.schema[len(c.coords)].Type
	lo, hi := bound(ty, w.Min, nil), bound(ty, w.Max, nil)
	if ty == expr.Time && lo != nil && hi != nil {
		*lo, *hi = expr.TimeValue(lo.I), expr.TimeValue(hi.I)
	}
	if (lo == nil || hi == nil) && w.NaNs < w.Count {
		return out
	}
	out[len(c.coords)] = expr.Stats{Known: true, Rows: w.Count, NaNs: w.NaNs, Min: lo, Max: hi}
	return out
}

// fill is the statistics of n elements that were never written.
func (t *ElementsTable) fill(n uint64) expr.Stats {
	ty := t.schema[len(t.grid)].Type
	b := t.spec.Fill
	if b == nil {
		b = make([]byte, ty.Size())
	}
	v := bound(ty, b, nil)
	if v == nil {
		return expr.Stats{}
	}
	if ty == expr.Time {
		*v = expr.TimeValue(v.I)
	}
	if v.Type == expr.Float64 && math.IsNaN(v.F) {
		return expr.Stats{Known: true, Rows: n, NaNs: n}
	}
	return expr.Stats{Known: true, Rows: n, Min: v, Max: v}
}

func (c *elementsChunk) elements(ctx context.Context) ([]byte, error) {
	if c.data.b != nil {
		return c.data.b, nil
	}
	t := c.p.t
	size := t.spec.DType.Size()
	if c.written == nil {
		b := make([]byte, int(c.all)*size)
		if t.spec.Fill != nil {
			for i := 0; i < len(b); i += size {
				copy(b[i:], t.spec.Fill)
			}
		}
		c.data.b = b
	} else {
		b, _, err := t.s.Read(ctx, c.coords)
		if err != nil {
			return nil, err
		}
		c.data.b = b
	}
	if t.widen != nil {
		c.data.b = t.widen(c.data.b)
	}
	return c.data.b, nil
}

func (c *elementsChunk) Read(ctx context.Context, columns []int, rows []uint32) ([]expr.Vector, error) {
	t := c.p.t
	n := c.Rows()
	if rows != nil {
		n = len(rows)
	}
	out := make([]expr.Vector, len(columns))
	for i, col := range columns {
		f := &t.schema[col]
		if col == len(c.coords) {
			b, err := c.elements(ctx)
			if err != nil {
				return nil, err
			}
			w := uint64(f.Type.Size())
			v := expr.Vector{Values: b[c.from*w : c.to*w]}
			if rows != nil {
				v = exec.Pick(f, &v, rows)
			}
			out[i] = v
			continue
		}
		b := make([]byte, 0, 8*n)
		for k := range n {
			at := c.from + uint64(k)
			if rows != nil {
				at = c.from + uint64(rows[k])
			}
			b = binary.LittleEndian.AppendUint64(b, c.coordinate(col, at))
		}
		out[i].Values = b
	}
	return out, nil
}

// coordinate is a column of an element of the chunk: an axis, or RowID.
func (c *elementsChunk) coordinate(col int, at uint64) uint64 {
	id, stride := uint64(0), uint64(1)
	for d := len(c.shape) - 1; d >= 0; d-- {
		x := at%c.shape[d] + c.coords[d]*c.p.t.spec.Chunks[d]
		at /= c.shape[d]
		if d == col {
			return x
		}
		id += x * stride
		stride *= c.p.t.spec.Shape[d]
	}
	return id
}
