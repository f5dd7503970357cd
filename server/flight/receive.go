package flight

import (
	"encoding/binary"
	"io"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/flight"

	"daos/dataset/tensor/tensorarrow"
	"daos/internal/fault"
)

// maxHeader bounds an Arrow message's metadata.
const maxHeader = 8 << 20

// receiver reads the FlightData messages of an upload as an Arrow IPC stream,
// so that the one hardened reader of such streams (tensorarrow) takes them. It
// holds one message at a time.
type receiver struct {
	recv  func() (*flight.FlightData, error)
	head  []byte // of the stream: frame and metadata of the present message
	body  []byte // of the present message
	ended bool   // the client has said everything, and the end mark is in head
	err   error
}

// endOfStream is the mark that an IPC stream ends with; Flight ends its stream instead.
var endOfStream = [8]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}

func (r *receiver) Read(b []byte) (int, error) {
	for len(r.head) == 0 && len(r.body) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		if r.ended {
			return 0, io.EOF
		}
		d, err := r.recv()
		if err == io.EOF {
			r.ended, r.head = true, endOfStream[:]
			continue
		}
		if err == nil {
			r.head, err = frameOf(d.GetDataHeader())
			r.body = d.GetDataBody()
		}
		if err != nil {
			r.err = err
		}
	}
	if len(r.head) > 0 {
		n := copy(b, r.head)
		r.head = r.head[n:]
		return n, nil
	}
	n := copy(b, r.body)
	r.body = r.body[n:]
	return n, nil
}

// frameOf is a message's metadata as a stream has it: continuation mark, length
// u32, metadata padded to 8 bytes. A message without metadata is nothing.
func frameOf(header []byte) ([]byte, error) {
	if len(header) == 0 {
		return nil, nil
	}
	if len(header) > maxHeader {
		return nil, fault.New(fault.TooBig, "flight.receive", "", "Arrow metadata of %d bytes, at most %d are allowed", len(header), maxHeader)
	}
	n := (len(header) + 7) &^ 7
	b := make([]byte, 8+n)
	binary.LittleEndian.PutUint32(b, 0xffffffff)
	binary.LittleEndian.PutUint32(b[4:], uint32(n))
	copy(b[8:], header)
	return b, nil
}

// parseSchema reads a schema message as tensorarrow.NewReader would, or NewElements.
func parseSchema(d *flight.FlightData, read func(io.Reader) (*tensorarrow.Reader, error)) (*arrow.Schema, error) {
	head, err := frameOf(d.GetDataHeader())
	if err != nil {
		return nil, err
	}
	r, err := read(&receiver{head: append(head, endOfStream[:]...), ended: true})
	if err != nil {
		return nil, err
	}
	return r.Schema(), nil
}

// parseBatch reads one record batch message of a stream that began with schema.
func parseBatch(schema, d *flight.FlightData) (arrow.Record, error) {
	messages := []*flight.FlightData{schema, d}
	r, err := tensorarrow.NewReader(&receiver{recv: func() (*flight.FlightData, error) {
		if len(messages) == 0 {
			return nil, io.EOF
		}
		d := messages[0]
		messages = messages[1:]
		return d, nil
	}})
	if err != nil {
		return nil, err
	}
	return r.Next()
}
