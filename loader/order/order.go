// Package order says in which order the samples of a manifest are visited in
// one pass, and which of them each world rank and worker reads. It is pure: an
// order is a value, a function of (kind, parameters, seed, pass, number of
// samples), it needs no memory that grows with the samples (but for weights
// given for each) and can begin anywhere.
//
// It is not a sampler: nothing here counts what has been read (package token
// writes that down) and nothing reads. docs/order.md defines the algorithms;
// testdata holds vectors that pydaos is tested with too.
//
// Start at Spec.New.
package order

import (
	"daos/internal/fault"
)

// Kind names a family of orders. Its version is that of its algorithm: what a
// resume token names must come out the same for ever.
type Kind string

// The kinds there are.
const (
	Sequential Kind = "sequential"
	Shuffle    Kind = "shuffle"    // one keyed bijection over all samples
	Block      Kind = "block"      // blocks in keyed order, shuffled within
	Window     Kind = "window"     // a shuffle in a moving window
	Weighted   Kind = "weighted"   // draws with replacement
	Stratified Kind = "stratified" // classes in their proportions everywhere
)

// Kinds are all kinds.
func Kinds() []Kind { return []Kind{Sequential, Shuffle, Block, Window, Weighted, Stratified} }

// Version is the newest version of a kind, 0 for an unknown one.
func (k Kind) Version() int {
	switch k {
	case Sequential, Shuffle, Block, Window, Weighted, Stratified:
		return 1
	}
	return 0
}

// Params are what a kind needs beyond a seed; each kind has some of them, the
// others are zero.
type Params struct {
	Block   uint64 // of block; of window, where 0 is none
	Window  uint64
	Samples uint64 // draws of a pass
	Weights string // digest of the weights, see Groups.Digest
	Strata  string // digest of the classes
}

// Spec is everything that an order is a function of, apart from the number of
// samples and their groups.
type Spec struct {
	Kind    Kind
	Version int // 0: the newest
	Seed    uint64
	Pass    uint64
	Params  Params
}

// Order is the order of one pass.
type Order interface {
	// Len is the number of positions.
	Len() uint64
	// Fill puts into dst the samples at positions start, start+1, ...; the
	// caller keeps start+len(dst) within Len.
	Fill(dst []uint64, start uint64)
}

// Inverse is an Order in which every sample comes once.
type Inverse interface {
	Order
	// Position is where a sample of the order comes, the inverse of Fill.
	Position(sample uint64) uint64
}

// MaxSamples bounds an order, so that its arithmetic cannot overflow.
const MaxSamples = 1 << 62

// ByGroups reports whether orders of a kind need Groups.
func (k Kind) ByGroups() bool { return k == Weighted || k == Stratified }

// Check checks kind, version and parameters.
func (s *Spec) Check() error {
	newest := s.Kind.Version()
	if newest == 0 {
		return fault.New(fault.Unsupported, "loader.order", "", "unknown kind of order %q", s.Kind).
			Do("use one of %v", Kinds())
	}
	if s.Version != 0 && s.Version != newest {
		return fault.New(fault.Unsupported, "loader.order", "", "version %d of order %q is not known here, only %d", s.Version, s.Kind, newest).
			Do("use the version of daos that made the token")
	}
	want := Params{}
	p := &s.Params
	invalid := func(what string, v uint64, least int) error {
		return fault.New(fault.Invalid, "loader.order", "", "order %q: %s is %d, it goes from %d to 2^62", s.Kind, what, v, least)
	}
	switch s.Kind {
	case Block:
		if want.Block = p.Block; p.Block < 1 || p.Block > MaxSamples {
			return invalid("block", p.Block, 1)
		}
	case Window:
		want.Block, want.Window = p.Block, p.Window
		if p.Block > MaxSamples {
			return invalid("block", p.Block, 0)
		}
		if p.Window < 4 || p.Window > MaxSamples {
			return invalid("window", p.Window, 4)
		}
	case Weighted:
		want.Samples, want.Weights = p.Samples, p.Weights
		if p.Samples > MaxSamples {
			return invalid("samples", p.Samples, 0)
		}
	case Stratified:
		want.Strata = p.Strata
	}
	if want != *p {
		return fault.New(fault.Invalid, "loader.order", "", "order %q has no such parameters: %+v", s.Kind, *p)
	}
	return nil
}

// New makes the order of n samples; g is needed by kinds that go by groups,
// and nil otherwise. A digest in the parameters, where there is one, must be
// that of g.
func (s Spec) New(n uint64, g *Groups) (Order, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	if n > MaxSamples {
		return nil, fault.New(fault.TooBig, "loader.order", string(s.Kind), "%d samples, at most %d can be ordered", n, uint64(MaxSamples))
	}
	key := passKey(s.Seed, s.Pass)
	if s.Kind.ByGroups() {
		return s.grouped(n, g, key)
	}
	switch {
	case s.Kind == Sequential || n < 2:
		return sequential(n), nil
	case s.Kind == Block:
		return newBlocks(n, s.Params.Block, key, true), nil
	case s.Kind == Window:
		return newWindow(n, s.Params.Window, s.Params.Block, key), nil
	}
	return newShuffle(n, s.Seed, s.Pass), nil
}

func (s *Spec) grouped(n uint64, g *Groups, key uint64) (Order, error) {
	if g == nil {
		return nil, fault.New(fault.Invalid, "loader.order", "", "order %q goes by class, and what is read has no classes", s.Kind).
			Do("label files by their directory (--label-dirname)")
	}
	if err := g.check(s.Kind, n); err != nil {
		return nil, err
	}
	if given := s.Params.Weights + s.Params.Strata; given != "" && given != g.Digest(s.Kind) {
		return nil, fault.New(fault.Conflict, "loader.order", string(s.Kind), "the order was made by other weights or classes: their digest is %s, here it is %s", given, g.Digest(s.Kind)).
			Do("give the weights that the token was made with")
	}
	if s.Kind == Weighted {
		return newDraws(s.Params.Samples, g, key), nil
	}
	return newStrata(n, g, key)
}

type sequential uint64

func (n sequential) Len() uint64 { return uint64(n) }

func (n sequential) Fill(dst []uint64, start uint64) {
	for i := range dst {
		dst[i] = start + uint64(i)
	}
}

func (n sequential) Position(sample uint64) uint64 { return sample }
