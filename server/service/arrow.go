package service

import (
	"bytes"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/ipc"

	"daos/internal/fault"
)

// endOfStream is how an Arrow IPC stream ends.
var endOfStream = []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}

// cutter writes an Arrow IPC stream message by message.
type cutter struct {
	buf    bytes.Buffer
	w      *ipc.Writer
	schema []byte // its message, which the writer puts before the first batch
	begun  bool
}

func newCutter(schema *arrow.Schema) (*cutter, error) {
	c := &cutter{}
	// A stream of no batches is the schema's message and the end.
	if err := ipc.NewWriter(&c.buf, ipc.WithSchema(schema)).Close(); err != nil {
		return nil, fault.New(fault.Internal, "scan.schema", "", "the schema can't be written").Because(err)
	}
	c.schema = bytes.Clone(c.buf.Bytes()[:c.buf.Len()-len(endOfStream)])
	c.buf.Reset()
	c.w = ipc.NewWriter(&c.buf, ipc.WithSchema(schema))
	return c, nil
}

// batch is the message of a record batch, valid until the next call.
func (c *cutter) batch(r arrow.Record) ([]byte, error) {
	c.buf.Reset()
	if err := c.w.Write(r); err != nil {
		return nil, fault.New(fault.Internal, "scan.batch", "", "a record batch can't be written").Because(err)
	}
	b := c.buf.Bytes()
	if !c.begun {
		b, c.begun = b[len(c.schema):], true
	}
	return b, nil
}
