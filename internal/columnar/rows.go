package columnar

import (
	"errors"
	"io"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/ipc"

	"daos/dataset/tensor"
	"daos/dataset/tensor/tensorarrow"
)

// RowReader reads an Arrow IPC stream as rows of tensor columns; times are their
// nanoseconds.
type RowReader struct {
	ipc    *ipc.Reader
	schema *arrow.Schema // times are int64
	cols   []tensor.Column
	notes  Source
}

// NewRowReader reads the schema of a stream. Rows are over memory that the next
// ones are read into.
func NewRowReader(r io.Reader) (*RowReader, error) {
	rd, err := ipc.NewReader(r, ipc.WithAllocator(new(reuse)))
	if err != nil {
		return nil, wrap(err)
	}
	out := &RowReader{ipc: rd}
	out.schema = out.notes.plainSchema(rd.Schema())
	if out.cols, err = tensorarrow.ColumnsOf(out.schema); err != nil {
		rd.Release()
		return nil, err
	}
	return out, nil
}

// Columns are the columns.
func (r *RowReader) Columns() []tensor.Column { return r.cols }

// Next is the next rows, io.EOF after the last; they are valid until the next
// call.
func (r *RowReader) Next() (*tensor.Rows, error) {
	if !r.ipc.Next() {
		if err := r.ipc.Err(); err != nil && !errors.Is(err, io.EOF) {
			return nil, wrap(err)
		}
		return nil, io.EOF
	}
	return tensorarrow.RowsOf(plainRecord(r.ipc.Record(), r.schema), r.cols)
}

// Close frees what was read last.
func (r *RowReader) Close() { r.ipc.Release() }
