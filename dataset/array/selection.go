package array

import (
	"encoding/binary"
	"slices"

	"daos/internal/fault"
)

// Axis selects positions along one axis: Count of them from Start on by Step, or
// a list.
type Axis struct {
	Start, Count, Step uint64
	// Indices, if not empty, are the positions instead, in any order.
	Indices []uint64
}

// Len is the number of positions.
func (a *Axis) Len() uint64 {
	if len(a.Indices) > 0 {
		return uint64(len(a.Indices))
	}
	return a.Count
}

const (
	// maxIndices bounds the lists of one selection.
	maxIndices = 1 << 20
	// maxChunksTouched bounds the chunks that one piece of a selection touches.
	maxChunksTouched = 1 << 16
)

// encodeAxes writes a selection down.
func encodeAxes(axes []Axis) []byte {
	var b []byte
	for d := range axes {
		a := &axes[d]
		for _, x := range []uint64{a.Start, a.Count, a.Step, uint64(len(a.Indices))} {
			b = binary.AppendUvarint(b, x)
		}
		for _, x := range a.Indices {
			b = binary.AppendUvarint(b, x)
		}
	}
	return b
}

// all selects a whole array.
func all(shape []uint64) []Axis {
	axes := make([]Axis, len(shape))
	for d := range axes {
		axes[d] = Axis{Count: shape[d], Step: 1}
	}
	return axes
}

// checkAxes validates a selection in an array of a shape; none: all of it.
func checkAxes(where string, axes []Axis, shape []uint64) ([]Axis, error) {
	bad := func(format string, args ...any) *fault.Error {
		return fault.New(fault.Invalid, "array.select", where, format, args...)
	}
	if len(axes) == 0 {
		return all(shape), nil
	}
	if len(axes) != len(shape) {
		return nil, bad("a selection of %d axes in an array of %d", len(axes), len(shape))
	}
	axes = slices.Clone(axes)
	lists := 0
	for d := range axes {
		a := &axes[d]
		if len(a.Indices) > 0 {
			lists += len(a.Indices)
			for k, i := range a.Indices {
				if i >= shape[d] {
					return nil, bad("position %d (number %d of the list) along axis %d is out of range, the shape is %v", i, k, d, shape)
				}
			}
			continue
		}
		a.Step = max(a.Step, 1)
		if a.Count > shape[d] || a.Start > shape[d] {
			return nil, bad("%d positions from %d along axis %d are out of range, the shape is %v", a.Count, a.Start, d, shape)
		}
		if a.Count > 0 && (a.Start >= shape[d] || a.Count-1 > (shape[d]-1-a.Start)/a.Step) { // a product could wrap around
			return nil, bad("%d positions from %d by %d along axis %d are out of range, the shape is %v", a.Count, a.Start, a.Step, d, shape)
		}
		if a.Count <= 1 {
			a.Step = 1
		}
	}
	if lists > maxIndices {
		return nil, fault.New(fault.TooBig, "array.select", where, "%d positions in lists, at most %d are allowed", lists, maxIndices).Do("select in pieces")
	}
	return axes, nil
}

// lengths are the numbers of positions along each axis.
func lengths(axes []Axis) []uint64 {
	n := make([]uint64, len(axes))
	for d := range axes {
		n[d] = axes[d].Len()
	}
	return n
}

// touched is how many runs a selection is cut into along an axis, at most.
func (a *Axis) touched(chunk uint64) uint64 {
	if len(a.Indices) > 0 {
		return uint64(len(a.Indices))
	}
	if a.Count == 0 {
		return 0
	}
	return min(a.Count, (a.Start+(a.Count-1)*a.Step)/chunk-a.Start/chunk+1)
}

// touchedChunks is the product over all axes, bounded.
func touchedChunks(axes []Axis, chunks []uint64) uint64 {
	n := uint64(1)
	for d := range axes {
		t := axes[d].touched(chunks[d])
		if t > 1<<40 || n > 1<<40 {
			return 1 << 62
		}
		n *= t
	}
	return n
}

// cut is positions [from, to) of the selection along this axis.
func (a *Axis) cut(from, to uint64) Axis {
	if len(a.Indices) > 0 {
		return Axis{Indices: a.Indices[from:to:to]}
	}
	return Axis{Start: a.Start + from*a.Step, Count: to - from, Step: a.Step}
}

// split hands out a selection in pieces of at most so many bytes that, joined,
// are its elements in C order. Pieces end at the ends of chunks where they can.
func split(axes []Axis, chunks []uint64, size int, most uint64, fn func([]Axis) error) error {
	n := uint64(size)
	for d := range axes {
		if l := axes[d].Len(); l == 0 {
			return nil
		} else if n > most/l+1 {
			n = most + 1 // enough to know
		} else {
			n *= l
		}
	}
	if n <= most && touchedChunks(axes, chunks) <= maxChunksTouched {
		return fn(axes)
	}
	d := 0
	for d < len(axes) && axes[d].Len() == 1 {
		d++
	}
	if d == len(axes) {
		return fn(axes) // one element
	}
	a := axes[d]
	inner := uint64(size)
	for k := d + 1; k < len(axes); k++ {
		if l := axes[k].Len(); inner > most/l+1 {
			inner = most + 1
		} else {
			inner *= l
		}
	}
	step := max(most/inner, 1)
	if t := touchedChunks(axes[d+1:], chunks[d+1:]); t > 0 {
		step = min(step, max(maxChunksTouched/t, 1)) // one run a position at worst
	}
	part := slices.Clone(axes)
	for from := uint64(0); from < a.Len(); {
		to := min(from+step, a.Len())
		if len(a.Indices) == 0 && a.Step == 1 && to < a.Len() {
			if end := (a.Start + to) / chunks[d] * chunks[d]; end > a.Start+from {
				to = end - a.Start
			}
		}
		part[d] = a.cut(from, to)
		if err := split(part, chunks, size, most, fn); err != nil {
			return err
		}
		from = to
	}
	return nil
}

// run is positions of a selection that lie in one chunk, evenly spaced: n of them
// from off on by step in the chunk, and from dst on one by one in the selection.
type run struct {
	chunk   uint64
	off     int
	step, n int
	dst     int
}

// plan cuts a selection along one axis into runs, in the order of their chunks.
func (a *Axis) plan(chunk uint64) []run {
	if len(a.Indices) == 0 {
		rs := make([]run, 0, a.touched(chunk))
		for k := uint64(0); k < a.Count; {
			at := a.Start + k*a.Step
			c := at / chunk
			n := min((c*chunk+chunk-at-1)/a.Step+1, a.Count-k)
			rs = append(rs, run{c, int(at - c*chunk), int(a.Step), int(n), int(k)})
			k += n
		}
		return rs
	}
	var rs []run
	for k, at := range a.Indices {
		c := at / chunk
		off := int(at - c*chunk)
		if len(rs) > 0 {
			l := &rs[len(rs)-1]
			last := l.off + (l.n-1)*l.step
			if l.chunk == c && l.dst+l.n == k && off > last && (l.n == 1 || off-last == l.step) {
				l.step = off - last
				l.n++
				continue
			}
		}
		rs = append(rs, run{c, off, 1, 1, k})
	}
	slices.SortStableFunc(rs, func(p, q run) int {
		switch {
		case p.chunk < q.chunk:
			return -1
		case p.chunk > q.chunk:
			return 1
		}
		return 0
	})
	return rs
}

// box is what of a selection lies in one chunk: for each axis some runs.
type box struct {
	coords []uint64
	runs   [][]run
}

// boxes calls fn for the chunks that a selection touches, in C order. The box is
// valid during the call only.
func boxes(axes []Axis, chunks []uint64, fn func(*box) error) error {
	rank := len(axes)
	plans := make([][]run, rank)
	for d := range axes {
		if axes[d].Len() == 0 {
			return nil
		}
		plans[d] = axes[d].plan(chunks[d])
	}
	b := box{coords: make([]uint64, rank), runs: make([][]run, rank)}
	if rank == 0 { // a scalar has one element, as one axis of length 1
		b.runs = [][]run{{{step: 1, n: 1}}}
	}
	var walk func(d int) error
	walk = func(d int) error {
		if d == rank {
			return fn(&b)
		}
		for p := plans[d]; len(p) > 0; {
			k := 1
			for k < len(p) && p[k].chunk == p[0].chunk {
				k++
			}
			b.coords[d], b.runs[d] = p[0].chunk, p[:k]
			if err := walk(d + 1); err != nil {
				return err
			}
			p = p[k:]
		}
		return nil
	}
	return walk(0)
}

func count(rs []run) int {
	n := 0
	for i := range rs {
		n += rs[i].n
	}
	return n
}

// strides are the distances, in bytes, of neighbours along each axis of a C
// order array.
func strides[T int | uint64](shape []T, size int) []int {
	s := make([]int, len(shape))
	for d := len(shape) - 1; d >= 0; d-- {
		s[d] = size
		size *= int(shape[d])
	}
	return s
}

// extremes are the first and last positions of runs in the chunk and in the selection.
func extremes(rs []run) (lo, hi, dlo, dhi int) {
	lo, dlo = rs[0].off, rs[0].dst
	for i := range rs {
		r := &rs[i]
		lo, hi = min(lo, r.off), max(hi, r.off+(r.n-1)*r.step)
		dlo, dhi = min(dlo, r.dst), max(dhi, r.dst+r.n-1)
	}
	return lo, hi, dlo, dhi
}
