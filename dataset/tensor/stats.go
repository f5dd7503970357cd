package tensor

import (
	"bytes"
	"encoding/binary"
	"math"
	"unsafe"

	"daos/internal/half"
)

// boundMax is the longest bound kept of a string or byte column.
const boundMax = 64

// stats summarises the rows of a chunk. min and max are in the column's dtype,
// little-endian, over all elements that are neither null nor NaN; for strings
// and bytes they are bounds of up to boundMax bytes. Empty: there is none.
type stats struct {
	count, bytes, nulls, nans uint64
	min, max                  []byte
	// open: the values of a string or byte column have no upper bound that
	// could be written (its first boundMax bytes are all 0xff).
	open bool
}

// statsOf computes the statistics of n rows exactly.
func statsOf(c *Column, d *Data, n int) stats {
	s := stats{count: uint64(n), bytes: uint64(len(d.Values))}
	for _, v := range d.Valid {
		if v == 0 {
			s.nulls++
		}
	}
	if c.Layout == Bytes || c.Layout == String {
		s.ofStrings(d, n)
		return s
	}
	if s.nulls > 0 && c.Layout == Fixed {
		// Null rows are stored as zeros, which must not count.
		size := c.ItemSize()
		there := make([]byte, 0, len(d.Values)-int(s.nulls)*size)
		for i := 0; i < n; i++ {
			if d.Valid[i] == 1 {
				there = append(there, d.Values[i*size:(i+1)*size]...)
			}
		}
		s.ofElements(c.DType, there)
		return s
	}
	s.ofElements(c.DType, d.Values)
	return s
}

func (s *stats) ofStrings(d *Data, n int) {
	var lo, hi []byte
	some := false
	for i := 0; i < n; i++ {
		if d.Valid != nil && d.Valid[i] == 0 {
			continue
		}
		v := d.Values[d.Offsets[i]:d.Offsets[i+1]]
		if !some || bytes.Compare(v, lo) < 0 {
			lo = v
		}
		if !some || bytes.Compare(v, hi) > 0 {
			hi = v
		}
		some = true
	}
	if some {
		s.min = lowerBound(lo)
		s.max, s.open = upperBound(hi)
	}
}

// lowerBound is a prefix of v that is not above it.
func lowerBound(v []byte) []byte { return append([]byte(nil), v[:min(len(v), boundMax)]...) }

// upperBound is v, or where it is long the first string after all strings with
// its prefix; open where there is none.
func upperBound(v []byte) (b []byte, open bool) {
	if len(v) <= boundMax {
		return append([]byte(nil), v...), false
	}
	b = append([]byte(nil), v[:boundMax]...)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] != 0xff {
			b[i]++
			return b[:i+1], false
		}
	}
	return nil, true
}

func (s *stats) ofElements(t DType, v []byte) {
	if len(v) == 0 {
		return
	}
	switch t {
	case Bool, Uint8:
		lo, hi := extremes8(v, 0)
		s.min, s.max = []byte{lo}, []byte{hi}
	case Int8:
		lo, hi := extremes8(v, 0x80)
		s.min, s.max = []byte{lo}, []byte{hi}
	case Int16:
		integers[int16](s, v)
	case Int32:
		integers[int32](s, v)
	case Int64:
		integers[int64](s, v)
	case Uint16:
		integers[uint16](s, v)
	case Uint32:
		integers[uint32](s, v)
	case Uint64:
		integers[uint64](s, v)
	case Float16:
		s.halves(v)
	case Float32:
		floats[float32](s, v)
	case Float64:
		floats[float64](s, v)
	}
}

// extremes8 are the bytes with the smallest and largest value after flip is
// applied. It stops when nothing can be smaller or larger any more, which
// images reach soon.
func extremes8(v []byte, flip byte) (lo, hi byte) {
	lo, hi = 0xff, 0
	for len(v) > 0 {
		n := min(len(v), 256)
		for _, x := range v[:n] {
			lo, hi = min(lo, x^flip), max(hi, x^flip)
		}
		if lo == 0 && hi == 0xff {
			break
		}
		v = v[n:]
	}
	return lo ^ flip, hi ^ flip
}

type number interface {
	int16 | int32 | int64 | uint16 | uint32 | uint64 | float32 | float64
}

// typed calls fn with the elements of v, in pieces. This platform is
// little-endian, as the stored form.
func typed[T number](v []byte, fn func([]T)) {
	var zero T
	size := int(unsafe.Sizeof(zero))
	if uintptr(unsafe.Pointer(unsafe.SliceData(v)))%uintptr(size) == 0 {
		fn(unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(v))), len(v)/size))
		return
	}
	buf := make([]T, 1024)
	for len(v) > 0 {
		raw := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(buf))), len(buf)*size)
		n := copy(raw, v)
		fn(buf[:n/size])
		v = v[n:]
	}
}

// raw is the stored form of one element.
func raw[T number](x T) []byte {
	return append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(&x)), unsafe.Sizeof(x))...)
}

func integers[T int16 | int32 | int64 | uint16 | uint32 | uint64](s *stats, v []byte) {
	first := true
	var lo, hi T
	typed(v, func(xs []T) {
		if first {
			lo, hi, first = xs[0], xs[0], false
		}
		for _, x := range xs {
			lo, hi = min(lo, x), max(hi, x)
		}
	})
	s.min, s.max = raw(lo), raw(hi)
}

func floats[T float32 | float64](s *stats, v []byte) {
	lo, hi := T(math.Inf(1)), T(math.Inf(-1))
	var nans, n int
	var plus, minus bool // zeros met
	typed(v, func(xs []T) {
		n += len(xs)
		for _, x := range xs {
			if math.IsNaN(float64(x)) {
				nans++
				continue
			}
			if x == 0 {
				if math.Signbit(float64(x)) {
					minus = true
				} else {
					plus = true
				}
			}
			if x < lo {
				lo = x
			}
			if x > hi {
				hi = x
			}
		}
	})
	s.nans += uint64(nans)
	if nans == n {
		return
	}
	if lo == 0 && minus {
		lo = T(math.Copysign(0, -1))
	}
	if hi == 0 {
		if hi = 0; !plus {
			hi = T(math.Copysign(0, -1))
		}
	}
	s.min, s.max = raw(lo), raw(hi)
}

// halves orders binary16 by their bits: the sign inverted for positive ones,
// all bits for negative ones.
func (s *stats) halves(v []byte) {
	lo, hi := uint16(math.MaxUint16), uint16(0)
	n, nans := 0, 0
	typed(v, func(xs []uint16) {
		n += len(xs)
		for _, h := range xs {
			if h&0x7fff > 0x7c00 {
				nans++
				continue
			}
			k := h | 0x8000
			if h&0x8000 != 0 {
				k = ^h
			}
			lo, hi = min(lo, k), max(hi, k)
		}
	})
	s.nans += uint64(nans)
	if nans == n {
		return
	}
	back := func(k uint16) uint16 {
		if k&0x8000 != 0 {
			return k &^ 0x8000
		}
		return ^k
	}
	s.min, s.max = raw(back(lo)), raw(back(hi))
}

// lessFloat orders -0 before 0, so that the bounds do not depend on the order
// of the rows.
func lessFloat(a, b float64) bool {
	return a < b || a == 0 && b == 0 && math.Signbit(a) && !math.Signbit(b)
}

// float is one element of a float type.
func float(t DType, b []byte) float64 {
	switch t {
	case Float16:
		return float64(half.Float32(binary.LittleEndian.Uint16(b)))
	case Float32:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
	}
	return math.Float64frombits(binary.LittleEndian.Uint64(b))
}

// widen makes s cover o's rows too: the exact statistics of both together,
// except that a bound of strings stays as wide as the wider one.
func (s *stats) widen(c *Column, o *stats) {
	wasEmpty := s.nulls == s.count // no value yet: bounds of o hold alone
	s.count += o.count
	s.bytes += o.bytes
	s.nulls += o.nulls
	s.nans += o.nans
	if c.Layout == Bytes || c.Layout == String {
		if o.nulls == o.count {
			return
		}
		if wasEmpty {
			s.min, s.max, s.open = o.min, o.max, o.open
			return
		}
		if s.open = s.open || o.open; s.open {
			s.max = nil
		} else if bytes.Compare(s.max, o.max) < 0 {
			s.max = o.max
		}
		if bytes.Compare(o.min, s.min) < 0 {
			s.min = o.min
		}
		return
	}
	if len(o.min) == 0 {
		return
	}
	if len(s.min) == 0 || lessElement(c.DType, o.min, s.min) {
		s.min = o.min
	}
	if len(s.max) == 0 || lessElement(c.DType, s.max, o.max) {
		s.max = o.max
	}
}

func lessElement(t DType, a, b []byte) bool {
	switch t {
	case Float16, Float32, Float64:
		return lessFloat(float(t, a), float(t, b))
	case Int8:
		return int8(a[0]) < int8(b[0])
	case Int16:
		return int16(binary.LittleEndian.Uint16(a)) < int16(binary.LittleEndian.Uint16(b))
	case Int32:
		return int32(binary.LittleEndian.Uint32(a)) < int32(binary.LittleEndian.Uint32(b))
	case Int64:
		return int64(binary.LittleEndian.Uint64(a)) < int64(binary.LittleEndian.Uint64(b))
	}
	for i := len(a) - 1; i >= 0; i-- {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}
