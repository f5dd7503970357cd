package tensorarrow

import (
	"encoding/json"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"

	"daos/dataset/tensor"
	"daos/internal/fault"
)

const (
	keyExtension = "ARROW:extension:name"
	keyMetadata  = "ARROW:extension:metadata"
	fixedShape   = "arrow.fixed_shape_tensor"
)

// shapeMeta is the extension's metadata, as its specification says.
type shapeMeta struct {
	Shape       []uint64 `json:"shape"`
	Permutation []int    `json:"permutation,omitempty"`
}

var elements = map[tensor.DType]arrow.DataType{
	tensor.Bool: arrow.FixedWidthTypes.Boolean,
	tensor.Int8: arrow.PrimitiveTypes.Int8, tensor.Int16: arrow.PrimitiveTypes.Int16,
	tensor.Int32: arrow.PrimitiveTypes.Int32, tensor.Int64: arrow.PrimitiveTypes.Int64,
	tensor.Uint8: arrow.PrimitiveTypes.Uint8, tensor.Uint16: arrow.PrimitiveTypes.Uint16,
	tensor.Uint32: arrow.PrimitiveTypes.Uint32, tensor.Uint64: arrow.PrimitiveTypes.Uint64,
	tensor.Float16: arrow.FixedWidthTypes.Float16, tensor.Float32: arrow.PrimitiveTypes.Float32,
	tensor.Float64: arrow.PrimitiveTypes.Float64,
}

func dtypeOf(t arrow.DataType) (tensor.DType, bool) {
	for d, e := range elements {
		if e.ID() == t.ID() {
			return d, true
		}
	}
	return 0, false
}

// SchemaOf is the Arrow schema of columns.
func SchemaOf(cols []tensor.Column) *arrow.Schema {
	fields := make([]arrow.Field, len(cols))
	for i := range cols {
		fields[i] = fieldOf(&cols[i])
	}
	return arrow.NewSchema(fields, nil)
}

func fieldOf(c *tensor.Column) arrow.Field {
	f := arrow.Field{Name: c.Name, Nullable: c.Nullable}
	e := elements[c.DType]
	switch c.Layout {
	case tensor.Fixed:
		f.Type = e
		if len(c.Shape) > 0 {
			f.Type = arrow.FixedSizeListOf(int32(c.ItemSize()/c.DType.Size()), e)
			m, err := json.Marshal(shapeMeta{Shape: c.Shape})
			if err != nil {
				panic(err) // a list of numbers
			}
			f.Metadata = arrow.NewMetadata([]string{keyExtension, keyMetadata}, []string{fixedShape, string(m)})
		}
	case tensor.Ragged:
		f.Type = arrow.ListOf(e)
	case tensor.Bytes:
		f.Type = arrow.BinaryTypes.Binary
	case tensor.String:
		f.Type = arrow.BinaryTypes.String
	}
	return f
}

// ColumnsOf are the columns that a table of this schema would have: for Define
// from Arrow data. fault.Unsupported names a field that has no column type.
func ColumnsOf(s *arrow.Schema) ([]tensor.Column, error) {
	cols := make([]tensor.Column, s.NumFields())
	for i, f := range s.Fields() {
		c, err := columnOf(f)
		if err != nil {
			return nil, err
		}
		cols[i] = c
	}
	return cols, nil
}

func columnOf(f arrow.Field) (tensor.Column, error) {
	c := tensor.Column{Name: f.Name, Nullable: f.Nullable}
	t := storage(f.Type)
	switch t.ID() {
	case arrow.BINARY, arrow.LARGE_BINARY, arrow.FIXED_SIZE_BINARY:
		c.Layout, c.DType = tensor.Bytes, tensor.Uint8
		return c, nil
	case arrow.STRING, arrow.LARGE_STRING:
		c.Layout, c.DType = tensor.String, tensor.Uint8
		return c, nil
	case arrow.LIST, arrow.LARGE_LIST:
		if d, ok := dtypeOf(storage(t.(arrow.ListLikeType).Elem())); ok {
			c.Layout, c.DType = tensor.Ragged, d
			return c, nil
		}
	default:
		c.Layout = tensor.Fixed
		for t.ID() == arrow.FIXED_SIZE_LIST && len(c.Shape) < tensor.MaxDims {
			l := t.(*arrow.FixedSizeListType)
			c.Shape = append(c.Shape, uint64(l.Len()))
			t = storage(l.Elem())
		}
		if d, ok := dtypeOf(t); ok {
			c.DType = d
			return c, shapeOf(f, &c)
		}
	}
	return c, fault.New(fault.Unsupported, "tensor.arrow", fmt.Sprintf("field %q", f.Name), "%s has no column type", f.Type).
		Do("use bool, integers, floats, fixed_size_list or list of them, binary or utf8")
}

// shapeOf takes the shape that the extension names instead of the storage's.
func shapeOf(f arrow.Field, c *tensor.Column) error {
	var text string
	if e, ok := f.Type.(arrow.ExtensionType); ok && e.ExtensionName() == fixedShape {
		text = e.Serialize()
	} else if i := f.Metadata.FindKey(keyExtension); i >= 0 && f.Metadata.Values()[i] == fixedShape {
		if k := f.Metadata.FindKey(keyMetadata); k >= 0 {
			text = f.Metadata.Values()[k]
		}
	}
	if text == "" {
		return nil
	}
	bad := func(detail string) error {
		return fault.New(fault.Invalid, "tensor.arrow", fmt.Sprintf("field %q", f.Name), "%s", detail)
	}
	var m shapeMeta
	if err := json.Unmarshal([]byte(text), &m); err != nil || len(m.Shape) > tensor.MaxDims {
		return bad("the shape of its fixed_shape_tensor can't be read")
	}
	for i, p := range m.Permutation {
		if p != i {
			return fault.New(fault.Unsupported, "tensor.arrow", fmt.Sprintf("field %q", f.Name), "a fixed_shape_tensor with a permutation").
				Do("make it contiguous in C order first")
		}
	}
	have, want := uint64(1), uint64(1)
	for _, d := range c.Shape {
		have *= d
	}
	for _, d := range m.Shape {
		if d == 0 || d > tensor.MaxSampleBytes || want*d > tensor.MaxSampleBytes {
			return bad("the shape of its fixed_shape_tensor is not valid")
		}
		want *= d
	}
	if have != want {
		return bad("the shape of its fixed_shape_tensor does not match its storage")
	}
	c.Shape = m.Shape
	return nil
}

// storage is the physical type under an extension type.
func storage(t arrow.DataType) arrow.DataType {
	if e, ok := t.(arrow.ExtensionType); ok {
		return e.StorageType()
	}
	return t
}
