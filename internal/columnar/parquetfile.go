package columnar

import (
	"encoding/base64"
	"io"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/flight"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"

	"daos/internal/fault"
)

// parquetWriter writes Parquet compressed with zstd. Arrow v17 writes wrong
// values for fixed-size lists, so they are written as lists; the true schema is
// stored beside, and readers (pyarrow, ours) turn them back by it.
type parquetWriter struct {
	w      *pqarrow.FileWriter
	schema *arrow.Schema // as written
}

// NewParquetWriter writes a Parquet file. It does not close w.
func NewParquetWriter(w io.Writer, schema *arrow.Schema) (RecordWriter, error) {
	written := listSchema(schema)
	fw, err := pqarrow.NewFileWriter(written, struct{ io.Writer }{w},
		parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Zstd), parquet.WithVersion(parquet.V2_LATEST)),
		pqarrow.DefaultWriterProps())
	if err != nil {
		return nil, err
	}
	text := base64.StdEncoding.EncodeToString(flight.SerializeSchema(schema, memory.DefaultAllocator))
	return &parquetWriter{fw, written}, fw.AppendKeyValueMetadata("ARROW:schema", text)
}

func (p *parquetWriter) Close() error { return p.w.Close() }

func (p *parquetWriter) Write(rec arrow.Record) error {
	cols := make([]arrow.Array, rec.NumCols())
	for i := range cols {
		cols[i] = rec.Column(i)
		if f, ok := cols[i].(*array.FixedSizeList); ok {
			l, err := toList(rec.ColumnName(i), f)
			if err != nil {
				return err
			}
			cols[i] = l
		}
	}
	return p.w.WriteBuffered(array.NewRecord(p.schema, cols, rec.NumRows()))
}

func listSchema(s *arrow.Schema) *arrow.Schema {
	fields := s.Fields()
	for i := range fields {
		if t, ok := fields[i].Type.(*arrow.FixedSizeListType); ok {
			fields[i].Type = arrow.ListOfField(t.ElemField())
			fields[i].Metadata = arrow.Metadata{} // the extension belongs to the true schema
		}
	}
	return arrow.NewSchema(fields, nil)
}

// toList is a fixed-size list as a list.
func toList(name string, f *array.FixedSizeList) (arrow.Array, error) {
	if f.NullN() > 0 {
		// Readers, pyarrow too, refuse a null among lists that the schema calls fixed.
		return nil, fault.New(fault.Unsupported, "tensor.parquet", name, "null samples of a fixed shape have no form in Parquet").Do("export to .arrow")
	}
	size := f.DataType().(*arrow.FixedSizeListType).Len()
	offsets := make([]int32, f.Len()+1)
	for i := range offsets {
		offsets[i] = int32(i) * size
	}
	start := int64(f.Data().Offset()) * int64(size)
	child := array.NewSlice(f.ListValues(), start, start+int64(f.Len())*int64(size))
	t := arrow.ListOfField(f.DataType().(*arrow.FixedSizeListType).ElemField())
	data := array.NewData(t, f.Len(), []*memory.Buffer{nil, memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(offsets))},
		[]arrow.ArrayData{child.Data()}, 0, 0)
	return array.NewListData(data), nil
}
