// Package order says in which order the samples of a manifest are visited in
// one pass, and which of them each world rank and worker reads. It is pure: an
// order is a value, a function of (kind, seed, pass, number of samples), it
// needs no memory that grows with the samples and can begin anywhere.
//
// It is not a sampler: nothing here counts what has been read (package token
// writes that down) and nothing reads. docs/order.md defines the algorithm;
// testdata/order.json holds vectors that pydaos is tested with too.
//
// Start at Spec.New.
package order

import (
	"math"

	"daos/engine/object"
	"daos/internal/fault"
)

// Kind names a family of orders. Its version is that of its algorithm: what a
// resume token names must come out the same for ever.
type Kind string

// The kinds there are.
const (
	Sequential Kind = "sequential"
	Shuffle    Kind = "shuffle" // one keyed bijection over all samples
)

var versions = map[Kind]int{Sequential: 1, Shuffle: 1}

// Version is the newest version of a kind, 0 for an unknown one.
func (k Kind) Version() int { return versions[k] }

// Spec is everything that an order is a function of, apart from the number of
// samples. Kinds that need more than a seed keep it in Params.
type Spec struct {
	Kind    Kind
	Version int // 0: the newest
	Seed    uint64
	Pass    uint64
	// Params belong to the kind; none of those here has any.
	Params map[string]int64
}

// Order is the order of one pass.
type Order interface {
	// Len is the number of samples.
	Len() uint64
	// Fill puts into dst the samples at positions start, start+1, ...; the
	// caller keeps start+len(dst) within Len.
	Fill(dst []uint64, start uint64)
	// Position is where a sample of the order comes, the inverse of Fill.
	Position(sample uint64) uint64
}

// MaxSamples bounds an order, so that a*b of docs/order.md cannot overflow.
const MaxSamples = 1 << 62

// New makes the order of n samples.
func (s Spec) New(n uint64) (Order, error) {
	newest, ok := versions[s.Kind]
	if !ok {
		return nil, fault.New(fault.Unsupported, "loader.order", string(s.Kind), "unknown kind of order %q", s.Kind).Do("use sequential or shuffle")
	}
	if s.Version != 0 && s.Version != newest {
		return nil, fault.New(fault.Unsupported, "loader.order", string(s.Kind), "version %d of order %q is not known here, only %d", s.Version, s.Kind, newest).
			Do("use the version of daos that made the token")
	}
	if len(s.Params) > 0 {
		return nil, fault.New(fault.Invalid, "loader.order", string(s.Kind), "order %q has no parameters", s.Kind)
	}
	if n > MaxSamples {
		return nil, fault.New(fault.TooBig, "loader.order", string(s.Kind), "%d samples, at most %d can be ordered", n, uint64(MaxSamples))
	}
	if s.Kind == Sequential || n < 2 {
		return sequential(n), nil
	}
	return newShuffle(n, s.Seed, s.Pass), nil
}

type sequential uint64

func (n sequential) Len() uint64 { return uint64(n) }

func (n sequential) Fill(dst []uint64, start uint64) {
	for i := range dst {
		dst[i] = start + uint64(i)
	}
}

func (n sequential) Position(sample uint64) uint64 { return sample }

const (
	rounds = 8
	golden = 0x9E3779B97F4A7C15
	perm   = 0xD1B54A32D192ED03
)

// shuffle is a Feistel network over a*b >= n points in mixed radix; points at
// or above n are mapped again until they fall below ("cycle walking").
type shuffle struct {
	n, a, b uint64
	keys    [rounds]uint64
}

func newShuffle(n, seed, pass uint64) *shuffle {
	s := &shuffle{n: n, a: ceilSqrt(n)}
	s.b = (n + s.a - 1) / s.a
	s0 := object.Mix64(seed + golden)
	s1 := object.Mix64(s0 ^ (pass + perm))
	for i := range s.keys {
		s.keys[i] = object.Mix64(s1 + uint64(i+1)*golden)
	}
	return s
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
