package tensor

import (
	"bytes"
	"encoding/binary"
	"math"
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
		for i := 0; i < n; i++ {
			if d.Valid[i] == 1 {
				e := stats{}
				e.ofElements(c.DType, d.Values[i*size:(i+1)*size])
				s.widen(c, &e)
			}
		}
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
	switch t {
	case Bool, Uint8:
		scanInts(s, v, 1, func(b []byte) uint8 { return b[0] })
	case Int8:
		scanInts(s, v, 1, func(b []byte) int8 { return int8(b[0]) })
	case Int16:
		scanInts(s, v, 2, func(b []byte) int16 { return int16(binary.LittleEndian.Uint16(b)) })
	case Int32:
		scanInts(s, v, 4, func(b []byte) int32 { return int32(binary.LittleEndian.Uint32(b)) })
	case Int64:
		scanInts(s, v, 8, func(b []byte) int64 { return int64(binary.LittleEndian.Uint64(b)) })
	case Uint16:
		scanInts(s, v, 2, binary.LittleEndian.Uint16)
	case Uint32:
		scanInts(s, v, 4, binary.LittleEndian.Uint32)
	case Uint64:
		scanInts(s, v, 8, binary.LittleEndian.Uint64)
	case Float16, Float32, Float64:
		scanFloats(s, t, v)
	}
}

type integer interface {
	int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64
}

func scanInts[T integer](s *stats, v []byte, size int, get func([]byte) T) {
	if len(v) == 0 {
		return
	}
	lo, hi := get(v), get(v)
	atLo, atHi := 0, 0
	for i := size; i < len(v); i += size {
		x := get(v[i : i+size])
		if x < lo {
			lo, atLo = x, i
		} else if x > hi {
			hi, atHi = x, i
		}
	}
	s.min = append([]byte(nil), v[atLo:atLo+size]...)
	s.max = append([]byte(nil), v[atHi:atHi+size]...)
}

func scanFloats(s *stats, t DType, v []byte) {
	size := t.Size()
	some := false
	var lo, hi float64
	var atLo, atHi int
	for i := 0; i < len(v); i += size {
		x := float(t, v[i:])
		if x != x {
			s.nans++
			continue
		}
		if !some || lessFloat(x, lo) {
			lo, atLo = x, i
		}
		if !some || lessFloat(hi, x) {
			hi, atHi = x, i
		}
		some = true
	}
	if some {
		s.min = append([]byte(nil), v[atLo:atLo+size]...)
		s.max = append([]byte(nil), v[atHi:atHi+size]...)
	}
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
		return half(binary.LittleEndian.Uint16(b))
	case Float32:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
	}
	return math.Float64frombits(binary.LittleEndian.Uint64(b))
}

// half converts an IEEE 754 binary16.
func half(h uint16) float64 {
	sign := 1.0
	if h&0x8000 != 0 {
		sign = -1
	}
	exp, frac := int(h>>10&0x1f), float64(h&0x3ff)
	switch exp {
	case 0:
		return math.Copysign(math.Ldexp(frac, -24), sign)
	case 31:
		if frac != 0 {
			return math.NaN()
		}
		return math.Inf(int(sign))
	}
	return math.Copysign(math.Ldexp(1024+frac, exp-25), sign)
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
