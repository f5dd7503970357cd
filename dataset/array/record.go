package array

import (
	"encoding/binary"

	"daos/engine/object"
	"daos/internal/fault"
)

// Uses of object ids in an array dataset (object.ID.Use).
const (
	useCatalog = 0x50
	useChunks  = 0x51
	useKeys    = 0x52
	useValues  = 0x53
)

var (
	// catalogOID holds the nodes, keysOID what the keys are; valuesOID the
	// values of keys that are longer than inlineValue.
	catalogOID = object.MakeID(object.ClassS1, useCatalog, 1)
	keysOID    = object.MakeID(object.ClassS1, useKeys, 1)
	valuesOID  = object.MakeID(object.ClassSX, useValues, 1)
)

// chunksOID is the object of the array with a number.
func chunksOID(id uint64) object.ID { return object.MakeID(object.ClassSX, useChunks, id) }

// Keys and akeys of the catalog.
var (
	keyHead    = []byte("h") // the next array number
	akeyValue  = []byte("v")
	akeySpec   = []byte("m")
	akeyShape  = []byte("s")
	akeyAttrs  = []byte("a")
	akeyData   = []byte("d") // of a chunk, in its array's object
	akeyRecord = []byte("s") // of a chunk
)

// nodeKey is the dkey of a node in the catalog.
func nodeKey(path string) []byte { return append([]byte("n"), path...) }

// chunkKey is the dkey of a chunk in its array's object: its coordinates, so
// that byte order is C order.
func chunkKey(coords []uint64) []byte {
	b := append(make([]byte, 0, 1+8*len(coords)), 'c')
	for _, c := range coords {
		b = binary.BigEndian.AppendUint64(b, c)
	}
	return b
}

func decodeChunkKey(b []byte, rank int) ([]uint64, error) {
	if len(b) != 1+8*rank || b[0] != 'c' {
		return nil, corrupt("chunk key", "the key of a chunk is not readable")
	}
	coords := make([]uint64, rank)
	for d := range coords {
		coords[d] = binary.BigEndian.Uint64(b[1+8*d:])
	}
	return coords, nil
}

func corrupt(what, detail string) *fault.Error {
	return fault.New(fault.Corrupt, "array.record", what, "%s", detail)
}

const recordVersion = 1

// extent is the mutable part of an array: its shape and, while chunks that were
// cut off are still stored, how far they reach.
type extent struct {
	shape []uint64
	stale []uint64 // nil: nothing is outside the shape
}

func (e extent) encode() []byte {
	b := []byte{recordVersion, byte(len(e.shape)), 0}
	if e.stale != nil {
		b[2] = 1
	}
	for _, x := range e.shape {
		b = binary.LittleEndian.AppendUint64(b, x)
	}
	for _, x := range e.stale {
		b = binary.LittleEndian.AppendUint64(b, x)
	}
	return b
}

func decodeExtent(path string, b []byte, rank int) (extent, error) {
	if len(b) < 3 || b[0] != recordVersion || int(b[1]) != rank || b[2] > 1 || len(b) != 3+8*rank*(1+int(b[2])) {
		return extent{}, corrupt(path, "the shape of the array is not readable")
	}
	e := extent{shape: make([]uint64, rank)}
	for d := range e.shape {
		e.shape[d] = binary.LittleEndian.Uint64(b[3+8*d:])
	}
	if b[2] == 1 {
		e.stale = make([]uint64, rank)
		for d := range e.stale {
			e.stale[d] = binary.LittleEndian.Uint64(b[3+8*(rank+d):])
		}
	}
	return e, nil
}

// chunk is the record of one chunk that has been written.
type chunk struct {
	stats
	// sparse: some bytes of it were never written and the fill value is not
	// zeros, so that holes have to be filled at a read.
	sparse bool
}

const (
	flagExact  = 1
	flagSparse = 2
)

func (c *chunk) encode() []byte {
	b := []byte{recordVersion, 0}
	if c.exact {
		b[1] |= flagExact
	}
	if c.sparse {
		b[1] |= flagSparse
	}
	b = binary.LittleEndian.AppendUint64(b, c.count)
	b = binary.LittleEndian.AppendUint64(b, c.nans)
	b = append(b, byte(len(c.min)))
	b = append(b, c.min...)
	b = append(b, byte(len(c.max)))
	return append(b, c.max...)
}

// decodeChunk reads a record of elements of so many bytes.
func decodeChunk(b []byte, size int) (chunk, error) {
	const fixed = 2 + 2*8
	if len(b) < fixed+2 || b[0] != recordVersion || b[1] > flagExact|flagSparse {
		return chunk{}, corrupt("chunk record", "a chunk record is not readable")
	}
	c := chunk{sparse: b[1]&flagSparse != 0}
	c.exact = b[1]&flagExact != 0
	c.count, c.nans = binary.LittleEndian.Uint64(b[2:]), binary.LittleEndian.Uint64(b[10:])
	rest := b[fixed:]
	for _, p := range []*[]byte{&c.min, &c.max} {
		if len(rest) < 1 || len(rest) < 1+int(rest[0]) {
			return chunk{}, corrupt("chunk record", "a chunk record is cut short")
		}
		n := 1 + int(rest[0])
		if n > 1 {
			*p = append([]byte(nil), rest[1:n]...)
		}
		rest = rest[n:]
	}
	if len(rest) != 0 || c.count > MaxChunkBytes || (c.min == nil) != (c.max == nil) ||
		c.min != nil && (len(c.min) != size || len(c.max) != size) {
		return chunk{}, corrupt("chunk record", "a chunk record has impossible values")
	}
	return c, nil
}
