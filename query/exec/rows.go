package exec

import (
	"encoding/binary"

	"daos/query/expr"
)

// Rows is some rows of a result.
type Rows struct {
	N       int
	Columns []expr.Vector
}

// Bytes is the memory of the rows.
func (r *Rows) Bytes() uint64 {
	var n uint64
	for i := range r.Columns {
		n += vectorBytes(&r.Columns[i])
	}
	return n
}

func vectorBytes(v *expr.Vector) uint64 {
	return uint64(len(v.Values) + 8*len(v.Offsets) + len(v.Valid) + len(v.Elements))
}

// width is the bytes of one row of a column, 0 where they vary.
func width(f *expr.Field) int {
	if f.Type != expr.List {
		return f.Type.Size()
	}
	if f.Shape == nil {
		return 0
	}
	n := f.Elem.Size()
	for _, d := range f.Shape {
		n *= int(d)
	}
	return n
}

func variable(f *expr.Field) bool {
	return f.Type == expr.Text || f.Type == expr.Bytes || f.Type == expr.List && f.Shape == nil
}

// cell is the bytes of one row.
func cell(f *expr.Field, v *expr.Vector, row int) []byte {
	if variable(f) {
		return v.Values[v.Offsets[row]:v.Offsets[row+1]]
	}
	w := width(f)
	return v.Values[row*w : (row+1)*w]
}

func valid(v *expr.Vector, row int) bool { return v.Valid == nil || v.Valid[row] != 0 }

// builder collects rows of one result.
type builder struct {
	fields []expr.Field
	rows   int
	cols   []expr.Vector
	bytes  uint64
}

func newBuilder(fields []expr.Field) *builder {
	return &builder{fields: fields, cols: make([]expr.Vector, len(fields))}
}

// add appends the named rows, or all n of them, of the columns.
func (b *builder) add(cols []expr.Vector, rows []uint32, n int) {
	if rows != nil {
		n = len(rows)
	}
	for i := range cols {
		before := vectorBytes(&b.cols[i])
		appendRows(&b.fields[i], &b.cols[i], b.rows, &cols[i], rows, n)
		b.bytes += vectorBytes(&b.cols[i]) - before
	}
	b.rows += n
}

// take is what was collected; the builder is empty after it.
func (b *builder) take() *Rows {
	r := &Rows{N: b.rows, Columns: b.cols}
	*b = *newBuilder(b.fields)
	return r
}

// appendRows appends n rows of src (those named, or all) to dst, which has
// `have` rows.
func appendRows(f *expr.Field, dst *expr.Vector, have int, src *expr.Vector, rows []uint32, n int) {
	if src.Valid != nil || dst.Valid != nil {
		for len(dst.Valid) < have {
			dst.Valid = append(dst.Valid, 1)
		}
		for k := range n {
			i := k
			if rows != nil {
				i = int(rows[k])
			}
			if valid(src, i) {
				dst.Valid = append(dst.Valid, 1)
			} else {
				dst.Valid = append(dst.Valid, 0)
			}
		}
	}
	if variable(f) {
		if dst.Offsets == nil {
			dst.Offsets = append(make([]uint64, 0, n+1), 0)
		}
		at := dst.Offsets[have]
		if rows == nil {
			from := src.Offsets[0]
			dst.Values = append(dst.Values, src.Values[from:src.Offsets[n]]...)
			for _, o := range src.Offsets[1 : n+1] {
				dst.Offsets = append(dst.Offsets, at+o-from)
			}
			return
		}
		for _, i := range rows {
			s := src.Values[src.Offsets[i]:src.Offsets[i+1]]
			dst.Values = append(dst.Values, s...)
			at += uint64(len(s))
			dst.Offsets = append(dst.Offsets, at)
		}
		return
	}
	w := width(f)
	if rows == nil {
		dst.Values = append(dst.Values, src.Values[:n*w]...)
		return
	}
	if cap(dst.Values)-len(dst.Values) < n*w {
		grown := make([]byte, len(dst.Values), max(2*cap(dst.Values), len(dst.Values)+n*w))
		copy(grown, dst.Values)
		dst.Values = grown
	}
	out := dst.Values[len(dst.Values) : len(dst.Values)+n*w]
	gather(out, src.Values, rows, w)
	dst.Values = dst.Values[:len(dst.Values)+n*w]
}

// gather copies the named rows of width w.
func gather(out, in []byte, rows []uint32, w int) {
	switch w {
	case 1:
		for k, i := range rows {
			out[k] = in[i]
		}
	case 2:
		for k, i := range rows {
			binary.LittleEndian.PutUint16(out[2*k:], binary.LittleEndian.Uint16(in[2*int(i):]))
		}
	case 4:
		for k, i := range rows {
			binary.LittleEndian.PutUint32(out[4*k:], binary.LittleEndian.Uint32(in[4*int(i):]))
		}
	case 8:
		for k, i := range rows {
			binary.LittleEndian.PutUint64(out[8*k:], binary.LittleEndian.Uint64(in[8*int(i):]))
		}
	default:
		for k, i := range rows {
			copy(out[k*w:(k+1)*w], in[int(i)*w:(int(i)+1)*w])
		}
	}
}

// Append appends n rows of src to dst, which has `have` rows.
func Append(f *expr.Field, dst *expr.Vector, have int, src *expr.Vector, n int) {
	before := len(dst.Values)
	appendRows(f, dst, have, src, nil, n)
	if src.Elements == nil && dst.Elements == nil {
		return
	}
	w := f.Elem.Size()
	for len(dst.Elements) < before/w {
		dst.Elements = append(dst.Elements, 1)
	}
	if src.Elements != nil {
		dst.Elements = append(dst.Elements, src.Elements[:(len(dst.Values)-before)/w]...)
		return
	}
	for len(dst.Elements) < len(dst.Values)/w {
		dst.Elements = append(dst.Elements, 1)
	}
}

// Pick is the named rows of a column, by itself.
func Pick(f *expr.Field, src *expr.Vector, rows []uint32) expr.Vector { return pick(f, src, rows) }

func pick(f *expr.Field, src *expr.Vector, rows []uint32) expr.Vector {
	var v expr.Vector
	appendRows(f, &v, 0, src, rows, len(rows))
	return v
}
