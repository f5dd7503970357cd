package order

import "daos/internal/fault"

// Mixture draws from several parts in proportion to their weights, without
// end: draw x is an element of one part. Each part is walked in bijective
// orders of its own, one after the other: a part that is exhausted begins its
// next internal pass.
type Mixture struct {
	sizes, weights []uint64
	v              *Interleave
	key            uint64
}

// NewMixture makes a mixture of parts of so many samples, weighted by whole
// numbers that sum up to less than 2^32.
func NewMixture(sizes, weights []uint64, seed uint64) (*Mixture, error) {
	if len(sizes) != len(weights) || len(sizes) == 0 {
		return nil, fault.New(fault.Invalid, "loader.mixture", "mixture", "%d parts and %d weights", len(sizes), len(weights))
	}
	for i, w := range weights {
		if w > 0 && (sizes[i] == 0 || sizes[i] > MaxSamples) {
			return nil, fault.New(fault.Invalid, "loader.mixture", "mixture", "part %d has a weight and %d samples", i, sizes[i])
		}
	}
	v, err := NewInterleave(weights)
	if err != nil {
		return nil, err
	}
	if v.Total == 0 {
		return nil, fault.New(fault.Invalid, "loader.mixture", "mixture", "no weight above 0: nothing could be drawn")
	}
	return &Mixture{sizes, weights, v, passKey(seed, 0)}, nil
}

// At says which part draw x is of, and which sample of it.
func (m *Mixture) At(x uint64) (part int, sample uint64) {
	q := x / m.v.Total
	part, k := m.v.At(x-q*m.v.Total, m.key)
	k += q * m.weights[part]
	pass := k / m.sizes[part]
	f := newBijection(m.sizes[part], sub(sub(m.key, tagPart, uint64(part)), tagPart, pass))
	return part, f.forward(k - pass*m.sizes[part])
}
