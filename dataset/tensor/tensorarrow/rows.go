package tensorarrow

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"daos/dataset/tensor"
	"daos/internal/fault"
)

// RowsOf converts a record batch to rows of cols: fields are found by name,
// whatever their order. Values may share the record's memory. Nothing in the
// record is trusted.
func RowsOf(rec arrow.Record, cols []tensor.Column) (rows *tensor.Rows, err error) {
	defer recovered(&err)
	if err := match(rec.Schema(), cols); err != nil {
		return nil, err
	}
	n := rec.NumRows()
	if n < 0 || n > math.MaxInt32 {
		return nil, invalid("record batch", "%d rows", n)
	}
	rows = &tensor.Rows{N: int(n), Columns: make([]tensor.Data, len(cols))}
	for i := range cols {
		k := rec.Schema().FieldIndices(cols[i].Name)[0]
		if rows.Columns[i], err = dataOf(&cols[i], rec.Column(k).Data(), int(n)); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// match checks that a schema has exactly the columns, with their types.
func match(s *arrow.Schema, cols []tensor.Column) error {
	for i := range cols {
		c := &cols[i]
		k := s.FieldIndices(c.Name)
		switch {
		case len(k) == 0:
			return invalid(fmt.Sprintf("column %q", c.Name), "missing in the data").Do("give all columns of the call")
		case len(k) > 1:
			return invalid(fmt.Sprintf("column %q", c.Name), "there twice")
		}
		got, err := columnOf(s.Field(k[0]))
		if err != nil {
			return err
		}
		layout := got.Layout == c.Layout || c.Layout == tensor.Bytes && got.Layout == tensor.String
		if !layout || got.DType != c.DType || elementsOf(&got) != elementsOf(c) || differ(got.Shape, c.Shape) {
			return invalid(fmt.Sprintf("column %q", c.Name), "the data is %s, the column is %s", describe(&got), describe(c)).
				Do("convert it first")
		}
	}
	if s.NumFields() != len(cols) {
		for _, f := range s.Fields() {
			known := false
			for i := range cols {
				known = known || cols[i].Name == f.Name
			}
			if !known {
				return invalid(fmt.Sprintf("column %q", f.Name), "not a column of this dataset")
			}
		}
	}
	return nil
}

// differ reports whether two shapes of as many elements differ; a flat list is
// taken for any shape.
func differ(got, want []uint64) bool {
	if len(got) <= 1 {
		return false
	}
	if len(got) != len(want) {
		return true
	}
	for i := range got {
		if got[i] != want[i] {
			return true
		}
	}
	return false
}

func elementsOf(c *tensor.Column) int {
	if c.Layout != tensor.Fixed {
		return 1
	}
	return c.ItemSize() / c.DType.Size()
}

func describe(c *tensor.Column) string {
	switch {
	case c.Layout == tensor.Fixed && len(c.Shape) > 0:
		return fmt.Sprintf("%s%v", c.DType, c.Shape)
	case c.Layout == tensor.Fixed:
		return c.DType.String()
	case c.Layout == tensor.Ragged:
		return "ragged " + c.DType.String()
	}
	return c.Layout.String()
}

func invalid(what, format string, args ...any) *fault.Error {
	return fault.New(fault.Invalid, "tensor.arrow", what, format, args...)
}

// recovered turns a panic over malformed data into an error.
func recovered(err *error) {
	if p := recover(); p != nil {
		if e, ok := p.(*fault.Error); ok {
			*err = e
			return
		}
		*err = invalid("arrow data", "malformed (%v)", p)
	}
}

// dataOf converts one array of n rows.
func dataOf(c *tensor.Column, a arrow.ArrayData, n int) (tensor.Data, error) {
	var d tensor.Data
	if a.Len() != n || a.Offset() < 0 {
		return d, invalid(fmt.Sprintf("column %q", c.Name), "%d values for %d rows", a.Len(), n)
	}
	d.Valid = validity(a)
	var err error
	switch t := storage(a.DataType()); {
	case c.Layout == tensor.Fixed:
		d.Values, err = fixedValues(c, a, n, d.Valid)
		return d, err
	case t.ID() == arrow.FIXED_SIZE_BINARY:
		w := t.(*arrow.FixedSizeBinaryType).ByteWidth
		if w < 1 {
			return d, invalid(fmt.Sprintf("column %q", c.Name), "fixed_size_binary of %d bytes", w)
		}
		d.Values = a.Buffers()[1].Bytes()[a.Offset()*w : (a.Offset()+n)*w]
		d.Offsets = make([]uint64, n+1)
		for i := range d.Offsets {
			d.Offsets[i] = uint64(i * w)
		}
	case t.ID() == arrow.LIST || t.ID() == arrow.LARGE_LIST:
		err = listValues(c, &d, a, n, t.ID() == arrow.LARGE_LIST)
	default:
		ends := offsets(a, n, t.ID() == arrow.LARGE_BINARY || t.ID() == arrow.LARGE_STRING)
		var values []byte
		if b := a.Buffers()[2]; b != nil {
			values = b.Bytes()
		}
		err = rebase(c, &d, values, ends, 1)
	}
	if err == nil {
		dropNullBytes(&d)
	}
	return d, err
}

// validity is a byte a row, nil where nothing is null.
func validity(a arrow.ArrayData) []byte {
	b := a.Buffers()
	if len(b) == 0 || b[0] == nil || b[0].Len() == 0 {
		return nil
	}
	if a.Len() == 0 {
		return nil
	}
	bits := b[0].Bytes()
	_ = bits[(a.Offset()+a.Len()-1)>>3] // panics here, not after the allocation
	out := make([]byte, a.Len())
	nulls := false
	for i := range out {
		k := a.Offset() + i
		if bits[k>>3]>>(k&7)&1 == 1 {
			out[i] = 1
		} else {
			nulls = true
		}
	}
	if !nulls {
		return nil
	}
	return out
}

// fixedValues follows fixed-size lists down to their elements.
func fixedValues(c *tensor.Column, a arrow.ArrayData, n int, valid []byte) ([]byte, error) {
	off, count := a.Offset(), n
	for t := storage(a.DataType()); t.ID() == arrow.FIXED_SIZE_LIST; t = storage(a.DataType()) {
		l := int(t.(*arrow.FixedSizeListType).Len())
		if count > 0 && l > math.MaxInt/4/max(off+count, 1) {
			return nil, invalid(fmt.Sprintf("column %q", c.Name), "malformed")
		}
		off, count = off*l, count*l
		a = a.Children()[0]
		off += a.Offset()
		if v := validity(a); v != nil {
			for i := 0; i < count; i++ {
				row := i / max(count/max(n, 1), 1)
				if v[off-a.Offset()+i] == 0 && (valid == nil || valid[row] == 1) {
					return nil, invalid(fmt.Sprintf("column %q", c.Name), "row %d has a null element", row).Do("only whole samples can be null")
				}
			}
		}
	}
	if count == 0 {
		return []byte{}, nil
	}
	values := elementBytes(c.DType, a, off, count)
	if valid != nil {
		values = append([]byte(nil), values...) // null rows are zeroed in place
	}
	return values, nil
}

// elementBytes is count elements from off on of a primitive array.
func elementBytes(t tensor.DType, a arrow.ArrayData, off, count int) []byte {
	var raw []byte
	if b := a.Buffers()[1]; b != nil {
		raw = b.Bytes()
	}
	if t != tensor.Bool {
		return raw[off*t.Size() : (off+count)*t.Size()]
	}
	_ = raw[:(off+count+7)/8] // panics here, not after the allocation
	out := make([]byte, count)
	for i := range out {
		if bitutil.BitIsSet(raw, off+i) {
			out[i] = 1
		}
	}
	return out
}

// offsets are the n+1 offsets of a list or binary array.
func offsets(a arrow.ArrayData, n int, large bool) []uint64 {
	b := a.Buffers()[1]
	if b == nil || b.Len() == 0 {
		if n > 0 {
			panic("no offsets")
		}
		return []uint64{0}
	}
	raw := b.Bytes()
	w := 4
	if large {
		w = 8
	}
	_ = raw[w*(a.Offset()+n+1)-1] // panics here, not after the allocation
	out := make([]uint64, n+1)
	for i := range out {
		k := a.Offset() + i
		if large {
			out[i] = binary.LittleEndian.Uint64(raw[8*k:])
		} else {
			out[i] = uint64(binary.LittleEndian.Uint32(raw[4*k:]))
		}
	}
	return out
}

// rebase sets d's values and offsets from offsets in elements of w bytes.
func rebase(c *tensor.Column, d *tensor.Data, values []byte, ends []uint64, w int) error {
	first, last := ends[0], ends[len(ends)-1]
	prev := first
	for i, e := range ends {
		if e > uint64(len(values)/w) || e < prev {
			return invalid(fmt.Sprintf("column %q", c.Name), "the offsets of row %d are not valid", max(i-1, 0))
		}
		prev, ends[i] = e, (e-first)*uint64(w)
	}
	d.Offsets = ends
	d.Values = values[first*uint64(w) : last*uint64(w)]
	return nil
}

func listValues(c *tensor.Column, d *tensor.Data, a arrow.ArrayData, n int, large bool) error {
	ends := offsets(a, n, large)
	child := a.Children()[0]
	first, last := ends[0], ends[n]
	if last < first || last > uint64(child.Len()) {
		return invalid(fmt.Sprintf("column %q", c.Name), "the offsets are not valid")
	}
	if v := validity(child); v != nil {
		for _, ok := range v[first:last] {
			if ok == 0 {
				return invalid(fmt.Sprintf("column %q", c.Name), "a null element").Do("only whole samples can be null")
			}
		}
	}
	values := []byte{}
	if last > first {
		values = elementBytes(c.DType, child, child.Offset()+int(first), int(last-first))
	}
	for i := range ends {
		if ends[i] < first {
			return invalid(fmt.Sprintf("column %q", c.Name), "the offsets are not valid")
		}
		ends[i] -= first
	}
	return rebase(c, d, values, ends, c.DType.Size())
}

// dropNullBytes takes out bytes that lie under null rows, which Arrow allows.
func dropNullBytes(d *tensor.Data) {
	dirty := false
	for i, v := range d.Valid {
		dirty = dirty || v == 0 && d.Offsets[i] != d.Offsets[i+1]
	}
	if !dirty {
		return
	}
	values, ends := []byte{}, make([]uint64, len(d.Offsets))
	for i := range d.Valid {
		if d.Valid[i] == 1 {
			values = append(values, d.Values[d.Offsets[i]:d.Offsets[i+1]]...)
		}
		ends[i+1] = uint64(len(values))
	}
	d.Values, d.Offsets = values, ends
}

// RecordOf makes a record batch of rows; it shares their memory.
func RecordOf(s *arrow.Schema, cols []tensor.Column, rows *tensor.Rows) (arrow.Record, error) {
	arrays := make([]arrow.Array, len(cols))
	for i := range cols {
		a, err := arrayOf(&cols[i], s.Field(i).Type, &rows.Columns[i], rows.N)
		if err != nil {
			return nil, err
		}
		arrays[i] = a
	}
	return array.NewRecord(s, arrays, int64(rows.N)), nil
}

func arrayOf(c *tensor.Column, t arrow.DataType, d *tensor.Data, n int) (arrow.Array, error) {
	t = storage(t)
	var bitmap *memory.Buffer
	nulls := 0
	if d.Valid != nil {
		var bits []byte
		bits, nulls = pack(d.Valid)
		if nulls > 0 {
			bitmap = memory.NewBufferBytes(bits)
		}
	}
	if c.Layout == tensor.Fixed && len(c.Shape) == 0 {
		return array.MakeFromData(array.NewData(t, n, []*memory.Buffer{bitmap, elementBuffer(c.DType, d.Values)}, nil, nulls, 0)), nil
	}
	e := elements[c.DType]
	child := func() []arrow.ArrayData {
		return []arrow.ArrayData{array.NewData(e, len(d.Values)/c.DType.Size(), []*memory.Buffer{nil, elementBuffer(c.DType, d.Values)}, nil, 0, 0)}
	}
	if c.Layout == tensor.Fixed {
		return array.MakeFromData(array.NewData(t, n, []*memory.Buffer{bitmap}, child(), nulls, 0)), nil
	}
	w := uint64(c.DType.Size())
	ends := make([]byte, 0, 4*(n+1))
	for _, o := range d.Offsets {
		if o/w > math.MaxInt32 {
			return nil, fault.New(fault.TooBig, "tensor.arrow", fmt.Sprintf("column %q", c.Name), "more than 2^31 elements in one record batch").Do("read fewer samples at once")
		}
		ends = binary.LittleEndian.AppendUint32(ends, uint32(o/w))
	}
	if c.Layout == tensor.Ragged {
		return array.MakeFromData(array.NewData(t, n, []*memory.Buffer{bitmap, memory.NewBufferBytes(ends)}, child(), nulls, 0)), nil
	}
	return array.MakeFromData(array.NewData(t, n, []*memory.Buffer{bitmap, memory.NewBufferBytes(ends), memory.NewBufferBytes(d.Values)}, nil, nulls, 0)), nil
}

func elementBuffer(t tensor.DType, values []byte) *memory.Buffer {
	if t == tensor.Bool {
		values, _ = pack(values)
	}
	return memory.NewBufferBytes(values)
}

// pack makes a bitmap of bytes 0 and 1 and counts the zeros.
func pack(v []byte) (bits []byte, zeros int) {
	bits = make([]byte, (len(v)+7)/8)
	for i, x := range v {
		bits[i>>3] |= (x & 1) << (i & 7)
		zeros += 1 - int(x&1)
	}
	return bits, zeros
}
