package exec

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"

	"daos/engine/object"
	"daos/internal/half"
	"daos/query/expr"
)

// float16 is a cell of a binary16 column.
func float16(b []byte) float64 { return float64(half.Float32(binary.LittleEndian.Uint16(b))) }

// number reads a number of a column as a float64, exact up to 53 bits.
func number(t expr.Type, b []byte) float64 {
	switch t {
	case expr.Float16:
		return float16(b)
	case expr.Float32:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
	case expr.Float64:
		return math.Float64frombits(binary.LittleEndian.Uint64(b))
	case expr.Uint64:
		return float64(binary.LittleEndian.Uint64(b))
	}
	return float64(integer(t, b))
}

// integer reads an integer, a time or a truth value.
func integer(t expr.Type, b []byte) int64 {
	switch t {
	case expr.Bool, expr.Uint8:
		return int64(b[0])
	case expr.Int8:
		return int64(int8(b[0]))
	case expr.Int16:
		return int64(int16(binary.LittleEndian.Uint16(b)))
	case expr.Uint16:
		return int64(binary.LittleEndian.Uint16(b))
	case expr.Int32:
		return int64(int32(binary.LittleEndian.Uint32(b)))
	case expr.Uint32:
		return int64(binary.LittleEndian.Uint32(b))
	}
	return int64(binary.LittleEndian.Uint64(b))
}

// compareCells compares two values of a column, neither null, as expr does:
// NaN is the greatest number.
func compareCells(t expr.Type, a, b []byte) int {
	switch t {
	case expr.Text, expr.Bytes:
		return bytes.Compare(a, b)
	case expr.Float16, expr.Float32, expr.Float64:
		x, y := number(t, a), number(t, b)
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		case x == y:
			return 0
		}
		return cmp.Compare(nan(x), nan(y))
	case expr.Uint64:
		return cmp.Compare(binary.LittleEndian.Uint64(a), binary.LittleEndian.Uint64(b))
	}
	return cmp.Compare(integer(t, a), integer(t, b))
}

func nan(f float64) int {
	if math.IsNaN(f) {
		return 1
	}
	return 0
}

// drawOf is the number that a row draws in a sample: of its key and the seed
// alone.
func drawOf(seed uint64, key []byte) uint64 {
	h := object.Mix64(seed + 0x9E3779B97F4A7C15)
	for len(key) >= 8 {
		h = object.Mix64(h ^ binary.LittleEndian.Uint64(key))
		key = key[8:]
	}
	var last [8]byte
	copy(last[:], key)
	return object.Mix64(h ^ binary.LittleEndian.Uint64(last[:]) ^ uint64(len(key))<<56)
}
