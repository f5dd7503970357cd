package columnar

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"

	"daos/dataset/tensor"
	"daos/dataset/tensor/tensorarrow"
	"daos/internal/fault"
)

// openArrow reads an IPC file or an IPC stream; the first bytes tell which.
func openArrow(name string) (*Source, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, openError(name, err)
	}
	magic := make([]byte, 6)
	if _, err := f.ReadAt(magic, 0); err != nil || !bytes.Equal(magic, []byte("ARROW1")) {
		return openStream(name, f)
	}
	rd, err := ipc.NewFileReader(f)
	if err != nil {
		return nil, errors.Join(malformed(name, err), f.Close())
	}
	at := 0
	return recordSource(name, rd.Schema(), func() (arrow.Record, error) {
		if at == rd.NumRecords() {
			return nil, io.EOF
		}
		at++
		return rd.Record(at - 1)
	}, func() error { return errors.Join(rd.Close(), f.Close()) })
}

func openStream(name string, f *os.File) (*Source, error) {
	rd, err := ipc.NewReader(f)
	if err != nil {
		return nil, errors.Join(malformed(name, err), f.Close())
	}
	return recordSource(name, rd.Schema(), func() (arrow.Record, error) {
		if rd.Next() {
			return rd.Record(), nil
		}
		return nil, errOrEOF(rd.Err())
	}, f.Close)
}

func errOrEOF(err error) error {
	if err == nil {
		return io.EOF
	}
	return err
}

func openParquet(name string) (*Source, error) {
	p, err := file.OpenParquetFile(name, false)
	if err != nil {
		if _, serr := os.Stat(name); serr != nil {
			return nil, openError(name, serr)
		}
		return nil, malformed(name, err)
	}
	rd, err := pqarrow.NewFileReader(p, pqarrow.ArrowReadProperties{BatchSize: 16 << 10}, memory.DefaultAllocator)
	if err != nil {
		return nil, errors.Join(malformed(name, err), p.Close())
	}
	rr, err := rd.GetRecordReader(context.Background(), nil, nil)
	if err != nil {
		return nil, errors.Join(malformed(name, err), p.Close())
	}
	s, err := recordSource(name, rr.Schema(), func() (arrow.Record, error) {
		if rr.Next() {
			return rr.Record(), nil
		}
		return nil, errOrEOF(rr.Err())
	}, p.Close)
	if s != nil {
		s.Rows = p.NumRows()
	}
	return s, err
}

func malformed(name string, err error) error {
	return fault.New(fault.Invalid, "tensor.open", name, "the file can't be read").Because(err)
}

// recordSource makes rows of record batches: large ones in slices, times as
// integers, which have a column type.
func recordSource(name string, schema *arrow.Schema, next func() (arrow.Record, error), closer func() error) (*Source, error) {
	s := &Source{Rows: -1, close: closer}
	plain := s.plainSchema(schema)
	cols, err := tensorarrow.ColumnsOf(plain)
	if err != nil {
		return nil, errors.Join(err, closer())
	}
	s.Columns = cols
	var rec arrow.Record
	at := int64(0)
	s.next = func(context.Context) (*tensor.Rows, error) {
		for rec == nil || at == rec.NumRows() {
			r, err := next()
			if errors.Is(err, io.EOF) {
				return nil, io.EOF
			}
			if err != nil {
				return nil, malformed(name, err)
			}
			rec, at = plainRecord(r, plain), 0
		}
		n := rec.NumRows() - at
		if size := recordBytes(rec); size > batchBytes {
			n = min(n, max(1, rec.NumRows()*batchBytes/size))
		}
		part := rec.NewSlice(at, at+n)
		at += n
		return tensorarrow.RowsOf(part, cols)
	}
	return s, nil
}

func recordBytes(rec arrow.Record) int64 {
	var n int64
	for _, c := range rec.Columns() {
		n += dataBytes(c.Data())
	}
	return n
}

func dataBytes(d arrow.ArrayData) int64 {
	var n int64
	for _, b := range d.Buffers() {
		if b != nil {
			n += int64(b.Len())
		}
	}
	for _, c := range d.Children() {
		n += dataBytes(c)
	}
	return n
}

// plainType is the integer type that a time is stored as.
func plainType(t arrow.DataType) (arrow.DataType, bool) {
	switch t.ID() {
	case arrow.TIMESTAMP, arrow.DURATION, arrow.DATE64, arrow.TIME64:
		return arrow.PrimitiveTypes.Int64, true
	case arrow.DATE32, arrow.TIME32:
		return arrow.PrimitiveTypes.Int32, true
	}
	return t, false
}

func (s *Source) plainSchema(schema *arrow.Schema) *arrow.Schema {
	fields := schema.Fields()
	for i, f := range fields {
		if t, ok := plainType(f.Type); ok {
			s.Notes = append(s.Notes, fmt.Sprintf("column %q: %s stored as %s", f.Name, f.Type, t))
			fields[i].Type = t
		}
	}
	return arrow.NewSchema(fields, nil)
}

func plainRecord(rec arrow.Record, schema *arrow.Schema) arrow.Record {
	cols := make([]arrow.Array, rec.NumCols())
	for i := range cols {
		c := rec.Column(i)
		if t, ok := plainType(c.DataType()); ok {
			d := c.Data()
			c = array.MakeFromData(array.NewData(t, d.Len(), d.Buffers(), nil, d.NullN(), d.Offset()))
		}
		cols[i] = c
	}
	return array.NewRecord(schema, cols, rec.NumRows())
}

// Record is Arrow's, for callers that hand it from one function here to another.
type Record = arrow.Record

// Schema is Arrow's, for the same callers.
type Schema = arrow.Schema

// Encode is rows as one whole Arrow IPC stream: the payload of an append.
func Encode(ctx context.Context, cols []tensor.Column, rows *tensor.Rows) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(int(rows.Bytes()) + 64<<10)
	err := tensorarrow.Write(ctx, &b, cols, &oneRows{rows})
	return b.Bytes(), err
}

type oneRows struct{ rows *tensor.Rows }

func (o *oneRows) Next(context.Context) (*tensor.Rows, error) {
	if o.rows == nil {
		return nil, io.EOF
	}
	r := o.rows
	o.rows = nil
	return r, nil
}

// Records reads an Arrow IPC stream of a tensor dataset and calls fn with each
// batch, both as Arrow and as rows.
func Records(r io.Reader, fn func(rec arrow.Record, cols []tensor.Column, rows *tensor.Rows) error) error {
	rd, err := ipc.NewReader(r)
	if err != nil {
		return wrap(err)
	}
	defer rd.Release()
	cols, err := tensorarrow.ColumnsOf(rd.Schema())
	if err != nil {
		return err
	}
	for rd.Next() {
		rows, err := tensorarrow.RowsOf(rd.Record(), cols)
		if err != nil {
			return err
		}
		if err := fn(rd.Record(), cols, rows); err != nil {
			return err
		}
	}
	return wrap(rd.Err())
}

// RecordWriter writes record batches to a file.
type RecordWriter interface {
	Write(rec arrow.Record) error
	Close() error
}

// NewArrowWriter writes an IPC file.
func NewArrowWriter(w io.WriteSeeker, schema *arrow.Schema) (RecordWriter, error) {
	return ipc.NewFileWriter(w, ipc.WithSchema(schema))
}

// SchemaOf is the Arrow schema of columns.
func SchemaOf(cols []tensor.Column) *arrow.Schema { return tensorarrow.SchemaOf(cols) }
