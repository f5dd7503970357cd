package expr

import (
	"unsafe"

	"daos/internal/half"
)

// Vector is the values of one column for the rows of a batch.
type Vector struct {
	// Values are the rows one behind the other, little-endian.
	Values []byte
	// Offsets, for Text, Bytes and lists of variable length, has one entry more
	// than there are rows: row i is Values[Offsets[i]:Offsets[i+1]].
	Offsets []uint64
	// Valid has a byte for each row, 0 where it is null; nil: none is.
	Valid []byte
	// Elements has, for lists, a byte for each element in Values, 0 where it is
	// null (its value is 0 then); nil: none is. Tables have no such elements, only
	// results of SQL.
	Elements []byte
}

// Batch is some rows of the columns of a Schema; a column that no predicate
// names may be left empty.
type Batch struct {
	N       int
	Columns []Vector
	// Room for answers, used again where a Batch is.
	room [][]uint8
}

// take is room for an answer for each row, with anything in it.
func (b *Batch) take() []uint8 {
	if n := len(b.room); n > 0 {
		out := b.room[n-1]
		b.room = b.room[:n-1]
		if cap(out) >= b.N {
			return out[:b.N]
		}
	}
	return make([]uint8, b.N)
}

// give gives room back.
func (b *Batch) give(out []uint8) { b.room = append(b.room, out) }

type native interface {
	~int8 | ~int16 | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~float32 | ~float64
}

// View is the values of a column in their own type, without a copy where they
// lie aligned.
func View[T native](b []byte, n int) []T { return view[T](b, n) }

// view is the values of a column in their own type, without a copy where they
// lie aligned.
func view[T native](b []byte, n int) []T {
	var zero T
	size := int(unsafe.Sizeof(zero))
	if n == 0 {
		return nil
	}
	b = b[:n*size]
	p := unsafe.Pointer(unsafe.SliceData(b))
	if uintptr(p)%unsafe.Alignof(zero) == 0 {
		return unsafe.Slice((*T)(p), n)
	}
	out := make([]T, n)
	copy(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(out))), n*size), b)
	return out
}

func halves(v []uint16) []float32 {
	out := make([]float32, len(v))
	for i, h := range v {
		out[i] = half.Float32(h)
	}
	return out
}

// Truth of a row: a predicate is kept for yes alone.
const (
	no      = 0
	yes     = 1
	unknown = 2
)
