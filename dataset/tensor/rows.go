package tensor

import (
	"context"
	"encoding/binary"
	"fmt"
	"unicode/utf8"

	"daos/internal/fault"
)

// Data is the values of one column for some rows.
type Data struct {
	// Values are the rows one behind the other, little-endian, C order.
	Values []byte
	// Offsets, for all layouts but Fixed, has one entry more than there are
	// rows: row i is Values[Offsets[i]:Offsets[i+1]], and Offsets[0] is 0.
	Offsets []uint64
	// Valid has a byte for each row, 1 where there is a value and 0 where it
	// is null; nil: all are there. A null row is zeros (Fixed) or empty.
	Valid []byte
}

// Rows is some rows of some columns.
type Rows struct {
	N       int
	Columns []Data // in the order that was asked for
}

// Bytes is the memory of r's values, offsets and validity.
func (r *Rows) Bytes() int64 {
	var n int64
	for i := range r.Columns {
		d := &r.Columns[i]
		n += int64(len(d.Values) + 8*len(d.Offsets) + len(d.Valid))
	}
	return n
}

// Source hands out rows in pieces: io.EOF after the last. What Next returns
// may be used until the next call.
type Source interface {
	Next(ctx context.Context) (*Rows, error)
}

// check verifies that r fits cols, so that nothing malformed is ever stored.
func (r *Rows) check(cols []Column) error {
	if len(r.Columns) != len(cols) {
		return fault.New(fault.Invalid, "tensor.rows", "columns", "%d columns given, %d expected", len(r.Columns), len(cols))
	}
	for i := range cols {
		if err := r.Columns[i].check(&cols[i], r.N); err != nil {
			return err
		}
	}
	return nil
}

func (d *Data) check(c *Column, n int) error {
	bad := func(format string, args ...any) error {
		return fault.New(fault.Invalid, "tensor.rows", fmt.Sprintf("column %q", c.Name), format, args...)
	}
	size := c.ItemSize()
	if d.Valid != nil && len(d.Valid) != n {
		return bad("validity of %d rows for %d", len(d.Valid), n)
	}
	for i, v := range d.Valid {
		if v > 1 {
			return bad("validity of row %d is %d", i, v)
		}
		if v == 0 && !c.Nullable {
			return fault.New(fault.Invalid, "tensor.rows", fmt.Sprintf("column %q", c.Name), "row %d is null and the column is not nullable", i).
				Do("define the column as nullable, or fill the value")
		}
	}
	if c.Layout == Fixed {
		if len(d.Values) != n*size {
			return bad("%d bytes for %d rows of %d bytes", len(d.Values), n, size)
		}
		for i, v := range d.Valid {
			if v == 0 {
				clear(d.Values[i*size : (i+1)*size])
			}
		}
	} else {
		if len(d.Offsets) != n+1 || d.Offsets[0] != 0 || d.Offsets[n] != uint64(len(d.Values)) {
			return bad("offsets do not match %d rows of %d bytes", n, len(d.Values))
		}
		for i := 0; i < n; i++ {
			a, b := d.Offsets[i], d.Offsets[i+1]
			switch {
			case b < a || b > uint64(len(d.Values)) || (b-a)%uint64(size) != 0:
				return bad("offsets of row %d are not valid", i)
			case b-a > MaxSampleBytes:
				return fault.New(fault.TooBig, "tensor.rows", fmt.Sprintf("column %q", c.Name), "row %d has %d bytes, at most %d are allowed", i, b-a, MaxSampleBytes)
			case c.Layout == String && !utf8.Valid(d.Values[a:b]):
				return fault.New(fault.Invalid, "tensor.rows", fmt.Sprintf("column %q", c.Name), "row %d is not UTF-8", i).
					Do("define the column as bytes")
			case d.Valid != nil && d.Valid[i] == 0 && a != b:
				return bad("row %d is null and not empty", i)
			}
		}
	}
	if c.DType == Bool {
		for i, v := range d.Values {
			if v > 1 {
				return bad("a bool is %d, at byte %d", v, i)
			}
		}
	}
	return nil
}

// span is the byte range of rows [from, to) in d.Values.
func (d *Data) span(c *Column, from, to int) (lo, hi int) {
	if c.Layout == Fixed {
		s := c.ItemSize()
		return from * s, to * s
	}
	return int(d.Offsets[from]), int(d.Offsets[to])
}

// slice is rows [from, to) of d; it shares the memory of values and validity.
func (d *Data) slice(c *Column, from, to int) Data {
	lo, hi := d.span(c, from, to)
	out := Data{Values: d.Values[lo:hi:hi]}
	if d.Valid != nil {
		out.Valid = d.Valid[from:to:to]
	}
	if c.Layout != Fixed {
		out.Offsets = make([]uint64, to-from+1)
		for i := range out.Offsets {
			out.Offsets[i] = d.Offsets[from+i] - uint64(lo)
		}
	}
	return out
}

// add appends n rows of o to d, which has have rows, copying them.
func (d *Data) add(c *Column, have int, o *Data, n int) {
	base := uint64(len(d.Values))
	d.Values = append(d.Values, o.Values...)
	if c.Layout != Fixed {
		if len(d.Offsets) == 0 {
			d.Offsets = append(d.Offsets, 0)
		}
		for _, e := range o.Offsets[1:] {
			d.Offsets = append(d.Offsets, base+e)
		}
	}
	if o.Valid != nil && d.Valid == nil {
		d.Valid = ones(have)
	}
	if d.Valid != nil {
		if o.Valid != nil {
			d.Valid = append(d.Valid, o.Valid...)
		} else {
			d.Valid = append(d.Valid, ones(n)...)
		}
	}
}

func ones(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = 1
	}
	return b
}

// ends is the stored form of the offsets: the end of each row in the chunk's
// values, which hold base bytes before these rows.
func (d *Data) ends(base uint64) []byte {
	b := make([]byte, 0, 8*(len(d.Offsets)-1))
	for _, e := range d.Offsets[1:] {
		b = binary.LittleEndian.AppendUint64(b, base+e)
	}
	return b
}
