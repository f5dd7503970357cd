package tensorarrow

import (
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/bitutil"

	"daos/dataset/tensor"
	"daos/internal/fault"
)

// NewElements reads a stream of one column of elements of fixed width, whatever
// their type, or of fixed-size lists of them: rows of an array. ElementsOf takes
// its records.
func NewElements(r io.Reader) (*Reader, error) {
	return newReader(&messages{r: r, elements: true}, checkElements)
}

// checkElements refuses a schema that NewElements does not read.
func checkElements(s *arrow.Schema) error {
	if s.NumFields() != 1 {
		return invalid("rows of an array", "%d columns", s.NumFields()).Do("give one column, a row for each position along the first axis")
	}
	t := storage(s.Field(0).Type)
	for range tensor.MaxDims {
		if t.ID() != arrow.FIXED_SIZE_LIST {
			break
		}
		t = storage(t.(*arrow.FixedSizeListType).Elem())
	}
	if w, ok := t.(arrow.FixedWidthDataType); !ok || t.ID() == arrow.DICTIONARY || w.BitWidth() <= 0 {
		return invalid(fmt.Sprintf("column %q", s.Field(0).Name), "%s is no type of elements", s.Field(0).Type).
			Do("give elements of fixed width, or fixed_size_list or fixed_shape_tensor of them")
	}
	return nil
}

// ElementsOf is the elements of a record's one column in C order, a bool being a
// byte each. They must be of the type element, row of them (by axis) in each row of
// the record, and none is null. They may share the record's memory.
func ElementsOf(rec arrow.Record, element arrow.DataType, row []uint64) (rows int, data []byte, err error) {
	defer recovered(&err)
	if err := checkElements(rec.Schema()); err != nil {
		return 0, nil, err
	}
	f := rec.Schema().Field(0)
	bad := func(format string, args ...any) *fault.Error {
		return invalid(fmt.Sprintf("column %q", f.Name), format, args...)
	}
	a := rec.Column(0).Data()
	if rec.NumRows() < 0 || rec.NumRows() > math.MaxInt32 || a.Len() != int(rec.NumRows()) || a.Offset() < 0 {
		return 0, nil, bad("%d values for %d rows", a.Len(), rec.NumRows())
	}
	rows = a.Len()
	c := tensor.Column{Name: f.Name}
	off, count := a.Offset(), rows
	for {
		if v := validity(a); v != nil && slices.Contains(v[off-a.Offset():][:count], 0) {
			return 0, nil, bad("a null, which an array has not").Do("give the fill value for what is missing")
		}
		l, ok := storage(a.DataType()).(*arrow.FixedSizeListType)
		if !ok {
			break
		}
		n := int(l.Len())
		if off+count > 0 && n > math.MaxInt/64/(off+count) {
			return 0, nil, bad("malformed")
		}
		c.Shape = append(c.Shape, uint64(n))
		off, count = off*n, count*n
		a = a.Children()[0]
		off += a.Offset()
	}
	if err := shapeOf(f, &c); err != nil {
		return 0, nil, err
	}
	have, want := uint64(1), uint64(1)
	for _, n := range c.Shape {
		have *= n
	}
	for _, n := range row {
		want *= n
	}
	if have != want || len(c.Shape) > 1 && !slices.Equal(c.Shape, row) {
		return 0, nil, bad("rows of shape %v, the array takes %v", c.Shape, row).Do("reshape them, or name the part of the array that they are")
	}
	if t := storage(a.DataType()); !arrow.TypeEqual(t, element) {
		return 0, nil, bad("elements of type %s, the array's are %s", t, element).Do("convert them first")
	}
	if count == 0 {
		return rows, nil, nil
	}
	raw := a.Buffers()[1].Bytes()
	if element.ID() == arrow.BOOL {
		_ = raw[:(off+count+7)/8] // panics here, not after the allocation
		data = make([]byte, count)
		for i := range data {
			if bitutil.BitIsSet(raw, off+i) {
				data[i] = 1
			}
		}
		return rows, data, nil
	}
	w := element.(arrow.FixedWidthDataType).BitWidth() / 8
	return rows, raw[off*w : (off+count)*w], nil
}
