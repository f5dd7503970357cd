package tensorarrow

import (
	"context"
	"encoding/binary"
	"errors"
	"io"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"daos/dataset/tensor"
	"daos/internal/fault"
)

// Bounds of what a stream may ask for.
const (
	maxMeta = 8 << 20   // bytes of one message's metadata
	maxBody = 256 << 20 // bytes of one message's body, and of what it decodes to
	// A compressed body decodes to at most maxRatio times its bytes, small
	// ones to minDecoded.
	maxRatio   = 32
	minDecoded = 16 << 20
)

// Reader reads one Arrow IPC stream that nobody vouches for.
type Reader struct {
	messages *messages
	ipc      *ipc.Reader
}

// NewReader reads the schema, which has columns of a tensor dataset.
func NewReader(r io.Reader) (*Reader, error) {
	return newReader(&messages{r: r}, func(s *arrow.Schema) error { _, err := ColumnsOf(s); return err })
}

// newReader reads the schema. Nothing but the types that check lets pass is
// decoded any further.
func newReader(m *messages, check func(*arrow.Schema) error) (_ *Reader, err error) {
	defer recovered(&err)
	rd, err := ipc.NewReaderFromMessageReader(m, ipc.WithAllocator(&m.alloc))
	if err != nil {
		return nil, m.cause(err)
	}
	if err := check(rd.Schema()); err != nil {
		return nil, err
	}
	return &Reader{m, rd}, nil
}

// Schema is the schema of the stream.
func (r *Reader) Schema() *arrow.Schema { return r.ipc.Schema() }

// Next returns the next record batch, io.EOF at the stream's end mark. A
// stream that stops without one is fault.Invalid: half a stream is never taken
// for a whole one. The record is valid until the next call.
func (r *Reader) Next() (_ arrow.Record, err error) {
	defer recovered(&err)
	r.messages.alloc.left = 0 // until the message is there
	if r.ipc.Next() {
		return r.ipc.Record(), nil
	}
	if err := r.ipc.Err(); err != nil {
		return nil, r.messages.cause(err)
	}
	if !r.messages.ended {
		return nil, r.messages.cause(io.ErrUnexpectedEOF)
	}
	return nil, io.EOF
}

// messages frames the messages of a stream within bounds, growing as bytes
// really come instead of by what a header claims.
type messages struct {
	r     io.Reader
	alloc bounded
	ended bool // the end mark was there
	err   error
	// elements: more types are let through.
	elements bool
}

func (m *messages) Retain()  {}
func (m *messages) Release() {}

// cause prefers what really went wrong over Arrow's wording of it.
func (m *messages) cause(err error) error {
	if m.err != nil {
		err = m.err
	}
	var e *fault.Error
	if errors.As(err, &e) {
		return e
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return invalid("arrow stream", "cut short").Do("send whole Arrow IPC streams, with their end mark")
	}
	if k := fault.KindOf(err); k != fault.Internal {
		return err // of the connection
	}
	return invalid("arrow stream", "malformed").Because(err)
}

func (m *messages) Message() (msg *ipc.Message, err error) {
	defer func() {
		if p := recover(); p != nil {
			recoverInto(p, &err)
		}
		if err != nil && !m.ended {
			m.err = err
		}
	}()
	var word [4]byte
	if _, err := io.ReadFull(m.r, word[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(word[:])
	if n == 0xffffffff {
		if _, err := io.ReadFull(m.r, word[:]); err != nil {
			return nil, io.ErrUnexpectedEOF
		}
		n = binary.LittleEndian.Uint32(word[:])
	}
	if n == 0 {
		m.ended = true
		return nil, io.EOF
	}
	if n < 16 || n > maxMeta {
		return nil, invalid("arrow stream", "message metadata of %d bytes", n)
	}
	meta, err := readExactly(m.r, int64(n))
	if err != nil {
		return nil, err
	}
	body, err := checkMessage(meta, m.elements)
	if err != nil {
		return nil, err
	}
	b, err := readExactly(m.r, body)
	if err != nil {
		return nil, err
	}
	// What the batch may decode to follows what has really been sent: a few
	// bytes must not claim a gigabyte.
	m.alloc.left = min(maxRatio*body+minDecoded, maxBody)
	return ipc.NewMessage(memory.NewBufferBytes(meta), memory.NewBufferBytes(b)), nil
}

func recoverInto(p any, err *error) {
	if e, ok := p.(*fault.Error); ok {
		*err = e
		return
	}
	*err = invalid("arrow stream", "malformed (%v)", p)
}

// readExactly reads n bytes in growing pieces.
func readExactly(r io.Reader, n int64) ([]byte, error) {
	if n == 0 {
		return []byte{}, nil
	}
	b := make([]byte, 0, min(n, 1<<20))
	for int64(len(b)) < n {
		if len(b) == cap(b) {
			grown := make([]byte, len(b), min(2*int64(cap(b)), n))
			copy(grown, b)
			b = grown
		}
		k, err := io.ReadFull(r, b[len(b):cap(b)])
		b = b[:len(b)+k]
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return b, nil
}

// bounded gives out at most left bytes for one record batch; more panics with
// a fault, which the reader's caller recovers.
type bounded struct{ left int64 }

func (b *bounded) Allocate(n int) []byte {
	if n < 0 || int64(n) > b.left {
		panic(fault.New(fault.TooBig, "tensor.arrow", "arrow stream", "a record batch that decodes to more than %d bytes", maxBody).Do("send smaller record batches"))
	}
	b.left -= int64(n)
	return make([]byte, n)
}

func (b *bounded) Reallocate(n int, old []byte) []byte {
	if n <= cap(old) && n >= 0 {
		return old[:n]
	}
	fresh := b.Allocate(n)
	copy(fresh, old)
	return fresh
}

func (b *bounded) Free([]byte) {}

// NewSource is the rows of Arrow IPC streams, for Append and Overwrite. next
// returns one reader after the other, io.EOF after the last; each holds any
// number of whole streams with the given columns.
func NewSource(cols []tensor.Column, next func(context.Context) (io.Reader, error)) tensor.Source {
	return &source{cols: cols, next: next}
}

type source struct {
	cols []tensor.Column
	next func(context.Context) (io.Reader, error)
	in   *peeker
	cur  *Reader
}

func (s *source) Next(ctx context.Context) (*tensor.Rows, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if s.in == nil {
			r, err := s.next(ctx)
			if err != nil {
				return nil, err
			}
			s.in = &peeker{r: r}
		}
		if s.cur == nil {
			more, err := s.in.more()
			if err != nil {
				return nil, err
			}
			if !more {
				s.in = nil
				continue
			}
			if s.cur, err = NewReader(s.in); err != nil {
				return nil, err
			}
			if err := match(s.cur.Schema(), s.cols); err != nil {
				return nil, err
			}
		}
		rec, err := s.cur.Next()
		if err == io.EOF {
			s.cur = nil
			continue
		}
		if err != nil {
			return nil, err
		}
		return RowsOf(rec, s.cols)
	}
}

// peeker tells whether anything is left to read.
type peeker struct {
	r    io.Reader
	head []byte
}

func (p *peeker) more() (bool, error) {
	var b [1]byte
	_, err := io.ReadFull(p.r, b[:])
	if err == io.EOF {
		return false, nil
	}
	p.head = b[:]
	return err == nil, err
}

func (p *peeker) Read(b []byte) (int, error) {
	if len(p.head) > 0 && len(b) > 0 {
		n := copy(b, p.head)
		p.head = p.head[n:]
		return n, nil
	}
	return p.r.Read(b)
}

// Write writes all rows of src to w as one Arrow IPC stream.
func Write(ctx context.Context, w io.Writer, cols []tensor.Column, src tensor.Source) error {
	s := SchemaOf(cols)
	out := ipc.NewWriter(w, ipc.WithSchema(s))
	for {
		rows, err := src.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		rec, err := RecordOf(s, cols, rows)
		if err != nil {
			return err
		}
		err = out.Write(rec)
		rec.Release()
		if err != nil {
			return err
		}
	}
	return out.Close()
}
