package array

import (
	"context"

	"daos/engine/object"
	"daos/internal/fault"
)

const (
	// maxRegions bounds the pieces of one reply in files, maxRows those in mapped
	// memory.
	maxRegions = 4096
	maxRows    = 32 << 10
	// rowFrom is what such a piece has at least: a shorter one costs as much to
	// name as to copy.
	rowFrom = 512
	// rowApart: rows that lie further apart, in times of their length, are not read
	// out of the file by who gets the answer, who would read what is between them.
	rowApart = 3
)

// Regions puts the selection into out as it lies in memory and files, without
// bringing it together; false if it lies in too many pieces for that. After an
// error out has a part of it. What is in memory is mapped: whoever touches it
// takes care that a page may be missing.
func (r *Reader) Regions(ctx context.Context, out *object.Regions) (bool, error) {
	whole, err := r.stretches(ctx, out)
	if !whole && err == nil {
		whole, err = r.rows(ctx, out)
	}
	return whole, err
}

// stretches is Regions for a selection of long pieces of chunks.
func (r *Reader) stretches(ctx context.Context, out *object.Regions) (bool, error) {
	regions, ok := r.d.st.(object.RegionReader)
	s := r.node.Spec
	if !ok || s.Fill != nil || len(r.axes) == 0 || r.Bytes() < mappedFrom {
		return false, nil
	}
	for d := range r.axes {
		if len(r.axes[d].Indices) > 0 {
			return false, nil
		}
	}
	// Axes behind j are whole chunks wide: a run along j is one stretch of bytes.
	j := len(r.axes) - 1
	stride := uint64(s.DType.size)
	for ; j > 0; j-- {
		if a := &r.axes[j]; a.Step != 1 || a.Count != s.Chunks[j] || a.Start%s.Chunks[j] != 0 {
			break
		}
		stride *= s.Chunks[j]
	}
	last := r.axes[j]
	pieces := last.touched(s.Chunks[j])
	for d := range j {
		if pieces *= r.axes[d].Count; pieces > maxRegions {
			return false, nil
		}
	}
	if last.Step != 1 || pieces > maxRegions || r.Bytes()/pieces < mappedFrom/4 {
		return false, nil
	}
	cs := strides(s.Chunks, s.DType.size)
	runs := last.plan(s.Chunks[j])
	coords := make([]uint64, len(r.axes))
	for d := j + 1; d < len(r.axes); d++ {
		coords[d] = r.axes[d].Start / s.Chunks[d]
	}
	oid, add := chunksOID(r.node.ID), regions.ReadRegions
	if m := r.remembered(); m != nil {
		defer m.close(r.d)
		add = m.add(r, regions)
		out.OnDoubt(m.doubt)
	}
	var walk func(d, off int) error
	walk = func(d, off int) error {
		if d < j {
			for k := range r.axes[d].Count {
				at := r.axes[d].Start + k*r.axes[d].Step
				coords[d] = at / s.Chunks[d]
				if err := walk(d+1, off+int(at%s.Chunks[d])*cs[d]); err != nil {
					return err
				}
			}
			return nil
		}
		for i := range runs {
			coords[j] = runs[i].chunk
			err := add(ctx, r.at, oid, chunkKey(coords), akeyData, uint64(off+runs[i].off*cs[j]), uint64(runs[i].n)*stride, out)
			if err != nil {
				return err
			}
		}
		return nil
	}
	return true, fault.Wrap(walk(0, 0), "array.read", r.d.where(r.node.Path))
}

// remembered is the mapped segments of a dataset that stays as it is; nil where there
// are none.
func (r *Reader) remembered() *mapper {
	if !r.d.kept || r.d.maps == nil {
		return nil
	}
	return r.d.newMapper()
}

// add is ReadRegions of a store for chunks of which it is remembered where they lie.
func (m *mapper) add(r *Reader, regions object.RegionReader) func(context.Context, object.Epoch, object.ID, []byte, []byte, uint64, uint64, *object.Regions) error {
	size := uint64(r.node.Spec.chunkBytes())
	return func(ctx context.Context, at object.Epoch, oid object.ID, key, akey []byte, off, n uint64, out *object.Regions) error {
		l, err := m.chunk(ctx, r.d.st, at, oid, key, size)
		if err != nil {
			return err
		}
		s, from, err := m.find(ctx, at, oid, key, l, off, n)
		if err != nil {
			return err
		}
		if s != nil {
			if f, ok := s.Mapping.(object.RegionMapping); ok && f.AddTo(out, from, int(n)) {
				return nil
			}
		}
		return regions.ReadRegions(ctx, at, oid, key, akey, off, n, out)
	}
}

// rows is Regions for a selection whose rows are pieces of chunks that lie mapped,
// each in one piece, and are known to: it does nothing else.
func (r *Reader) rows(ctx context.Context, out *object.Regions) (bool, error) {
	s := r.node.Spec
	rank := len(r.axes)
	if rank == 0 || r.Bytes() < mappedFrom {
		return false, nil
	}
	plans := make([][]run, rank)
	chunks, pieces := uint64(1), uint64(1)
	for d := range r.axes {
		a := &r.axes[d]
		if len(a.Indices) > 0 {
			return false, nil
		}
		n := a.touched(s.Chunks[d])
		if chunks *= n; chunks > maxRows {
			return false, nil
		}
		if d < rank-1 {
			n = a.Count
		} else if a.Step != 1 && a.Count > 1 {
			return false, nil
		}
		if pieces *= n; pieces > maxRows {
			return false, nil
		}
		plans[d] = a.plan(s.Chunks[d])
	}
	if r.Bytes()/pieces < rowFrom {
		return false, nil
	}
	m := r.remembered()
	if m == nil {
		return false, nil
	}
	w := rowWalk{r: r, maps: m, plans: plans, cs: strides(s.Chunks, s.DType.size), bytes: make([]stretch, 0, chunks)}
	whole, err := w.find(ctx, make([]uint64, 0, rank), 0, 0)
	if !whole || err != nil {
		m.close(r.d)
		return false, fault.Wrap(err, "array.read", r.d.where(r.node.Path))
	}
	out.OnRelease(func() { m.close(r.d) })
	out.OnDoubt(m.doubt)
	n := 0
	if n, w.together = w.regular(out.Rows); w.together {
		out.Grow(n, n)
	} else {
		out.Grow(int(pieces), 0)
	}
	w.add(out, 0, 0, 0)
	return true, nil
}

// stretch is bytes of a chunk, of which the first is number lo of the chunk, and
// where they lie.
type stretch struct {
	b   []byte
	lo  int
	in  *mapping
	pos uint64
}

// rowWalk is the rows of a selection: the chunks that it touches, in C order, and
// the runs along each axis.
type rowWalk struct {
	r     *Reader
	maps  *mapper
	plans [][]run
	cs    []int
	bytes []stretch
	// together: the rows that a chunk has along the last axis but one are added as
	// rows of its file.
	together bool
}

// regular tells whether rows follow each other in the answer as they do in the
// chunks, close together, in few and large enough pieces; and in how many.
func (w *rowWalk) regular(most object.RowLimits) (pieces int, ok bool) {
	last := len(w.plans) - 1
	if last == 0 || len(w.plans[last]) > 1 || len(w.maps.open) > most.Files || w.r.Bytes() < most.Least {
		return 0, false
	}
	pieces = len(w.plans[last-1])
	for d := range last - 1 {
		if pieces *= count(w.plans[d]); pieces > most.Pieces {
			return 0, false
		}
	}
	if pieces > most.Pieces || w.r.Bytes()/uint64(pieces) < most.Bytes {
		return 0, false
	}
	n := w.plans[last][0].n * w.cs[last]
	return pieces, max(1, w.plans[last-1][0].step)*w.cs[last-1] <= rowApart*n
}

// find maps what is touched of each chunk, from the first byte lo to the last hi;
// false where that is not in one piece.
func (w *rowWalk) find(ctx context.Context, coords []uint64, lo, hi int) (bool, error) {
	d := len(coords)
	if d < len(w.plans) {
		for i := range w.plans[d] {
			p := &w.plans[d][i]
			whole, err := w.find(ctx, append(coords, p.chunk), lo+p.off*w.cs[d], hi+(p.off+(p.n-1)*p.step)*w.cs[d])
			if !whole || err != nil {
				return false, err
			}
		}
		return true, nil
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	r, key := w.r, chunkKey(coords)
	hi += r.node.Spec.DType.size
	l, err := w.maps.chunk(ctx, r.d.st, r.at, chunksOID(r.node.ID), key, uint64(r.node.Spec.chunkBytes()))
	if err != nil {
		return false, err
	}
	s, pos, err := w.maps.find(ctx, r.at, chunksOID(r.node.ID), key, l, uint64(lo), uint64(hi-lo))
	if s == nil || err != nil {
		return false, err
	}
	b := s.piece(pos, uint64(hi-lo))
	w.bytes = append(w.bytes, stretch{b, lo, s, pos})
	return b != nil, nil
}

// add puts the rows into out: chunk is the number of the chunk among those of the
// axes before d, off where its row begins.
func (w *rowWalk) add(out *object.Regions, d, chunk, off int) {
	plan := w.plans[d]
	for i := range plan {
		p := &plan[i]
		at := chunk*len(plan) + i
		if d == len(w.plans)-1 {
			s := &w.bytes[at]
			from := off + p.off*w.cs[d] - s.lo
			out.Add(s.b[from : from+p.n*w.cs[d]])
			continue
		}
		if w.together && d == len(w.plans)-2 && w.addRows(out, p, &w.bytes[at], off) {
			continue
		}
		for k := range p.n {
			w.add(out, d+1, at, off+(p.off+k*p.step)*w.cs[d])
		}
	}
}

// addRows puts the rows of a run of the last axis but one into out as rows of the
// file that s lies in; false where there is none.
func (w *rowWalk) addRows(out *object.Regions, p *run, s *stretch, off int) bool {
	f, ok := s.in.Mapping.(object.RegionMapping)
	if !ok {
		return false
	}
	last := len(w.plans) - 1
	row := &w.plans[last][0]
	from := off + p.off*w.cs[last-1] + row.off*w.cs[last] - s.lo
	return f.AddRowsTo(out, s.pos+uint64(from), row.n*w.cs[last], p.n, p.step*w.cs[last-1])
}
