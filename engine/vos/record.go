package vos

import (
	"encoding/binary"
	"math"

	"daos/engine/object"
	"daos/engine/segment"
)

// Index values. The first byte is the type, the second the encoding of the
// payload (0: as it is). Integers are unsigned varints unless sized.
//
//	typeInline   enc [offset] crc32c(4) payload
//	typeSegment  enc [offset] stored length segment pos sums(4 each)
//	typePunch    enc
//	typeHole     enc offset length            length 0: to the end
//
// offset is there in the extents plane only: where in the array the payload
// goes. stored is the length in the segment, length that after decoding.
const (
	typeInline  = 1
	typeSegment = 2
	typePunch   = 3
	typeHole    = 4

	encodingPlain = 0
)

// record is a decoded index value. Its slices alias what it was decoded from.
type record struct {
	typ     byte
	offset  uint64 // extents plane
	length  uint64
	segment uint64
	pos     uint64
	sums    []byte // little-endian uint32s
	payload []byte // typeInline
	sum     uint32 // typeInline
}

func granules(n uint64) int {
	if n <= object.Granule {
		return 1
	}
	return int((n + object.Granule - 1) / object.Granule)
}

func appendInline(b []byte, array bool, offset uint64, payload []byte) []byte {
	b = append(b, typeInline, encodingPlain)
	if array {
		b = binary.AppendUvarint(b, offset)
	}
	b = binary.LittleEndian.AppendUint32(b, segment.Sum(payload))
	return append(b, payload...)
}

func appendStored(b []byte, array bool, offset, length, seg, pos uint64, sums []uint32) []byte {
	b = append(b, typeSegment, encodingPlain)
	if array {
		b = binary.AppendUvarint(b, offset)
	}
	b = binary.AppendUvarint(b, length)
	b = binary.AppendUvarint(b, length)
	b = binary.AppendUvarint(b, seg)
	b = binary.AppendUvarint(b, pos)
	for _, s := range sums {
		b = binary.LittleEndian.AppendUint32(b, s)
	}
	return b
}

func appendHole(b []byte, offset, length uint64) []byte {
	b = append(b, typeHole, encodingPlain)
	b = binary.AppendUvarint(b, offset)
	return binary.AppendUvarint(b, length)
}

// decodeRecord reads an index value of the namespace (array false) or extents
// plane; ok is false for anything that this code never wrote.
func decodeRecord(b []byte, array bool) (r record, ok bool) {
	if len(b) < 2 || b[1] != encodingPlain {
		return r, false
	}
	r.typ, b = b[0], b[2:]
	bad := false
	num := func() uint64 {
		n, k := binary.Uvarint(b)
		if k <= 0 {
			bad = true
			return 0
		}
		b = b[k:]
		return n
	}
	if r.typ == typePunch {
		return r, len(b) == 0
	}
	if array {
		r.offset = num()
	}
	switch r.typ {
	case typeInline:
		if bad || len(b) < 4 {
			return r, false
		}
		r.sum, r.payload = binary.LittleEndian.Uint32(b), b[4:]
		r.length = uint64(len(r.payload))
	case typeSegment:
		stored := num()
		r.length, r.segment, r.pos = num(), num(), num()
		r.sums = b
		if bad || stored != r.length || r.length == 0 || r.length > math.MaxInt32 || len(b) != 4*granules(r.length) {
			return r, false
		}
	case typeHole:
		r.length = num()
		return r, array && !bad && len(b) == 0
	default:
		return r, false
	}
	return r, r.offset <= math.MaxUint64-r.length
}

// end is behind the last byte of an extent or hole.
func (r record) end() uint64 {
	if r.typ == typeHole && r.length == 0 {
		return math.MaxUint64
	}
	if r.offset > math.MaxUint64-r.length {
		return math.MaxUint64
	}
	return r.offset + r.length
}

// object copies r into the form that leaves this package.
func (r record) object(id uint16) object.Record {
	if r.typ == typeInline {
		in := make([]byte, len(r.payload))
		copy(in, r.payload)
		return object.Record{Target: id, Length: r.length, Inline: in, Sums: []uint32{r.sum}}
	}
	o := object.Record{Target: id, Segment: r.segment, Pos: r.pos, Length: r.length, Sums: make([]uint32, len(r.sums)/4)}
	for i := range o.Sums {
		o.Sums[i] = binary.LittleEndian.Uint32(r.sums[4*i:])
	}
	return o
}
