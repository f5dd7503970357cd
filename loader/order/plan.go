package order

import "daos/internal/fault"

// Uneven says what becomes of a last global batch that is not whole.
type Uneven string

// What there is.
const (
	Keep Uneven = "keep" // ranks take their slices as far as there are samples: the last are short or missing
	Pad  Uneven = "pad"  // every rank takes ceil(m/ranks) of its m samples, filled up by the first ones of the pass
	Drop Uneven = "drop" // every rank takes floor(m/ranks), the rest is left out
)

// Plan says who reads what of a pass: world ranks take slices of each global
// batch, workers of a rank take turns at batches.
type Plan struct {
	Start    uint64 // position to go on from: global batches are counted from it
	Samples  uint64 // of the pass
	Batch    uint64 // samples of one rank's batch
	Ranks    uint64
	Workers  uint64 // of each rank; the reader itself without any is one
	DropLast bool   // leave out the last global batch if it is not whole, for every rank
	Uneven   Uneven // "": Keep
}

// Slice is one batch: the positions [From, To) of the global order, and then
// Again positions that repeat others, from First on, modulo the samples of the
// pass.
type Slice struct {
	From, To     uint64
	First, Again uint64
}

// Len is the samples of the batch.
func (s Slice) Len() uint64 { return s.To - s.From + s.Again }

// Check checks the numbers.
func (p *Plan) Check() error {
	switch {
	case p.Batch == 0 || p.Ranks == 0 || p.Workers == 0:
		return fault.New(fault.Invalid, "loader.plan", "plan", "batch size, ranks and workers are at least 1 (they are %d, %d, %d)", p.Batch, p.Ranks, p.Workers)
	case p.Batch > 1<<31 || p.Ranks > 1<<24 || p.Workers > 1<<16:
		return fault.New(fault.TooBig, "loader.plan", "plan", "batch size %d, %d ranks, %d workers", p.Batch, p.Ranks, p.Workers)
	case p.Start > p.Samples || p.Samples > MaxSamples:
		return fault.New(fault.Invalid, "loader.plan", "plan", "position %d is past the %d samples", p.Start, p.Samples)
	case p.Uneven != "" && p.Uneven != Keep && p.Uneven != Pad && p.Uneven != Drop:
		return fault.New(fault.Invalid, "loader.plan", "plan", "an uneven tail can't be %q", p.Uneven).Do("use keep, pad or drop")
	}
	return nil
}

// tail is the samples of the last global batch if it is not whole, and how many
// of them each rank takes; own is 0 where nobody takes any.
func (p *Plan) tail() (whole, samples, own uint64) {
	step := p.Batch * p.Ranks
	whole = (p.Samples - p.Start) / step
	samples = (p.Samples - p.Start) - whole*step
	switch {
	case samples == 0 || p.DropLast:
	case p.Uneven == Pad:
		own = (samples + p.Ranks - 1) / p.Ranks
	case p.Uneven == Drop:
		own = samples / p.Ranks
	default:
		own = p.Batch
	}
	return whole, samples, own
}

// Steps is the number of global batches that some rank reads, the last one
// perhaps short.
func (p *Plan) Steps() uint64 {
	whole, _, own := p.tail()
	if own > 0 {
		whole++
	}
	return whole
}

// At is the batch of a rank in a step: its r-th contiguous slice of the global
// batch. ok is false where nothing is left for it.
func (p *Plan) At(step, rank uint64) (s Slice, ok bool) {
	whole, _, own := p.tail()
	if rank >= p.Ranks || step > whole || step == whole && own == 0 {
		return Slice{}, false
	}
	base := p.Start + step*p.Batch*p.Ranks
	if step < whole {
		from := base + rank*p.Batch
		return Slice{From: from, To: from + p.Batch}, true
	}
	from, to := base+rank*own, base+(rank+1)*own
	s = Slice{From: min(from, p.Samples), To: min(to, p.Samples)}
	if p.Uneven == Pad && to > p.Samples {
		s.Again = to - max(from, p.Samples)
		s.First = max(from, p.Samples) - p.Samples
	}
	return s, s.Len() > 0
}

// Worker is the worker that reads a step: w takes steps w, w+W, ...
func (p *Plan) Worker(step uint64) uint64 { return step % p.Workers }

// Tail says how many samples come again at the end of the pass, and how many
// are left out of it.
func (p *Plan) Tail() (repeated, leftOut uint64) {
	_, samples, own := p.tail()
	switch {
	case own == 0:
		return 0, samples
	case p.Uneven == Pad:
		return own*p.Ranks - samples, 0
	case p.Uneven == Drop:
		return 0, samples - own*p.Ranks
	}
	return 0, 0
}
