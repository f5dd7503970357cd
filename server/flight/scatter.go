package flight

import (
	"context"
	"encoding/binary"
	"sync/atomic"

	"daos/dataset/tensor"
	"daos/internal/bufpool"
	"daos/internal/fault"
	"daos/loader/batch"
	"daos/loader/manifest"
	"daos/server/codec"
)

// buffers are recycled payloads of record batches: gRPC gives them back through
// a codec.Pin when they have been sent, or when their stream has died.
type buffers struct {
	pool bufpool.Pool
	out  atomic.Int64 // buffers in use
}

func (p *buffers) get(n int) (*[]byte, *codec.Pin) {
	b := p.pool.Get(n)
	p.out.Add(1)
	return b, codec.NewPin(func() {
		p.pool.Put(b)
		p.out.Add(-1)
	})
}

// Pinned is how many record batches are on their way to clients.
func (s *Server) Pinned() int64 { return s.buffers.out.Load() }

// tableSender sends samples of a manifest: found by location, verified, copied
// once into recycled memory, and given to gRPC as the body of a record batch
// whose header is written here. Mapped files themselves are not given to gRPC:
// it copies on goroutines of its own, where a page that can't be read would be
// the end of the process.
type tableSender struct {
	*sender
	m       *manifest.Manifest
	cols    []tensor.Column
	buffers *buffers
	names   bool // the first column, before cols, is what samples are called
}

// rowsFor is how many samples are likely to have so many bytes.
func (t *tableSender) rowsFor(limit uint64) int {
	i := t.m.Info()
	per := max(i.Bytes/max(i.Samples, 1), 1)
	return int(min(max(limit/per, 1), batch.MaxCount))
}

// send sends samples in record batches of at most about limit bytes; meta
// makes the app_metadata of each from whether it is the last.
func (t *tableSender) send(ctx context.Context, indices []uint64, limit uint64, meta func(last bool) ([]byte, error)) error {
	for n := t.rowsFor(limit); len(indices) > 0; {
		k := min(n, len(indices))
		b, err := batch.Plan(ctx, t.m, indices[:k])
		if err != nil {
			return err
		}
		if size := b.Size(); size > limit+limit/8 && k > 1 {
			b.Release()
			n = max(int(uint64(k)*limit/size), 1)
			continue
		}
		var app []byte
		if meta != nil {
			if app, err = meta(k == len(indices)); err != nil {
				b.Release()
				return err
			}
		}
		var names []manifest.Name
		if t.names {
			if names, err = t.m.Names(ctx, indices[:k]); err != nil {
				b.Release()
				return err
			}
		}
		msg, err := t.message(b, names, app)
		b.Release()
		if err != nil {
			return err
		}
		if err := sendPinned(t.to, msg); err != nil {
			return err
		}
		indices = indices[k:]
	}
	return nil
}

// slice sends samples [start, stop).
func (t *tableSender) slice(ctx context.Context, start, stop uint64) error {
	for start < stop {
		n := min(stop-start, 1<<14)
		indices := make([]uint64, n)
		for i := range indices {
			indices[i] = start + uint64(i)
		}
		if err := t.send(ctx, indices, maxBatch, nil); err != nil {
			return err
		}
		start += n
	}
	return nil
}

// message copies a batch and lays it out as Arrow does.
func (t *tableSender) message(b *batch.Batch, names []manifest.Name, app []byte) (*codec.Message, error) {
	lay, err := batch.ParseMeta(b.Meta(), b.Size())
	if err != nil {
		return nil, err
	}
	buf, pin := t.buffers.get(int(b.Size()))
	if err := b.Fill(*buf); err != nil {
		pin.Release()
		return nil, err
	}
	r := recordHeader{rows: int64(lay.Count)}
	if t.names {
		r.texts(names)
	}
	for i := range t.cols {
		if err := r.column(&t.cols[i], &lay.Columns[i], *buf, int(lay.Count)); err != nil {
			pin.Release()
			return nil, err
		}
	}
	return codec.NewMessage(r.encode(), app, r.body, pin), nil
}

// texts adds a column of what samples are called.
func (r *recordHeader) texts(names []manifest.Name) {
	ends, values := make([]byte, 4, 4*len(names)+4), []byte(nil)
	for i := range names {
		values = append(values, names[i].Path...)
		ends = binary.LittleEndian.AppendUint32(ends, uint32(len(values)))
	}
	r.node(int64(len(names)), 0)
	r.buffer(nil)
	r.buffer(ends)
	r.buffer(values)
}

// column adds a column of the payload: field nodes, buffers and their bytes.
func (r *recordHeader) column(c *tensor.Column, at *batch.Column, payload []byte, n int) error {
	nulls := int64(0)
	var bits []byte
	if at.Nulls {
		bits, nulls = packBits(payload[at.Validity : at.Validity+uint64(n)])
		if nulls == 0 {
			bits = nil
		}
	}
	values := payload[at.Data : at.Data+at.DataLen]
	elements := int64(len(values) / c.DType.Size())
	if c.DType == tensor.Bool {
		values, _ = packBits(values)
	}
	r.node(int64(n), nulls)
	r.buffer(bits)
	switch {
	case c.Layout == tensor.Fixed && len(c.Shape) == 0:
	case c.Layout == tensor.Fixed:
		r.node(elements, 0)
		r.buffer(nil)
	default:
		ends, err := narrow(payload[at.Offsets:at.Offsets+8*uint64(n+1)], c)
		if err != nil {
			return err
		}
		r.buffer(ends)
		if c.Layout == tensor.Ragged {
			r.node(elements, 0)
			r.buffer(nil)
		}
	}
	r.buffer(values)
	return nil
}

// narrow turns byte offsets of 64 bits into Arrow's of 32 bits, in elements.
func narrow(b []byte, c *tensor.Column) ([]byte, error) {
	w := uint64(1)
	if c.Layout == tensor.Ragged {
		w = uint64(c.DType.Size())
	}
	out := make([]byte, len(b)/2)
	for i := 0; i < len(b); i += 8 {
		v := binary.LittleEndian.Uint64(b[i:]) / w
		if v > 1<<31-1 {
			return nil, fault.New(fault.TooBig, "flight.batch", c.Name, "more than 2^31 elements in one record batch").Do("read fewer samples at once")
		}
		binary.LittleEndian.PutUint32(out[i/2:], uint32(v))
	}
	return out, nil
}

// packBits makes a bitmap of bytes 0 and 1 and counts the zeros.
func packBits(v []byte) (bits []byte, zeros int64) {
	bits = make([]byte, (len(v)+7)/8)
	for i, x := range v {
		bits[i>>3] |= (x & 1) << (i & 7)
		zeros += 1 - int64(x&1)
	}
	return bits, zeros
}
