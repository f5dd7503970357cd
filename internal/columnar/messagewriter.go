package columnar

import (
	"bytes"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/ipc"

	"daos/internal/fault"
)

// EndOfStream is how an Arrow IPC stream ends.
const EndOfStream = "\xff\xff\xff\xff\x00\x00\x00\x00"

// MessageWriter writes an Arrow IPC stream message by message, for streams that
// are cut into messages of another protocol: Head, any number of batches, and
// EndOfStream, which is the caller's.
type MessageWriter struct {
	head  []byte // the schema's message, which ipc puts before the first batch
	buf   bytes.Buffer
	w     *ipc.Writer
	begun bool
}

// NewMessageWriter makes a writer for records of a schema.
func NewMessageWriter(s *arrow.Schema) (*MessageWriter, error) {
	r := &MessageWriter{}
	// A stream of no batches is the schema's message and the end.
	if err := ipc.NewWriter(&r.buf, ipc.WithSchema(s)).Close(); err != nil {
		return nil, unwritten(err)
	}
	r.head = bytes.Clone(r.buf.Bytes()[:r.buf.Len()-len(EndOfStream)])
	r.buf.Reset()
	r.w = ipc.NewWriter(&r.buf, ipc.WithSchema(s))
	return r, nil
}

// Head is the message of the schema.
func (r *MessageWriter) Head() []byte { return r.head }

// Batch is the message of a record batch, valid until the next call.
func (r *MessageWriter) Batch(rec arrow.Record) ([]byte, error) {
	r.buf.Reset()
	r.buf.Grow(len(r.head) + room(rec)) // at once: growing copies, and leaves much behind
	if err := r.w.Write(rec); err != nil {
		return nil, unwritten(err)
	}
	b := r.buf.Bytes()
	if !r.begun {
		b, r.begun = b[len(r.head):], true
	}
	return b, nil
}

// room is about what a record takes in a message.
func room(rec arrow.Record) int {
	n := 1 << 10
	for _, c := range rec.Columns() {
		n += roomOf(c.Data())
	}
	return n
}

func roomOf(d arrow.ArrayData) int {
	n := 64
	for _, b := range d.Buffers() {
		if b != nil {
			n += b.Len() + 64 // with what aligns it
		}
	}
	for _, c := range d.Children() {
		n += roomOf(c)
	}
	return n
}

func unwritten(err error) error {
	return fault.New(fault.Internal, "arrow.write", "", "a message of an Arrow stream can't be written").Because(err)
}
