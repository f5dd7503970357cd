// Package half converts IEEE 754 binary16 numbers. It knows nothing of vectors
// or datasets; bfloat16 and the float8 types are dataset/array's.
//
// Start at Float32.
package half

import "math"

// Float32 is the value of a binary16 number; it is exact.
func Float32(h uint16) float32 {
	sign, exp, frac := uint32(h>>15)<<31, uint32(h>>10&31), uint32(h&1023)
	switch {
	case exp == 31:
		return math.Float32frombits(sign | 0x7f800000 | frac<<13)
	case exp != 0:
		return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
	case frac == 0:
		return math.Float32frombits(sign)
	}
	f := float32(frac) * (1.0 / (1 << 24))
	if sign != 0 {
		f = -f
	}
	return f
}

// Exact is the binary16 number of a value that is one, as Float32 gives it. NaN
// becomes the quiet one.
func Exact(f float32) uint16 {
	b := math.Float32bits(f)
	sign := uint16(b >> 16 & 0x8000)
	switch {
	case f != f:
		return 0x7e00
	case math.IsInf(float64(f), 0):
		return sign | 0x7c00
	case f == 0:
		return sign
	}
	if exp := int(b>>23&255) - 127; exp >= -14 {
		return sign | uint16(exp+15)<<10 | uint16(b>>13&1023)
	}
	return sign | uint16(math.Abs(float64(f))*(1<<24))
}
