package order

import (
	"math"
	"math/bits"

	"daos/engine/object"
)

const (
	rounds = 8
	golden = 0x9E3779B97F4A7C15
	perm   = 0xD1B54A32D192ED03
)

// Purposes of the keys that are made from the key of a pass.
const (
	tagBlocks    = 1 // order of blocks
	tagWithin    = 2 // samples of a block
	tagStaggered = 3 // a window's first shuffle
	tagAligned   = 4 // and its second
	tagDraw      = 5
	tagClass     = 6 // samples of a class
	tagNode      = 7 // node of an interleaving
	tagPart      = 8 // samples of a mixture's part
)

// passKey is the key of a pass.
func passKey(seed, pass uint64) uint64 {
	return object.Mix64(object.Mix64(seed+golden) ^ (pass + perm))
}

// sub is the key of part j of an order, for one purpose.
func sub(key, tag, j uint64) uint64 {
	return object.Mix64(object.Mix64(key^tag) + (j+1)*golden)
}

// mulhi reduces x to [0, m) by the upper half of a product.
func mulhi(x, m uint64) uint64 {
	hi, _ := bits.Mul64(x, m)
	return hi
}

// ceilSqrt is the smallest a with a*a >= n, exactly, for n up to MaxSamples.
func ceilSqrt(n uint64) uint64 {
	a := uint64(math.Sqrt(float64(n)))
	for a*a >= n && a > 0 {
		a--
	}
	for a*a < n {
		a++
	}
	return a
}

// bijection is a Feistel network over a*b >= m points in mixed radix, keyed;
// points at or above m are mapped again until they fall below ("cycle
// walking"). Unlike shuffle's, its round function is reduced by a
// multiplication, and its key is one number, so that there may be many.
type bijection struct{ m, a, b, key uint64 }

func newBijection(m, key uint64) bijection {
	a := max(ceilSqrt(m), 1)
	return bijection{m, a, max((m+a-1)/a, 1), key}
}

func reduce(h, m uint64) uint64 { return (h >> 32) * m >> 32 }

func (f *bijection) forward(x uint64) uint64 {
	for {
		r := x / f.a
		l := x - r*f.a
		for i := uint64(0); i < rounds; i += 2 {
			if l += reduce(object.Mix64(r^(f.key+(i+1)*golden)), f.a); l >= f.a {
				l -= f.a
			}
			if r += reduce(object.Mix64(l^(f.key+(i+2)*golden)), f.b); r >= f.b {
				r -= f.b
			}
		}
		if x = r*f.a + l; x < f.m {
			return x
		}
	}
}

func (f *bijection) backward(y uint64) uint64 {
	for {
		r := y / f.a
		l := y - r*f.a
		for i := uint64(rounds); i > 0; i -= 2 {
			if r += f.b - reduce(object.Mix64(l^(f.key+i*golden)), f.b); r >= f.b {
				r -= f.b
			}
			if l += f.a - reduce(object.Mix64(r^(f.key+(i-1)*golden)), f.a); l >= f.a {
				l -= f.a
			}
		}
		if y = r*f.a + l; y < f.m {
			return y
		}
	}
}

// shuffle is the order of that name: one Feistel network over all samples.
type shuffle struct {
	n, a, b uint64
	keys    [rounds]uint64
}

func newShuffle(n, seed, pass uint64) *shuffle {
	s := &shuffle{n: n, a: ceilSqrt(n)}
	s.b = (n + s.a - 1) / s.a
	key := passKey(seed, pass)
	for i := range s.keys {
		s.keys[i] = object.Mix64(key + uint64(i+1)*golden)
	}
	return s
}

func (s *shuffle) Len() uint64 { return s.n }

func (s *shuffle) Fill(dst []uint64, start uint64) {
	for i := range dst {
		y := s.forward(start + uint64(i))
		for y >= s.n {
			y = s.forward(y)
		}
		dst[i] = y
	}
}

func (s *shuffle) Position(y uint64) uint64 {
	x := s.backward(y)
	for x >= s.n {
		x = s.backward(x)
	}
	return x
}

func (s *shuffle) forward(x uint64) uint64 {
	r := x / s.a
	l := x - r*s.a
	for i := 0; i < rounds; i += 2 {
		l = (l + object.Mix64(r^s.keys[i])%s.a) % s.a
		r = (r + object.Mix64(l^s.keys[i+1])%s.b) % s.b
	}
	return r*s.a + l
}

func (s *shuffle) backward(y uint64) uint64 {
	r := y / s.a
	l := y - r*s.a
	for i := rounds - 2; i >= 0; i -= 2 {
		r = (r + s.b - object.Mix64(l^s.keys[i+1])%s.b) % s.b
		l = (l + s.a - object.Mix64(r^s.keys[i])%s.a) % s.a
	}
	return r*s.a + l
}
