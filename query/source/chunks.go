package source

import (
	"context"
	"encoding/hex"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"daos/dataset/array"
	"daos/dataset/tensor"
	"daos/query/expr"
)

// chunksSchema is what is known of the chunks of a dataset: the column, the
// number of the chunk along each axis, the first row and their number, nulls,
// NaNs, the smallest and largest value as text (bounds where not exact), and the
// bytes of the values.
func chunksSchema() expr.Schema {
	return expr.Schema{{Name: "column", Type: expr.Text}, {Name: "chunk", Type: expr.List, Elem: expr.Uint64}, {Name: "first", Type: expr.Uint64},
		{Name: "rows", Type: expr.Uint64}, {Name: "nulls", Type: expr.Uint64}, {Name: "nans", Type: expr.Uint64},
		{Name: "min", Type: expr.Text}, {Name: "max", Type: expr.Text}, {Name: "exact", Type: expr.Bool}, {Name: "bytes", Type: expr.Uint64}}
}

// TensorChunks is a table of the chunks of a tensor dataset, column by column.
func TensorChunks(name string, p *tensor.Pinned) *Made {
	return NewMade(name, chunksSchema(), func(context.Context) (Rows, error) { return &tensorChunks{p: p}, nil })
}

type tensorChunks struct {
	p   *tensor.Pinned
	col int
}

func (c *tensorChunks) Close() {}

// Next adds the chunks of one column.
func (c *tensorChunks) Next(ctx context.Context, out *Cells) error {
	cols := c.p.Columns()
	for c.col < len(cols) {
		col := &cols[c.col]
		sums, err := c.p.Summaries(ctx, c.col)
		if err != nil {
			return err
		}
		c.col++
		t := TensorField(col)
		ty := t.Type
		if ty == expr.List {
			ty = t.Elem
		}
		for i := range sums {
			s := &sums[i]
			out.Add(col.Name, []uint64{uint64(i)}, s.First, s.Count, s.Nulls, s.NaNs, boundText(ty, s.Min), boundText(ty, s.Max),
				ty != expr.Text && ty != expr.Bytes, s.Bytes)
		}
		if len(sums) > 0 {
			return nil
		}
	}
	return io.EOF
}

// boundText is a smallest or largest value for people, nil where none is known.
func boundText(t expr.Type, b []byte) any {
	switch {
	case b == nil:
		return nil
	case t == expr.Text:
		return strings.ToValidUTF8(string(b), "\uFFFD") // it may be cut within a letter
	case t == expr.Bytes:
		return hex.EncodeToString(b)
	}
	v := bound(t, b, nil)
	if v == nil {
		return nil
	}
	switch {
	case t == expr.Time:
		return time.Unix(0, v.I).UTC().Format("2006-01-02 15:04:05.999999999")
	case v.Type == expr.Float64:
		bits := 64
		if t != expr.Float64 {
			bits = 32
		}
		if math.IsInf(v.F, 0) {
			return strings.TrimPrefix(strings.ToLower(strconv.FormatFloat(v.F, 'g', -1, bits)), "+")
		}
		return strconv.FormatFloat(v.F, 'g', -1, bits)
	}
	return v.String()
}

// ArrayChunks is a table of the chunks of an array that have been written; the
// first row is the number of the chunk's first element in C order.
func ArrayChunks(name string, s *array.Scan) *Made {
	return NewMade(name, chunksSchema(), func(context.Context) (Rows, error) { return &arrayChunks{s: s}, nil })
}

type arrayChunks struct {
	s     *array.Scan
	after []uint64
	end   bool
}

func (c *arrayChunks) Close() {}

// Next adds a page of chunks.
func (c *arrayChunks) Next(ctx context.Context, out *Cells) error {
	if c.end {
		return io.EOF
	}
	spec, n := c.s.Spec(), 0
	text := func(b []byte) any {
		if b == nil {
			return nil
		}
		return spec.DType.Text(b)
	}
	full := false
	err := c.s.Chunks(ctx, c.after, func(k *array.ChunkStats) bool {
		if full = n == madeRows; full {
			return false
		}
		first, stride := uint64(0), uint64(1)
		for d := len(k.Coords) - 1; d >= 0; d-- {
			first += k.Coords[d] * spec.Chunks[d] * stride
			stride *= spec.Shape[d]
		}
		out.Add("value", k.Coords, first, k.Count, uint64(0), k.NaNs, text(k.Min), text(k.Max), k.Exact, k.Count*uint64(spec.DType.Size()))
		c.after = append(c.after[:0], k.Coords...)
		n++
		return true
	})
	c.end = !full
	if err == nil && n == 0 {
		return io.EOF
	}
	return err
}
