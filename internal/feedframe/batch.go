package feedframe

import "encoding/binary"

// BatchRequestSize is the size of a BATCH frame's meta part.
const BatchRequestSize = 32

// BatchRequest is the meta part of a BATCH frame; the payload has Count x u64.
type BatchRequest struct {
	Handle uint64
	Count  uint32
	Flags  uint32
}

// Put writes r to b, which has at least BatchRequestSize bytes.
func (r BatchRequest) Put(b []byte) {
	b = b[:BatchRequestSize]
	clear(b)
	binary.LittleEndian.PutUint64(b, r.Handle)
	binary.LittleEndian.PutUint32(b[8:], r.Count)
	binary.LittleEndian.PutUint32(b[12:], r.Flags)
}

// ParseBatchRequest reads the meta part of a BATCH frame whose payload has
// payloadLen bytes.
func ParseBatchRequest(b []byte, payloadLen uint64) (BatchRequest, error) {
	if len(b) != BatchRequestSize {
		return BatchRequest{}, bad("a BATCH frame with a meta part of %d bytes, it has %d", len(b), BatchRequestSize)
	}
	r := BatchRequest{
		Handle: binary.LittleEndian.Uint64(b),
		Count:  binary.LittleEndian.Uint32(b[8:]),
		Flags:  binary.LittleEndian.Uint32(b[12:]),
	}
	switch {
	case r.Flags != 0 || binary.LittleEndian.Uint64(b[16:]) != 0 || binary.LittleEndian.Uint64(b[24:]) != 0:
		return BatchRequest{}, bad("a BATCH frame with reserved bits set")
	case r.Count == 0 || r.Count > MaxBatchCount:
		return BatchRequest{}, bad("a batch of %d samples, 1 to %d are allowed", r.Count, MaxBatchCount)
	case payloadLen != 8*uint64(r.Count):
		return BatchRequest{}, bad("a batch of %d samples with a payload of %d bytes, it has 8 a sample", r.Count, payloadLen)
	}
	return r, nil
}

// BatchMetaSize is the size of a BatchMeta without its columns.
const BatchMetaSize = 64

// ColumnSize is the size of a column's description in a BatchMeta.
const ColumnSize = 64

// Column is where a column's samples lie in the payload of a batch.
type Column struct {
	Layout         uint8 // tensor.v1.Layout
	Nulls          bool
	ItemSize       uint32
	DataOffset     uint64
	DataLen        uint64
	OffsetsOffset  uint64
	ValidityOffset uint64
}

// BatchMeta is the meta part of a BATCH_REPLY frame.
type BatchMeta struct {
	Count   uint32
	Columns []Column
}

// Size is the length of m's wire form.
func (m *BatchMeta) Size() int { return BatchMetaSize + ColumnSize*len(m.Columns) }

// Put writes m to b, which has at least Size bytes.
func (m *BatchMeta) Put(b []byte) {
	b = b[:m.Size()]
	clear(b)
	binary.LittleEndian.PutUint32(b, m.Count)
	binary.LittleEndian.PutUint32(b[4:], uint32(len(m.Columns)))
	for i, c := range m.Columns {
		d := b[BatchMetaSize+i*ColumnSize:]
		d[0] = c.Layout
		if c.Nulls {
			d[1] = 1
		}
		binary.LittleEndian.PutUint32(d[4:], c.ItemSize)
		binary.LittleEndian.PutUint64(d[8:], c.DataOffset)
		binary.LittleEndian.PutUint64(d[16:], c.DataLen)
		binary.LittleEndian.PutUint64(d[24:], c.OffsetsOffset)
		binary.LittleEndian.PutUint64(d[32:], c.ValidityOffset)
	}
}

// ParseBatchMeta reads the meta part of a BATCH_REPLY frame and checks that
// every part lies inside a payload of payloadLen bytes.
func ParseBatchMeta(b []byte, payloadLen uint64) (BatchMeta, error) {
	if len(b) < BatchMetaSize {
		return BatchMeta{}, bad("a batch description of %d bytes, it has at least %d", len(b), BatchMetaSize)
	}
	n := binary.LittleEndian.Uint32(b[4:])
	if n > MaxBatchColumns || len(b) != BatchMetaSize+int(n)*ColumnSize {
		return BatchMeta{}, bad("a batch description of %d columns in %d bytes", n, len(b))
	}
	m := BatchMeta{Count: binary.LittleEndian.Uint32(b), Columns: make([]Column, n)}
	inside := func(off, size uint64) bool { return off <= payloadLen && size <= payloadLen-off }
	for i := range m.Columns {
		d := b[BatchMetaSize+i*ColumnSize:]
		c := Column{
			Layout:         d[0],
			Nulls:          d[1] == 1,
			ItemSize:       binary.LittleEndian.Uint32(d[4:]),
			DataOffset:     binary.LittleEndian.Uint64(d[8:]),
			DataLen:        binary.LittleEndian.Uint64(d[16:]),
			OffsetsOffset:  binary.LittleEndian.Uint64(d[24:]),
			ValidityOffset: binary.LittleEndian.Uint64(d[32:]),
		}
		ok := c.Layout >= 1 && c.Layout <= 4 && inside(c.DataOffset, c.DataLen)
		if c.Layout != 1 {
			ok = ok && inside(c.OffsetsOffset, 8*(uint64(m.Count)+1))
		}
		if c.Nulls {
			ok = ok && inside(c.ValidityOffset, uint64(m.Count))
		}
		if !ok {
			return BatchMeta{}, bad("column %d of a batch lies outside its payload of %d bytes", i, payloadLen)
		}
		m.Columns[i] = c
	}
	return m, nil
}
