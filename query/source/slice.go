package source

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"daos/dataset/array"
	"daos/internal/fault"
	"daos/internal/near"
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

// ParseSlice reads a slice as numpy writes it, "0:24, ::2, 5" or "..., -1", for
// an array of a shape with names of its axes: see array.ParseSlice.
func ParseSlice(text string, shape []uint64, names []string) ([]array.Axis, error) {
	axes, _, wrong := array.ParseSlice(text, shape, names)
	if wrong == nil {
		return axes, nil
	}
	if wrong.Fault == array.NoSuchAxis {
		e := fault.New(fault.NotFound, "query.slice", "slice ["+text+"]", "no axis %q", wrong.Name)
		if n := near.Name(wrong.Name, names); n != "" {
			return nil, e.Do("did you mean %q?", n)
		}
		return nil, e.Do("the axes are %s", strings.Join(names, ", "))
	}
	return nil, fault.New(fault.Invalid, "query.slice", "slice ["+text+"]", "%s", whatOfSlice(wrong, shape, names)).
		Do("write it as in numpy, without negative steps: 0:24, ::2, 5")
}

func whatOfSlice(wrong *array.SliceError, shape []uint64, names []string) string {
	var why string
	switch wrong.Fault {
	case array.TooManyIndices:
		return fmt.Sprintf("%d indices for an array of %d axes", wrong.Count, len(shape))
	case array.TwoEllipses:
		return "two ellipses"
	case array.AxisTwice:
		return fmt.Sprintf("axis %s is given twice", names[wrong.Axis])
	case array.AxisTooLong:
		why = "the axis is too long for a slice"
	case array.NotIndex:
		why = "neither a position nor start:stop:step"
	case array.OutOfRange:
		why = "out of range"
	case array.BadStep:
		why = "a step is 1 or more"
	default:
		why = "not start:stop:step"
	}
	return fmt.Sprintf("%q for axis %s of length %d: %s", wrong.Part, names[wrong.Axis], shape[wrong.Axis], why)
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
	return neighbours(n, want, func(at, to uint64) exec.Part { return &slicePart{t: t, chunks: chunks, at: at, to: to} }), nil
}

type slicePart struct {
	t      *SliceTable
	chunks map[string]*array.ChunkStats
	at, to uint64 // of the touched chunks, in C order
	open   stretches
}

func (p *slicePart) Close() {}

// Next is the next chunk, or the next rows of one with very many.
func (p *slicePart) Next(context.Context) (exec.Chunk, error) {
	if c := p.open.next(); c != nil {
		return c, nil
	}
	if p.at >= p.to {
		return nil, io.EOF
	}
	t := p.t
	whole := &elementsChunk{p: &elementsPart{t: t.ElementsTable, chunks: p.chunks}, coords: make([]uint64, len(t.axes)), shape: make([]uint64, len(t.axes)), stretch: stretch{all: 1}, data: &chunkData{}}
	c := &sliceChunk{t: t, whole: whole, lo: make([]uint64, len(t.axes)), count: make([]uint64, len(t.axes)), stretch: stretch{all: 1}}
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
	return p.open.begin(c.all, func(s stretch) exec.Chunk {
		part := *c
		part.stretch = s
		return &part
	}), nil
}

type sliceChunk struct {
	stretch
	t         *SliceTable
	whole     *elementsChunk // the stored chunk
	lo, count []uint64       // first position in it, and their number, by axis
}

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
