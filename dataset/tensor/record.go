package tensor

import (
	"encoding/binary"

	"daos/engine/object"
	"daos/internal/fault"
)

// Uses of object ids in a tensor dataset (object.ID.Use).
const (
	useTable  = 0x40
	useColumn = 0x41
)

// tableOID is the one table object.
var tableOID = object.MakeID(object.ClassS1, useTable, 1)

// columnOID is the object of column i of the schema.
func columnOID(i int) object.ID { return object.MakeID(object.ClassSX, useColumn, uint64(i)+1) }

// Keys of the table object.
var (
	keySchema = []byte("schema")
	keyHead   = []byte("head")
	akeyValue = []byte("v")
)

// akeys of a chunk in its column's object.
var (
	akeyData     = []byte("d")
	akeyOffsets  = []byte("o")
	akeyValidity = []byte("v")
)

const (
	prefixChunk = "c"
	prefixLease = "l"
)

// chunkKey is the dkey, in the table object, of the record of the chunk of a
// column that begins with sample first.
func chunkKey(column int, first uint64) []byte {
	b := append(make([]byte, 0, 13), prefixChunk...)
	b = binary.BigEndian.AppendUint32(b, uint32(column))
	return binary.BigEndian.AppendUint64(b, first)
}

func chunkPrefix(column int) []byte {
	return binary.BigEndian.AppendUint32([]byte(prefixChunk), uint32(column))
}

// numberKey is the dkey, in a column's object, of the chunk with a number.
func numberKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func leaseKey(from uint64) []byte { return binary.BigEndian.AppendUint64([]byte(prefixLease), from) }

func corrupt(what, detail string) error {
	return fault.New(fault.Corrupt, "tensor.record", what, "%s", detail)
}

// head is the mutable centre of a table: every change of its length goes
// through it, so that appends conflict with each other.
type head struct {
	length uint64 // samples
	next   uint64 // first chunk number that was never given out
}

const recordVersion = 1

func (h head) encode() []byte {
	b := []byte{recordVersion}
	b = binary.LittleEndian.AppendUint64(b, h.length)
	return binary.LittleEndian.AppendUint64(b, h.next)
}

func decodeHead(b []byte) (head, error) {
	if len(b) != 17 || b[0] != recordVersion {
		return head{}, corrupt("head", "the table's head is not readable")
	}
	return head{binary.LittleEndian.Uint64(b[1:]), binary.LittleEndian.Uint64(b[9:])}, nil
}

// lease says that chunk numbers [from, to) are being filled by an append that
// has until expiry (microseconds since 1970) to renew it or to commit.
type lease struct {
	from, to uint64
	expiry   int64
}

func (l lease) encode() []byte {
	b := []byte{recordVersion}
	b = binary.LittleEndian.AppendUint64(b, l.from)
	b = binary.LittleEndian.AppendUint64(b, l.to)
	return binary.LittleEndian.AppendUint64(b, uint64(l.expiry))
}

func decodeLease(b []byte) (lease, error) {
	if len(b) != 25 || b[0] != recordVersion {
		return lease{}, corrupt("lease", "a staging lease is not readable")
	}
	l := lease{binary.LittleEndian.Uint64(b[1:]), binary.LittleEndian.Uint64(b[9:]), int64(binary.LittleEndian.Uint64(b[17:]))}
	if l.to < l.from || l.to-l.from > leaseMax {
		return lease{}, corrupt("lease", "a staging lease has an impossible range")
	}
	return l, nil
}

// chunk is the record of one chunk of one column.
type chunk struct {
	first   uint64       // from the key
	number  uint64       // dkey in the column's object
	version object.Epoch // of the record, where a walk met it
	stats
}

func (c *chunk) end() uint64 { return c.first + c.count }

func (c *chunk) encode() []byte {
	b := []byte{recordVersion}
	for _, v := range [...]uint64{c.number, c.count, c.bytes, c.nulls, c.nans} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	flags := byte(0)
	if c.open {
		flags = 1
	}
	b = append(b, flags, byte(len(c.min)))
	b = append(b, c.min...)
	b = append(b, byte(len(c.max)))
	return append(b, c.max...)
}

func decodeChunk(key, b []byte) (chunk, error) {
	const fixed = 1 + 5*8 + 1
	if len(key) != 13 || len(b) < fixed+2 || b[0] != recordVersion {
		return chunk{}, corrupt("chunk record", "a chunk record is not readable")
	}
	u := func(i int) uint64 { return binary.LittleEndian.Uint64(b[1+8*i:]) }
	c := chunk{first: binary.BigEndian.Uint64(key[5:]), number: u(0)}
	c.count, c.bytes, c.nulls, c.nans = u(1), u(2), u(3), u(4)
	c.open = b[fixed-1] == 1
	rest := b[fixed:]
	for _, p := range []*[]byte{&c.min, &c.max} {
		if len(rest) < 1 || len(rest) < 1+int(rest[0]) {
			return chunk{}, corrupt("chunk record", "a chunk record is cut short")
		}
		*p = append([]byte(nil), rest[1:1+rest[0]]...)
		rest = rest[1+rest[0]:]
	}
	if len(rest) != 0 || b[fixed-1] > 1 || c.count == 0 || c.count > maxChunkSamples || c.nulls > c.count || c.first > 1<<62 || c.bytes > 1<<62 {
		return chunk{}, corrupt("chunk record", "a chunk record has impossible values")
	}
	return c, nil
}
