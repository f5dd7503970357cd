package source

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"

	"daos/dataset/tensor"
	"daos/query/expr"
)

// RowsDiff is the difference of a tensor dataset, sample by sample. Chunks with
// the same record in both are not read. A side that is nil has no samples yet.
func RowsDiff(name string, before, after *tensor.Pinned) *Made {
	s := expr.Schema{{Name: "change", Type: expr.Text}, {Name: RowID, Type: expr.Uint64}, {Name: "columns", Type: expr.Text},
		{Name: "size_before", Type: expr.Uint64}, {Name: "size_after", Type: expr.Uint64}}
	return NewMade(name, s, func(ctx context.Context) (Rows, error) {
		d := &rowsDiff{a: before, b: after}
		if before != nil && after != nil {
			for c := range before.Columns() {
				spans, err := d.rewritten(ctx, c)
				if err != nil {
					return nil, err
				}
				d.spans = append(d.spans, spans)
			}
		}
		return d, nil
	})
}

type rowsDiff struct {
	a, b  *tensor.Pinned
	spans [][]span // by column: rows that may have changed
	at    uint64
}

// span is rows [from, to).
type span struct{ from, to uint64 }

func (d *rowsDiff) Close() {}

// rewritten are the rows of a column whose chunks are not the same in both, of
// those that both have.
func (d *rowsDiff) rewritten(ctx context.Context, col int) ([]span, error) {
	x, err := d.a.Summaries(ctx, col)
	if err != nil {
		return nil, err
	}
	y, err := d.b.Summaries(ctx, col)
	if err != nil {
		return nil, err
	}
	n := min(d.a.Length(), d.b.Length())
	var out []span
	for at := uint64(0); at < n; {
		x, y = from(x, at), from(y, at)
		a, b := &x[0], &y[0]
		to := min(a.First+a.Count, b.First+b.Count, n)
		if a.First != b.First || a.Version != b.Version {
			if k := len(out); k > 0 && out[k-1].to == at {
				out[k-1].to = to
			} else {
				out = append(out, span{at, to})
			}
		}
		at = to
	}
	return out, nil
}

// from drops the chunks before a row.
func from(s []tensor.Summary, row uint64) []tensor.Summary {
	for s[0].First+s[0].Count <= row {
		s = s[1:]
	}
	return s
}

func length(p *tensor.Pinned) uint64 {
	if p == nil {
		return 0
	}
	return p.Length()
}

// Next adds the rows of a window that has some.
func (d *rowsDiff) Next(ctx context.Context, out *Cells) error {
	rows := out.n
	for out.n == rows {
		if err := ctx.Err(); err != nil {
			return err
		}
		na, nb := length(d.a), length(d.b)
		shared := min(na, nb)
		switch {
		case d.at >= max(na, nb):
			return io.EOF
		case d.at >= shared:
			if err := d.rest(ctx, out, na, nb); err != nil {
				return err
			}
		default:
			// The next row that may have changed, in any column.
			next := shared
			for c := range d.spans {
				for len(d.spans[c]) > 0 && d.spans[c][0].to <= d.at {
					d.spans[c] = d.spans[c][1:]
				}
				if len(d.spans[c]) > 0 {
					next = min(next, max(d.at, d.spans[c][0].from))
				}
			}
			if d.at = next; d.at < shared {
				if err := d.window(ctx, out, shared); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// unit is how many rows are looked at together.
func unit(ctx context.Context, p *tensor.Pinned) (uint64, error) {
	width := uint64(1)
	for c := range p.Columns() {
		cd := &p.Columns()[c]
		if cd.Layout == tensor.Fixed {
			width += uint64(cd.ItemSize())
			continue
		}
		sums, err := p.Summaries(ctx, c)
		if err != nil {
			return 0, err
		}
		var most uint64
		for _, s := range sums {
			most = max(most, s.Bytes/max(s.Count, 1))
		}
		width += 8 + most
	}
	return min(max(unitBytes/width, 1), madeRows), nil
}

// sizes are the bytes of rows, over all columns.
func sizes(ctx context.Context, p *tensor.Pinned, lo, hi uint64) ([]uint64, error) {
	out := make([]uint64, hi-lo)
	for c := range p.Columns() {
		cd := &p.Columns()[c]
		if cd.Layout == tensor.Fixed {
			for i := range out {
				out[i] += uint64(cd.ItemSize())
			}
			continue
		}
		v, err := p.Range(ctx, c, lo, hi)
		if err != nil {
			return nil, err
		}
		for i := range out {
			out[i] += v.Offsets[i+1] - v.Offsets[i]
		}
	}
	return out, nil
}

// rest adds rows that only one of the two has.
func (d *rowsDiff) rest(ctx context.Context, out *Cells, na, nb uint64) error {
	p, change, end := d.b, added, nb
	if na > nb {
		p, change, end = d.a, removed, na
	}
	n, err := unit(ctx, p)
	if err != nil {
		return err
	}
	hi := min(end, d.at+n)
	size, err := sizes(ctx, p, d.at, hi)
	if err != nil {
		return err
	}
	for i, s := range size {
		row := []any{change, d.at + uint64(i), nil, nil, s}
		if change == removed {
			row[3], row[4] = s, nil
		}
		out.Add(row...)
	}
	d.at = hi
	return nil
}

// window compares the rows from d.at on, up to the end of a span or a unit.
func (d *rowsDiff) window(ctx context.Context, out *Cells, shared uint64) error {
	n, err := unit(ctx, d.b)
	if err != nil {
		return err
	}
	lo, hi := d.at, min(shared, d.at+n)
	diff := make([][]string, hi-lo) // names of the columns that differ
	any := false
	for c := range d.spans {
		if !slices.ContainsFunc(d.spans[c], func(s span) bool { return s.from < hi && s.to > lo }) {
			continue
		}
		cd := &d.b.Columns()[c]
		x, err := d.a.Range(ctx, c, lo, hi)
		if err != nil {
			return err
		}
		y, err := d.b.Range(ctx, c, lo, hi)
		if err != nil {
			return err
		}
		for i := range diff {
			if !sameCell(cd, x, y, i) {
				diff[i] = append(diff[i], cd.Name)
				any = true
			}
		}
	}
	d.at = hi
	if !any {
		return nil
	}
	before, err := sizes(ctx, d.a, lo, hi)
	if err != nil {
		return err
	}
	after, err := sizes(ctx, d.b, lo, hi)
	if err != nil {
		return err
	}
	for i, names := range diff {
		if names != nil {
			out.Add(changed, lo+uint64(i), strings.Join(names, ", "), before[i], after[i])
		}
	}
	return nil
}

// sameCell compares a row of a column, bit by bit.
func sameCell(c *tensor.Column, x, y *tensor.Data, i int) bool {
	vx, vy := x.Valid == nil || x.Valid[i] != 0, y.Valid == nil || y.Valid[i] != 0
	if vx != vy {
		return false
	}
	if c.Layout == tensor.Fixed {
		w := c.ItemSize()
		return bytes.Equal(x.Values[i*w:(i+1)*w], y.Values[i*w:(i+1)*w])
	}
	return bytes.Equal(x.Values[x.Offsets[i]:x.Offsets[i+1]], y.Values[y.Offsets[i]:y.Offsets[i+1]])
}
