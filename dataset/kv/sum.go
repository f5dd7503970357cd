package kv

import (
	"encoding/binary"
	"hash/crc32"

	"daos/engine/object"
)

// A sum over what a call asks for is kept with its request id, so that an id that
// comes again for something else is noticed: CRC32C, little-endian, in front of
// the answer of an Apply and behind that of a Put.
const sumSize = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sumOp goes on with the sum over an op.
func sumOp(sum uint32, o *Op, b []byte) (uint32, []byte) {
	b = append(b[:0], byte(o.Kind), byte(o.When))
	for _, x := range [...]uint64{uint64(len(o.Key)), uint64(len(o.Akey)), uint64(len(o.Value)), uint64(o.Number), uint64(o.Version)} {
		b = binary.LittleEndian.AppendUint64(b, x)
	}
	b = append(append(b, o.Key...), o.Akey...)
	return crc32.Update(crc32.Update(sum, castagnoli, b), castagnoli, o.Value), b
}

// sumOps is the sum over a batch; 0 without a request id.
func sumOps(req object.RequestID, ops []Op) (sum uint32) {
	if req.IsZero() {
		return 0
	}
	var b []byte
	for i := range ops {
		sum, b = sumOp(sum, &ops[i], b)
	}
	return sum
}
