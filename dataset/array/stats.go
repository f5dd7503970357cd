package array

import (
	"bytes"
	"math"
	"unsafe"
)

// statMax is the longest element that bounds are kept of.
const statMax = 64

// stats summarises elements.
type stats struct {
	count uint64 // elements summarised
	nans  uint64 // at most so many of them are NaN
	// min and max are the smallest and largest that are not NaN; nil: there is
	// none, or the type has no order.
	min, max []byte
	// exact: they are those of the elements. Else they are bounds.
	exact bool
}

// add summarises further elements.
func (s *stats) add(t DType, v []byte) {
	n := len(v) / t.size
	if n == 0 {
		return
	}
	s.count += uint64(n)
	var lo, hi []byte
	switch {
	case t.kind == kindNone || t.size > statMax:
		return
	case t.kind == kindFloat && t.size == 8:
		lo, hi = floats[float64](s, v)
	case t.kind == kindFloat && t.size == 4:
		lo, hi = floats[float32](s, v)
	case t.kind == kindFloat && t.size == 2:
		lo, hi = smallFloats[uint16](s, t, v)
	case t.kind == kindFloat:
		lo, hi = smallFloats[uint8](s, t, v)
	case t.kind == kindUint && t.size == 1:
		lo, hi = bytesBounds(v)
	case t.kind == kindUint && t.size == 2:
		lo, hi = integers[uint16](v)
	case t.kind == kindUint && t.size == 4:
		lo, hi = integers[uint32](v)
	case t.kind == kindUint && t.size == 8:
		lo, hi = integers[uint64](v)
	case t.kind == kindInt && t.size == 1:
		lo, hi = integers[int8](v)
	case t.kind == kindInt && t.size == 2:
		lo, hi = integers[int16](v)
	case t.kind == kindInt && t.size == 4:
		lo, hi = integers[int32](v)
	case t.kind == kindInt && t.size == 8:
		lo, hi = integers[int64](v)
	default: // wide integers, byte strings
		lo, hi = v[:t.size], v[:t.size]
		for ; len(v) > 0; v = v[t.size:] {
			if e := v[:t.size]; t.less(e, lo) {
				lo = e
			} else if t.less(hi, e) {
				hi = e
			}
		}
	}
	s.bound(t, lo, hi)
}

// bound widens the bounds; empty ones say nothing.
func (s *stats) bound(t DType, lo, hi []byte) {
	if len(lo) == 0 {
		return
	}
	if s.min == nil || t.less(lo, s.min) {
		s.min = bytes.Clone(lo)
	}
	if s.max == nil || t.less(s.max, hi) {
		s.max = bytes.Clone(hi)
	}
}

// join adds what o summarises, of other elements.
func (s *stats) join(t DType, o *stats) {
	s.count += o.count
	s.nans += o.nans
	s.exact = s.exact && o.exact
	s.bound(t, o.min, o.max)
}

// addFill adds n elements that have the fill value (nil: zeros).
func (s *stats) addFill(t DType, fill []byte, n uint64) {
	if n == 0 {
		return
	}
	if fill == nil {
		fill = make([]byte, t.size)
	}
	one := stats{exact: true}
	one.add(t, fill)
	one.count *= n
	one.nans *= n
	s.join(t, &one)
}

// settle makes the statistics of a chunk those of the in elements of it that lie
// inside the shape now. What the array has grown by since holds the fill value.
// While chunks that were cut off are not all cleared (stale), nobody knows which
// elements the record of a chunk at the edge was for: then only bounds are left.
func (s *stats) settle(spec *Spec, in uint64, stale bool) {
	if !stale || in == spec.ChunkElements() {
		s.addFill(spec.DType, spec.Fill, in-min(s.count, in))
		return
	}
	all := stats{}
	all.addFill(spec.DType, spec.Fill, in)
	s.bound(spec.DType, all.min, all.max)
	s.count, s.exact = in, false
	if s.nans = min(s.nans, in); all.nans > 0 {
		s.nans = in
	}
}

// less orders two elements that are not NaN; -0 comes before 0.
func (t DType) less(a, b []byte) bool {
	switch t.kind {
	case kindBytes:
		return bytes.Compare(a, b) < 0
	case kindFloat, kindInt:
		na, nb := a[t.size-1]&0x80 != 0, b[t.size-1]&0x80 != 0
		if na != nb {
			return na
		}
		if na && t.kind == kindFloat { // both negative: by magnitude, the other way
			a, b = b, a
		}
	}
	for i := t.size - 1; i >= 0; i-- {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}

type native interface {
	int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64 | float32 | float64
}

// typed calls fn with the elements of v, in pieces. This platform is
// little-endian, as the stored form.
func typed[T native](v []byte, fn func([]T)) {
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
func raw[T native](x T) []byte {
	return append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(&x)), unsafe.Sizeof(x))...)
}

func integers[T int8 | int16 | int32 | int64 | uint16 | uint32 | uint64](v []byte) (lowest, highest []byte) {
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
	return raw(lo), raw(hi)
}

// bytesBounds stops when nothing can be smaller or larger, which images reach soon.
func bytesBounds(v []byte) (lowest, highest []byte) {
	lo, hi := byte(0xff), byte(0)
	for len(v) > 0 && (lo != 0 || hi != 0xff) {
		n := min(len(v), 256)
		for _, x := range v[:n] {
			lo, hi = min(lo, x), max(hi, x)
		}
		v = v[n:]
	}
	return []byte{lo}, []byte{hi}
}

func floats[T float32 | float64](s *stats, v []byte) (lowest, highest []byte) {
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
		return nil, nil
	}
	if lo == 0 && minus {
		lo = T(math.Copysign(0, -1))
	}
	if hi == 0 {
		if hi = 0; !plus {
			hi = T(math.Copysign(0, -1))
		}
	}
	return raw(lo), raw(hi)
}

// smallFloats orders floats of 8 and 16 bits by their bits: the sign inverted for
// positive ones, all bits for negative ones.
func smallFloats[T uint8 | uint16](s *stats, t DType, v []byte) (lowest, highest []byte) {
	sign := T(1) << (8*t.size - 1)
	lo, hi := ^T(0), T(0)
	n, nans := 0, 0
	typed(v, func(xs []T) {
		n += len(xs)
		for _, x := range xs {
			if uint16(x&^sign) >= t.nan {
				nans++
				continue
			}
			k := x | sign
			if x&sign != 0 {
				k = ^x
			}
			lo, hi = min(lo, k), max(hi, k)
		}
	})
	s.nans += uint64(nans)
	if nans == n {
		return nil, nil
	}
	back := func(k T) []byte {
		if k&sign != 0 {
			return raw(k &^ sign)
		}
		return raw(^k)
	}
	return back(lo), back(hi)
}

// Float is an element of an integer or float type of up to 8 bytes as a number;
// integers beyond 2^53 are rounded.
func (t DType) Float(b []byte) (float64, bool) {
	if len(b) != t.size || t.size > 8 {
		return 0, false
	}
	var u uint64
	for i := t.size - 1; i >= 0; i-- {
		u = u<<8 | uint64(b[i])
	}
	switch {
	case t.kind == kindUint:
		return float64(u), true
	case t.kind == kindInt:
		shift := 64 - 8*t.size
		return float64(int64(u<<shift) >> shift), true
	case t.kind != kindFloat:
		return 0, false
	}
	switch t.name {
	case "float64":
		return math.Float64frombits(u), true
	case "float32":
		return float64(math.Float32frombits(uint32(u))), true
	case "bfloat16":
		return float64(math.Float32frombits(uint32(u) << 16)), true
	case "float16":
		return minifloat(u, 5, 10, true), true
	case "float8_e5m2":
		return minifloat(u, 5, 2, true), true
	}
	return minifloat(u, 4, 3, false), true
}

// minifloat converts a small float of so many exponent and fraction bits; without
// infinities (float8_e4m3fn) only the highest magnitude is NaN.
func minifloat(u uint64, exponent, fraction int, infinite bool) float64 {
	sign := 1.0
	if u>>(exponent+fraction)&1 != 0 {
		sign = -1
	}
	e := int(u >> fraction & (1<<exponent - 1))
	f := u & (1<<fraction - 1)
	bias := 1<<(exponent-1) - 1
	switch {
	case e == 1<<exponent-1 && infinite && f == 0:
		return math.Inf(int(sign))
	case e == 1<<exponent-1 && (infinite || f == 1<<fraction-1):
		return math.NaN()
	case e == 0:
		return math.Copysign(math.Ldexp(float64(f), 1-bias-fraction), sign)
	}
	return math.Copysign(math.Ldexp(float64(f|1<<fraction), e-bias-fraction), sign)
}

// fillPattern fills p with copies of an element (nil: zeros). p begins at an element.
func fillPattern(p, fill []byte) {
	if len(fill) == 0 {
		clear(p)
		return
	}
	n := copy(p, fill)
	for n < len(p) {
		n += copy(p[n:], p[:n])
	}
}
