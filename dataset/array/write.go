package array

import (
	"context"
	"math/bits"
	"slices"
	"strconv"

	"daos/engine/object"
	"daos/internal/fault"
)

const (
	// MaxWrite is the most bytes of one Write or Append, which is one transaction.
	MaxWrite = 64 << 20
	// A part of a chunk is written as up to fewExtents extents, or as up to
	// manyExtents of at least longExtent bytes on average; a part that is more
	// scattered is written together with what lies between, which is read.
	fewExtents  = 64
	manyExtents = 4096
	longExtent  = 16 << 10
)

// WriteOptions are the terms of a Write.
type WriteOptions struct {
	Request object.RequestID
	// Broadcast: the data is one element, which is written everywhere.
	Broadcast bool
}

// Write puts elements, in C order, into a selection (no axes: the whole array),
// in one transaction. Lists must have no repeats. fault.TooBig: more than MaxWrite
// bytes, or too many chunks for one transaction.
func (d *Dataset) Write(ctx context.Context, path string, axes []Axis, data []byte, o WriteOptions) (Done, error) {
	for _, a := range axes {
		if err := unique(d.where(path), a.Indices); err != nil {
			return Done{}, err
		}
	}
	k := newCall(opWrite, o.Request, []byte(path), encodeAxes(axes), data, []byte(strconv.FormatBool(o.Broadcast)))
	done, _, err := d.once(ctx, k, 0, func(done *Done) error {
		c, err := d.change(ctx, o.Request, k.answer())
		if err != nil {
			return err
		}
		n, err := d.array(ctx, c.tx.ReadAt, path)
		if err != nil {
			return err
		}
		s := n.Spec
		axes, err := checkAxes(d.where(path), axes, s.Shape)
		if err != nil {
			return err
		}
		size, err := d.checkData(path, s, lengths(axes), data, o.Broadcast)
		if err != nil {
			return err
		}
		if size == 0 {
			done.Epoch = c.tx.ReadAt
			return nil
		}
		if o.Broadcast && len(data) < size {
			one := data
			data = make([]byte, size)
			fillPattern(data, one)
			o.Broadcast = false // for the next try
		}
		c.reads(catalogOID, nodeKey(path), akeyShape)
		if err := d.put(ctx, c, n, s.Shape, axes, data); err != nil {
			return err
		}
		done.Epoch, err = d.commit(ctx, "array.write", path, c)
		return err
	})
	return done, err
}

// unique refuses lists with repeats: which of two elements wins would be chance.
func unique(where string, list []uint64) error {
	if len(list) < 2 {
		return nil
	}
	if len(list) > maxIndices {
		return fault.New(fault.TooBig, "array.select", where, "%d positions in a list, at most %d are allowed", len(list), maxIndices).Do("select in pieces")
	}
	sorted := slices.Clone(list)
	slices.Sort(sorted)
	for i := 1; i < len(sorted); i++ {
		if sorted[i] == sorted[i-1] {
			return fault.New(fault.Invalid, "array.write", where, "position %d is named twice", sorted[i]).Do("write each position once")
		}
	}
	return nil
}

// checkData compares the size of data with what a selection of lengths needs.
func (d *Dataset) checkData(path string, s *Spec, lengths []uint64, data []byte, broadcast bool) (int, error) {
	n := uint64(s.DType.size)
	for _, l := range lengths {
		if l == 0 {
			return 0, nil
		}
		hi, lo := bits.Mul64(n, l)
		if n = lo; hi != 0 || n > MaxWrite {
			return 0, fault.New(fault.TooBig, "array.write", d.where(path), "a selection of %v elements of %s has more than %d bytes", lengths, s.DType, MaxWrite).
				Do("write it in pieces")
		}
	}
	want := n
	if broadcast {
		want = uint64(s.DType.size)
	}
	if uint64(len(data)) != want {
		return 0, fault.New(fault.Invalid, "array.write", d.where(path), "%d bytes for a selection of %v elements of %s, it takes %d", len(data), lengths, s.DType, want)
	}
	if s.DType.Bool() {
		for i, v := range data {
			if v > 1 {
				return 0, fault.New(fault.Invalid, "array.write", d.where(path), "a bool is %d, at element %d", v, i)
			}
		}
	}
	return int(n), nil
}

// writing is the elements of one call on their way into a transaction.
type writing struct {
	ctx    context.Context
	d      *Dataset
	c      *change
	spec   *Spec
	oid    object.ID
	shape  []uint64 // after the call
	before []uint64 // the shape before it: shorter along one axis for an append
	stale  bool     // chunks that were cut off are not all cleared
	data   []byte
	cs, ds []int
}

// put adds the writes of a selection to a transaction; shape is that of the
// array after it.
func (d *Dataset) put(ctx context.Context, c *change, n *Node, shape []uint64, axes []Axis, data []byte) error {
	s := n.Spec
	if t := touchedChunks(axes, s.Chunks); t > maxChunksTouched/2 {
		return fault.New(fault.TooBig, "array.write", d.where(n.Path), "the selection touches about %d chunks, at most %d are allowed", t, maxChunksTouched/2).
			Do("write it in pieces")
	}
	w := &writing{
		ctx: ctx, d: d, c: c, spec: s, oid: chunksOID(n.ID), shape: shape, before: s.Shape, stale: n.extent.stale != nil, data: data,
		cs: axisStrides(s.Chunks, s.DType.size), ds: axisStrides(lengths(axes), s.DType.size),
	}
	return fault.Wrap(boxes(axes, s.Chunks, w.box), "array.write", d.where(n.Path))
}

// inside is the part of a chunk that lies inside a shape.
func inside(coords, chunks, shape []uint64) []uint64 {
	in := make([]uint64, len(coords))
	for d, c := range coords {
		if at := c * chunks[d]; at < shape[d] {
			in[d] = min(chunks[d], shape[d]-at)
		}
	}
	return in
}

// box writes what is selected of one chunk.
func (w *writing) box(b *box) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if len(w.c.tx.Writes) > object.MaxOps-2*manyExtents {
		return fault.New(fault.TooBig, "array.write", w.oid.String(), "the selection takes too many writes for one transaction").Do("write it in pieces")
	}
	in := inside(b.coords, w.spec.Chunks, w.shape)
	whole := true
	for d := range in {
		whole = whole && uint64(count(b.runs[d])) == in[d]
	}
	key := chunkKey(b.coords)
	if whole {
		c := chunk{stats: w.summary(b.runs)}
		end := w.wholeChunk(key, b.runs)
		c.sparse = w.spec.Fill != nil && end < w.spec.chunkBytes()
		w.c.put(w.oid, key, akeyRecord, c.encode())
		return nil
	}
	old, found, err := w.d.chunkRecord(w.ctx, w.c.tx.ReadAt, w.oid, key, w.spec.DType.size)
	if err != nil {
		return err
	}
	w.c.reads(w.oid, key, akeyRecord)
	c := chunk{stats: w.merged(&old, found, b, in)}
	if c.sparse, err = w.part(key, b.runs, &old, found); err != nil {
		return err
	}
	w.c.put(w.oid, key, akeyRecord, c.encode())
	return nil
}

// merged is the statistics of a chunk after a part of it is written.
func (w *writing) merged(old *chunk, found bool, b *box, in []uint64) stats {
	s := w.summary(b.runs)
	t, fill := w.spec.DType, w.spec.Fill
	if !found {
		s.addFill(t, fill, product(in)-s.count)
		return s
	}
	have := product(inside(b.coords, w.spec.Chunks, w.before))
	all := old.stats
	all.settle(w.spec, have, w.stale)
	if product(in) == have+s.count && have != product(in) { // an append: no element is written anew
		all.join(t, &s)
		return all
	}
	all.exact = false
	all.nans = min(all.nans+s.nans, all.count)
	all.bound(t, s.min, s.max)
	return all
}

// summary is the statistics of the elements selected of one chunk.
func (w *writing) summary(runs [][]run) stats {
	s := stats{exact: true}
	size := w.spec.DType.size
	if _, _, dlo, dhi, straight := w.bounds(runs); straight {
		s.add(w.spec.DType, w.data[dlo:dhi])
		return s
	}
	const few = 64 << 10
	var held []byte
	rows(runs, w.cs, w.ds, func(_, doff int, r *run) {
		v := w.data[doff : doff+r.n*size]
		if len(v) >= few/4 {
			s.add(w.spec.DType, v)
			return
		}
		if held == nil {
			held = make([]byte, 0, few)
		}
		if len(held)+len(v) > few {
			s.add(w.spec.DType, held)
			held = held[:0]
		}
		held = append(held, v...)
	})
	s.add(w.spec.DType, held)
	return s
}

// bounds are the bytes of the chunk and of the data that runs lie in; straight:
// those of the data are these runs and nothing else, in the order of the chunk.
func (w *writing) bounds(runs [][]run) (lo, hi, dlo, dhi int, straight bool) {
	size := w.spec.DType.size
	need := size
	hi, dhi, straight = size, size, true
	for d, rs := range runs {
		a, b, da, db := extremes(rs)
		lo, hi = lo+a*w.cs[d], hi+b*w.cs[d]
		dlo, dhi = dlo+da*w.ds[d], dhi+db*w.ds[d]
		need *= count(rs)
		straight = straight && len(rs) == 1
	}
	return lo, hi, dlo, dhi, straight && dhi-dlo == need
}

// wholeChunk writes a chunk all of whose elements inside the shape are there: as
// they lie where they lie as in the chunk, else put together. It returns where
// the bytes that were written end.
func (w *writing) wholeChunk(key []byte, runs [][]run) int {
	lo, hi, dlo, dhi, straight := w.bounds(runs)
	data := w.data[dlo:dhi]
	if !straight || hi-lo != dhi-dlo {
		size := w.spec.DType.size
		data = make([]byte, hi)
		fillPattern(data, w.spec.Fill)
		rows(runs, w.cs, w.ds, func(coff, doff int, r *run) { scatter(data[coff:], w.data[doff:], r, size) })
	}
	w.extent(key, 0, data)
	return hi
}

func (w *writing) extent(key []byte, off int, data []byte) {
	w.c.tx.Writes = append(w.c.tx.Writes, object.Write{Op: object.OpWrite, OID: w.oid, Dkey: key, Akey: akeyData, Offset: uint64(off), Data: data})
}

// part writes some elements of a chunk, and says whether bytes of it are still
// holes that stand for a fill value that is not zeros.
func (w *writing) part(key []byte, runs [][]run, old *chunk, found bool) (sparse bool, err error) {
	sparse = w.spec.Fill != nil && (!found || old.sparse)
	last := len(runs) - 1
	// Axes behind j are written whole, so that a step along j is one stretch of bytes.
	j := last
	for j > 0 && len(runs[j]) == 1 && runs[j][0].n == int(w.spec.Chunks[j]) && runs[j][0].step == 1 {
		j--
	}
	extents, need := 0, w.spec.DType.size
	for i := range runs[j] {
		if r := &runs[j][i]; r.step == 1 {
			extents++
		} else {
			extents += r.n
		}
	}
	for d := range runs {
		if d < j {
			extents *= count(runs[d])
		}
		need *= count(runs[d])
	}
	if extents <= fewExtents || extents <= manyExtents && need/extents >= longExtent {
		rows(runs[:j+1], w.cs, w.ds, func(coff, doff int, r *run) {
			step := 1
			if r.step == 1 {
				step = r.n
			}
			for k := 0; k < r.n; k += step {
				w.extent(key, coff+k*r.step*w.cs[j], w.stretch(runs, j, doff+k*w.ds[j], step))
			}
		})
		return sparse, nil
	}
	lo, hi, _, _, _ := w.bounds(runs)
	buf := make([]byte, hi-lo)
	if !found {
		fillPattern(buf, w.spec.Fill)
	} else if err := w.d.readChunk(w.ctx, w.c.tx.ReadAt, w.oid, key, w.spec, old.sparse, lo, buf); err != nil {
		return false, err
	}
	size := w.spec.DType.size
	rows(runs, w.cs, w.ds, func(coff, doff int, r *run) { scatter(buf[coff-lo:], w.data[doff:], r, size) })
	w.extent(key, lo, buf)
	return sparse && len(buf) < w.spec.chunkBytes(), nil
}

// stretch is n neighbours along axis j with all that lies behind them, as one
// stretch of bytes: a part of the data where they lie side by side there too.
func (w *writing) stretch(runs [][]run, j, doff, n int) []byte {
	if w.ds[j] == w.cs[j] {
		return w.data[doff : doff+n*w.cs[j]]
	}
	size := w.spec.DType.size
	buf := make([]byte, n*w.cs[j])
	for k := 0; k < n; k++ {
		rows(runs[j+1:], w.cs[j+1:], w.ds[j+1:], func(coff, off int, r *run) {
			scatter(buf[k*w.cs[j]+coff:], w.data[doff+k*w.ds[j]+off:], r, size)
		})
	}
	return buf
}
