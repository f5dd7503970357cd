package columnar

import (
	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"daos/dataset/tensor"
	"daos/dataset/tensor/tensorarrow"
	"daos/query/exec"
	"daos/query/expr"
)

var elementTypes = map[expr.Type]tensor.DType{expr.Bool: tensor.Bool, expr.Int8: tensor.Int8, expr.Int16: tensor.Int16, expr.Int32: tensor.Int32,
	expr.Int64: tensor.Int64, expr.Uint8: tensor.Uint8, expr.Uint16: tensor.Uint16, expr.Uint32: tensor.Uint32, expr.Uint64: tensor.Uint64,
	expr.Float16: tensor.Float16, expr.Float32: tensor.Float32, expr.Float64: tensor.Float64, expr.Time: tensor.Int64}

// RowWriter writes rows of a query as an Arrow IPC stream, message by message:
// as a MessageWriter does. A table's columns
// are those of a tensor dataset in Arrow, and times.
type RowWriter struct {
	cols   []tensor.Column
	times  []bool
	plain  *arrow.Schema // times are int64
	schema *arrow.Schema
	out    *MessageWriter
}

// NewRowWriter makes a writer for rows of a schema.
func NewRowWriter(s expr.Schema) (*RowWriter, error) {
	r := &RowWriter{times: make([]bool, len(s))}
	for i := range s {
		c := tensor.Column{Name: s[i].Name, Layout: tensor.Fixed, DType: elementTypes[s[i].Type], Nullable: true}
		switch s[i].Type {
		case expr.Text:
			c.Layout, c.DType = tensor.String, tensor.Uint8
		case expr.Bytes:
			c.Layout, c.DType = tensor.Bytes, tensor.Uint8
		case expr.List:
			if c.DType, c.Shape = elementTypes[s[i].Elem], s[i].Shape; c.Shape == nil {
				c.Layout = tensor.Ragged
			}
		case expr.Time:
			r.times[i] = true
		}
		r.cols = append(r.cols, c)
	}
	r.plain = tensorarrow.SchemaOf(r.cols)
	fields := r.plain.Fields()
	for i := range fields {
		if r.times[i] {
			fields[i].Type = &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"}
		}
	}
	r.schema = arrow.NewSchema(fields, nil)
	var err error
	r.out, err = NewMessageWriter(r.schema)
	return r, err
}

// Head is the message of the schema.
func (r *RowWriter) Head() []byte { return r.out.Head() }

// Schema is that of the stream.
func (r *RowWriter) Schema() *arrow.Schema { return r.schema }

// Batch is the message of some rows, valid until the next call.
func (r *RowWriter) Batch(rows *exec.Rows) ([]byte, error) {
	rec, err := r.Record(rows)
	if err != nil {
		return nil, err
	}
	return r.out.Batch(rec)
}

// Record is some rows as a record batch over their own memory.
func (r *RowWriter) Record(rows *exec.Rows) (arrow.Record, error) {
	in := &tensor.Rows{N: rows.N, Columns: make([]tensor.Data, len(rows.Columns))}
	for i := range rows.Columns {
		v := &rows.Columns[i]
		in.Columns[i] = tensor.Data{Values: v.Values, Offsets: v.Offsets, Valid: v.Valid}
	}
	rec, err := tensorarrow.RecordOf(r.plain, r.cols, in)
	if err != nil {
		return nil, err
	}
	arrays := make([]arrow.Array, len(r.cols))
	for i := range arrays {
		arrays[i] = rec.Column(i)
		if r.times[i] {
			d := arrays[i].Data()
			arrays[i] = array.MakeFromData(array.NewData(r.schema.Field(i).Type, d.Len(), d.Buffers(), nil, d.NullN(), d.Offset()))
		}
		if v := &rows.Columns[i]; v.Elements != nil {
			arrays[i] = withNulls(arrays[i].Data(), v.Elements)
		}
	}
	return array.NewRecord(r.schema, arrays, int64(rows.N)), nil
}

// withNulls is an array of lists some of whose elements are null: those whose
// byte is 0.
func withNulls(lists arrow.ArrayData, valid []byte) arrow.Array {
	e := lists.Children()[0]
	bits, nulls := make([]byte, (len(valid)+7)/8), 0
	for i, ok := range valid {
		bits[i>>3] |= (ok & 1) << (i & 7)
		nulls += 1 - int(ok&1)
	}
	elements := array.NewData(e.DataType(), e.Len(), []*memory.Buffer{memory.NewBufferBytes(bits), e.Buffers()[1]}, nil, nulls, 0)
	return array.MakeFromData(array.NewData(lists.DataType(), lists.Len(), lists.Buffers(), []arrow.ArrayData{elements}, lists.NullN(), 0))
}
