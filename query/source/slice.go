package source

import (
	"context"
	"encoding/binary"
	"io"
	"strconv"
	"strings"

	"daos/dataset/array"
	"daos/internal/fault"
	"daos/query/exec"
	"daos/query/expr"
)

// SliceTable is some elements of an array as a table, with the columns of
// ElementsTable: coordinates and RowID are those of the whole array. Only chunks
// that the slice touches are read.
type SliceTable struct {
	*ElementsTable
	axes []array.Axis
	rows uint64
}

// Slice makes a table of the elements that axes select, of which there is one
// for each axis of the array; none of them has Indices.
func Slice(t *ElementsTable, axes []array.Axis) *SliceTable {
	s := &SliceTable{t, axes, 1}
	for d := range axes {
		s.rows *= axes[d].Count
	}
	return s
}

// Rows is the number of elements.
func (t *SliceTable) Rows() uint64 { return t.rows }

// maxPositions is the largest length of an axis that a slice is written for.
const maxPositions = 1 << 62

// ParseSlice reads a slice as numpy writes it, "0:24, ::2, 5" or "..., -1", for
// an array of a shape. Steps are 1 or more. Axes that it does not name are whole;
// an axis can be named: "x=0:10".
func ParseSlice(text string, shape []uint64, names []string) ([]array.Axis, error) {
	bad := func(format string, args ...any) error {
		return fault.New(fault.Invalid, "query.slice", "slice ["+text+"]", format, args...).Do("write it as in numpy, without negative steps: 0:24, ::2, 5")
	}
	axes := make([]array.Axis, len(shape))
	for d := range axes {
		axes[d] = array.Axis{Count: shape[d], Step: 1}
	}
	if strings.TrimSpace(text) == "" {
		return axes, nil
	}
	parts := strings.Split(text, ",")
	given := make([]bool, len(shape))
	at, skipped := 0, false
	for i, p := range parts {
		p = strings.TrimSpace(p)
		if p == "..." {
			if skipped {
				return nil, bad("two ellipses")
			}
			skipped = true
			at = max(at, len(shape)-(len(parts)-1-i))
			continue
		}
		d := at
		if name, rest, named := strings.Cut(p, "="); named {
			if d = axisOf(strings.TrimSpace(name), names); d < 0 {
				e := fault.New(fault.NotFound, "query.slice", "slice ["+text+"]", "no axis %q", strings.TrimSpace(name))
				if n := axisSchema(names).Nearest(strings.TrimSpace(name)); n != "" {
					return nil, e.Do("did you mean %q?", n)
				}
				return nil, e.Do("the axes are %s", strings.Join(names, ", "))
			}
			p = strings.TrimSpace(rest)
		} else {
			at++
		}
		if d >= len(shape) {
			return nil, bad("%d indices for an array of %d axes", len(parts), len(shape))
		}
		if given[d] {
			return nil, bad("axis %s is given twice", names[d])
		}
		given[d] = true
		a, why := parseAxis(p, shape[d])
		if why != "" {
			return nil, bad("%q for axis %s of length %d: %s", p, names[d], shape[d], why)
		}
		axes[d] = a
	}
	return axes, nil
}

func axisSchema(names []string) expr.Schema {
	var s expr.Schema
	for _, n := range names {
		s = append(s, expr.Field{Name: n})
	}
	return s
}

func axisOf(name string, names []string) int { return axisSchema(names).Index(name) }

// parseAxis reads "5", "-1", "0:24", "::2"; why says what is wrong.
func parseAxis(p string, n uint64) (a array.Axis, why string) {
	if n > maxPositions {
		return a, "the axis is too long for a slice"
	}
	bounds := strings.Split(p, ":")
	if len(bounds) > 3 {
		return a, "more than start:stop:step"
	}
	num := func(i int, missing int64) (int64, bool) {
		if i >= len(bounds) || strings.TrimSpace(bounds[i]) == "" {
			return missing, true
		}
		v, err := strconv.ParseInt(strings.TrimSpace(bounds[i]), 10, 63)
		if err == nil && v < 0 && i < 2 {
			v += int64(n)
		}
		return v, err == nil
	}
	if len(bounds) == 1 {
		i, ok := num(0, -1)
		switch {
		case !ok || strings.TrimSpace(p) == "":
			return a, "neither a position nor start:stop:step"
		case i < 0 || i >= int64(n):
			return a, "out of range"
		}
		return array.Axis{Start: uint64(i), Count: 1, Step: 1}, ""
	}
	from, ok1 := num(0, 0)
	to, ok2 := num(1, int64(n))
	step, ok3 := num(2, 1)
	switch {
	case !ok1 || !ok2 || !ok3:
		return a, "not start:stop:step"
	case step < 1:
		return a, "a step is 1 or more"
	}
	from, to = min(max(from, 0), int64(n)), min(max(to, 0), int64(n))
	a = array.Axis{Start: uint64(from), Step: uint64(step)}
	if to > from {
		a.Count = uint64((to-from-1)/step) + 1
	}
	return a, ""
}

// touched is how many chunks of a length an axis has positions in, and chunkAt
// is the number of one of them.
func touched(a *array.Axis, length uint64) uint64 {
	if a.Count == 0 {
		return 0
	}
	if a.Step >= length {
		return a.Count // each position lies in a chunk of its own
	}
	last := a.Start + (a.Count-1)*a.Step
	return last/length - a.Start/length + 1
}

func chunkAt(a *array.Axis, length, i uint64) uint64 {
	if a.Step >= length {
		return (a.Start + i*a.Step) / length
	}
	return a.Start/length + i
}

// Split cuts the touched chunks into pieces of neighbours.
func (t *SliceTable) Split(ctx context.Context, _ expr.Expr, _ []int, want int) ([]exec.Part, error) {
	if t.rows == 0 {
		return nil, nil
	}
	chunks, err := t.written(ctx)
	if err != nil {
		return nil, err
	}
	n := uint64(1)
	for d := range t.axes {
		n *= touched(&t.axes[d], t.spec.Chunks[d])
	}
	per := max(1, (n+uint64(want)-1)/uint64(want))
	var parts []exec.Part
	for at := uint64(0); at < n; at += per {
		parts = append(parts, &slicePart{t: t, chunks: chunks, at: at, to: min(n, at+per)})
	}
	return parts, nil
}

type slicePart struct {
	t      *SliceTable
	chunks map[string]*array.ChunkStats
	at, to uint64 // of the touched chunks, in C order
	open   *sliceChunk
}

func (p *slicePart) Close() {}

// Next is the next chunk, or the next rows of one with very many.
func (p *slicePart) Next(context.Context) (exec.Chunk, error) {
	if c := p.open; c != nil {
		p.open = nil
		if c.to < c.all {
			next := *c
			next.from, next.to = c.to, min(c.all, c.to+unitRows)
			p.open = &next
			return &next, nil
		}
	}
	if p.at >= p.to {
		return nil, io.EOF
	}
	t := p.t
	whole := &elementsChunk{p: &elementsPart{t: t.ElementsTable, chunks: p.chunks}, coords: make([]uint64, len(t.axes)), shape: make([]uint64, len(t.axes)), all: 1, data: &chunkData{}}
	c := &sliceChunk{t: t, whole: whole, lo: make([]uint64, len(t.axes)), count: make([]uint64, len(t.axes)), all: 1}
	for d, rest := len(t.axes)-1, p.at; d >= 0; d-- {
		a, length := &t.axes[d], t.spec.Chunks[d]
		k := touched(a, length)
		at := chunkAt(a, length, rest%k)
		rest /= k
		whole.coords[d] = at
		whole.shape[d] = min(length, t.spec.Shape[d]-at*length)
		whole.all *= whole.shape[d]
		// The positions of the slice in this chunk.
		first := uint64(0)
		if at*length > a.Start {
			first = (at*length - a.Start + a.Step - 1) / a.Step
		}
		c.lo[d] = a.Start + first*a.Step - at*length
		c.count[d] = min(a.Count-first, (whole.shape[d]-c.lo[d]-1)/a.Step+1)
		c.all *= c.count[d]
	}
	p.at++
	whole.written = p.chunks[coordsKey(whole.coords)]
	c.to = min(c.all, unitRows)
	p.open = c
	return c, nil
}

type sliceChunk struct {
	t         *SliceTable
	whole     *elementsChunk // the stored chunk
	lo, count []uint64       // first position in it, and their number, by axis
	all       uint64
	from, to  uint64
}

func (c *sliceChunk) Rows() int { return int(c.to - c.from) }

// Stats are those of the stored chunk, which bound its elements, with narrower
// coordinates.
func (c *sliceChunk) Stats() []expr.Stats {
	out := c.whole.Stats()
	for d := range c.lo {
		base := c.whole.coords[d]*c.t.spec.Chunks[d] + c.lo[d]
		lo, hi := expr.UintValue(base), expr.UintValue(base+(c.count[d]-1)*c.t.axes[d].Step)
		out[d] = expr.Stats{Known: true, Rows: c.all, Min: &lo, Max: &hi}
	}
	return out
}

// place is where a row lies in the stored chunk, in elements.
func (c *sliceChunk) place(row uint64) uint64 {
	at, stride := uint64(0), uint64(1)
	for d := len(c.count) - 1; d >= 0; d-- {
		at += (c.lo[d] + row%c.count[d]*c.t.axes[d].Step) * stride
		row /= c.count[d]
		stride *= c.whole.shape[d]
	}
	return at
}

func (c *sliceChunk) Read(ctx context.Context, columns []int, rows []uint32) ([]expr.Vector, error) {
	n := c.Rows()
	if rows != nil {
		n = len(rows)
	}
	places := make([]uint64, n)
	for k := range places {
		row := c.from + uint64(k)
		if rows != nil {
			row = c.from + uint64(rows[k])
		}
		places[k] = c.place(row)
	}
	out := make([]expr.Vector, len(columns))
	for i, col := range columns {
		if col == len(c.lo) {
			b, err := c.whole.elements(ctx)
			if err != nil {
				return nil, err
			}
			w := uint64(c.t.schema[col].Type.Size())
			values := make([]byte, 0, uint64(n)*w)
			for _, at := range places {
				values = append(values, b[at*w:(at+1)*w]...)
			}
			out[i].Values = values
			continue
		}
		values := make([]byte, 0, 8*n)
		for _, at := range places {
			values = binary.LittleEndian.AppendUint64(values, c.whole.coordinate(col, at))
		}
		out[i].Values = values
	}
	return out, nil
}
