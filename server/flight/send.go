package flight

import (
	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/ipc"

	"daos/internal/fault"
	"daos/server/codec"
)

// maxBatch is about the largest record batch that DoGet sends: foreign Go and
// Rust clients take 4 MiB by default.
const maxBatch = 3584 << 10

// stream is the sending half of a gRPC stream.
type stream = codec.Stream

// sendPinned sends a message, and lets go of the memory that it holds where gRPC
// did not take it.
func sendPinned(to stream, m *codec.Message) error {
	err := to.SendMsg(m)
	if _, does := to.(*codec.Interruptible); !does {
		m.Discard()
	}
	return err
}

// sender writes one stream of record batches without copying their columns.
type sender struct {
	to     stream
	schema *arrow.Schema
	writer *ipc.Writer
	pw     payloads
}

// newSender sends the schema at once: clients wait for it before anything else.
func newSender(to stream, schema *arrow.Schema) (*sender, error) {
	s := &sender{to: to, schema: schema}
	s.pw.to = to
	first := ipc.NewWriterWithPayloadWriter(&s.pw, ipc.WithSchema(schema))
	if err := first.Close(); err != nil { // writes the schema, and no end: that is the stream's
		return nil, err
	}
	// The writer of the batches would begin with the schema again.
	s.pw.skip = true
	s.writer = ipc.NewWriterWithPayloadWriter(&s.pw, ipc.WithSchema(schema))
	return s, nil
}

// send writes one record batch. The memory of its columns must not change any
// more; meta goes with it as app_metadata.
func (s *sender) send(rec arrow.Record, meta []byte) error {
	s.pw.meta = meta
	err := s.writer.Write(rec)
	s.pw.meta = nil
	if err != nil && s.pw.err != nil {
		return s.pw.err // as gRPC said it
	}
	return err
}

// payloads turns what Arrow's writer encodes into messages.
type payloads struct {
	to   stream
	skip bool // the next payload, a schema that was sent before
	meta []byte
	err  error
}

func (p *payloads) Start() error { return nil }
func (p *payloads) Close() error { return nil }

// WritePayload implements ipc.PayloadWriter.
func (p *payloads) WritePayload(pl ipc.Payload) error {
	if p.skip {
		p.skip = false
		return nil
	}
	header := pl.Meta()
	defer header.Release()
	var body pieces
	if err := pl.SerializeBody(&body); err != nil {
		return err
	}
	p.err = p.to.SendMsg(codec.NewMessage(header.Bytes(), p.meta, body, nil))
	return p.err
}

// pieces keeps what is written to it by reference: the buffers of columns, and
// Arrow's constant padding.
type pieces [][]byte

func (s *pieces) Write(b []byte) (int, error) {
	*s = append(*s, b)
	return len(b), nil
}

// schemaBytes is a schema as FlightInfo and SchemaResult carry it: an Arrow IPC
// stream without batches.
func schemaBytes(s *arrow.Schema) ([]byte, error) {
	var b buffer
	if err := ipc.NewWriter(&b, ipc.WithSchema(s)).Close(); err != nil {
		return nil, fault.New(fault.Internal, "flight.schema", "", "the schema can't be written").Because(err)
	}
	return b, nil
}

type buffer []byte

func (b *buffer) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}

// SendRecords sends record batches as DoGet does. The memory of their columns
// must not change any more.
func SendRecords(to stream, schema *arrow.Schema, recs []arrow.Record) error {
	w, err := newSender(to, schema)
	if err != nil {
		return err
	}
	for _, r := range recs {
		if err := w.send(r, nil); err != nil {
			return err
		}
	}
	return nil
}
