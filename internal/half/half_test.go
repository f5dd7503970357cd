package half_test

import (
	"math"
	"testing"

	"daos/internal/half"
)

// value is what the format says, in float64.
func value(h uint16) float64 {
	sign, exp, frac := 1.0, int(h>>10&31), float64(h&1023)
	if h>>15 == 1 {
		sign = -1
	}
	switch {
	case exp == 31 && frac != 0:
		return math.NaN()
	case exp == 31:
		return math.Inf(int(sign))
	case exp == 0:
		return math.Copysign(math.Ldexp(frac, -24), sign)
	}
	return math.Copysign(math.Ldexp(1024+frac, exp-25), sign)
}

func TestEveryNumber(t *testing.T) {
	for i := range 1 << 16 {
		h := uint16(i)
		got, want := half.Float32(h), value(h)
		if math.IsNaN(want) {
			if !math.IsNaN(float64(got)) || half.Exact(got) != 0x7e00 {
				t.Fatalf("%#x is %v, and back %#x", h, got, half.Exact(got))
			}
			continue
		}
		if math.Float64bits(float64(got)) != math.Float64bits(want) || half.Exact(got) != h {
			t.Fatalf("%#x is %v, not %v, and back %#x", h, got, want, half.Exact(got))
		}
	}
}
