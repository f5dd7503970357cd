package order

import "daos/internal/fault"

// Plan says who reads what of a pass: world ranks take slices of each global
// batch, workers of a rank take turns at batches.
type Plan struct {
	Start    uint64 // position to go on from: global batches are counted from it
	Samples  uint64 // of the pass
	Batch    uint64 // samples of one rank's batch
	Ranks    uint64
	Workers  uint64 // of each rank; the reader itself without any is one
	DropLast bool   // leave out the last global batch if it is not whole, for every rank
}

// Slice is the positions [From, To) of the global order that form one batch.
type Slice struct{ From, To uint64 }

// Check checks the numbers.
func (p *Plan) Check() error {
	switch {
	case p.Batch == 0 || p.Ranks == 0 || p.Workers == 0:
		return fault.New(fault.Invalid, "loader.plan", "plan", "batch size, ranks and workers are at least 1 (they are %d, %d, %d)", p.Batch, p.Ranks, p.Workers)
	case p.Batch > 1<<31 || p.Ranks > 1<<24 || p.Workers > 1<<16:
		return fault.New(fault.TooBig, "loader.plan", "plan", "batch size %d, %d ranks, %d workers", p.Batch, p.Ranks, p.Workers)
	case p.Start > p.Samples || p.Samples > MaxSamples:
		return fault.New(fault.Invalid, "loader.plan", "plan", "position %d is past the %d samples", p.Start, p.Samples)
	}
	return nil
}

// Steps is the number of global batches left, the last one perhaps short.
func (p *Plan) Steps() uint64 {
	step := p.Batch * p.Ranks
	left := p.Samples - p.Start
	if p.DropLast {
		return left / step
	}
	return (left + step - 1) / step
}

// At is the batch of a rank in a step: its r-th contiguous slice of the global
// batch. ok is false where nothing is left for it.
func (p *Plan) At(step, rank uint64) (s Slice, ok bool) {
	if step >= p.Steps() || rank >= p.Ranks {
		return Slice{}, false
	}
	s.From = p.Start + (step*p.Ranks+rank)*p.Batch
	s.To = min(s.From+p.Batch, p.Samples)
	return s, s.From < p.Samples
}

// Worker is the worker that reads a step: w takes steps w, w+W, ...
func (p *Plan) Worker(step uint64) uint64 { return step % p.Workers }
