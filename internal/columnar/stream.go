package columnar

import (
	"io"

	"daos/query/exec"
	"daos/query/expr"
)

// Stream is rows made here as an Arrow IPC stream, which WriteResult and
// CollectTable take. next returns io.EOF after the last rows; they are read
// before it is called again.
func Stream(s expr.Schema, next func() (*exec.Rows, error)) (io.Reader, error) {
	w, err := NewRowWriter(s)
	if err != nil {
		return nil, err
	}
	headed := false
	return Payloads(func() ([]byte, error) {
		if !headed {
			headed = true
			return w.Head(), nil
		}
		rows, err := next()
		if err != nil {
			return nil, err // io.EOF too: a stream may end without a mark
		}
		return w.Batch(rows)
	}), nil
}
