package array

import (
	"context"
	"unsafe"

	"daos/engine/object"
	"daos/internal/fault"
)

const (
	// pieceBytes is about how much one piece of a streamed read has.
	pieceBytes = 8 << 20
	// scratchMax bounds what is read of a chunk at once where it can't be read
	// straight into place.
	scratchMax = 4 << 20
	// denseSpan: a stretch of a chunk up to this is read whole, whatever part of
	// it is asked for; a longer one where that part is at least an eighth.
	denseSpan = 256 << 10
	// longRow: rows this long are read straight into place, each by itself.
	longRow = 256 << 10
)

// Reader reads one selection of one array at one epoch.
type Reader struct {
	d     *Dataset
	at    object.Epoch
	node  *Node
	axes  []Axis
	shape []uint64
}

// Select opens a selection for reading at an epoch (0: the newest); no axes: the
// whole array. fault.Invalid if it does not lie within the shape.
func (d *Dataset) Select(ctx context.Context, at object.Epoch, path string, axes []Axis) (*Reader, error) {
	at, err := d.at(ctx, at)
	if err != nil {
		return nil, err
	}
	n, err := d.selected(ctx, at, path)
	if err != nil {
		return nil, err
	}
	if axes, err = checkAxes(d.where(path), axes, n.Spec.Shape); err != nil {
		return nil, err
	}
	return &Reader{d: d, at: at, node: n, axes: axes, shape: lengths(axes)}, nil
}

// Epoch is the epoch that is read.
func (r *Reader) Epoch() object.Epoch { return r.at }

// ID is the array's number.
func (r *Reader) ID() uint64 { return r.node.ID }

// Spec describes the array at that epoch.
func (r *Reader) Spec() *Spec { return r.node.Spec }

// Shape is the number of positions selected along each axis.
func (r *Reader) Shape() []uint64 { return r.shape }

// Bytes is the size of the selection, saturated.
func (r *Reader) Bytes() uint64 {
	n := uint64(r.node.Spec.DType.size)
	for _, l := range r.shape {
		if l == 0 {
			return 0
		}
		if n > 1<<62/l {
			return 1 << 62
		}
		n *= l
	}
	return n
}

// ReadInto fills p, of Bytes() bytes, with the elements in C order. fault.TooBig
// if the selection touches very many chunks.
func (r *Reader) ReadInto(ctx context.Context, p []byte) error {
	if n := touchedChunks(r.axes, r.node.Spec.Chunks); n > 16*maxChunksTouched {
		return fault.New(fault.TooBig, "array.read", r.d.where(r.node.Path), "the selection touches about %d chunks", n).Do("read in pieces, or as a stream")
	}
	return r.read(ctx, r.axes, p)
}

// Pieces calls fn with the elements in C order, piece by piece. A piece is valid
// during the call only.
func (r *Reader) Pieces(ctx context.Context, fn func([]byte) error) error {
	var buf []byte
	return split(r.axes, r.node.Spec.Chunks, r.node.Spec.DType.size, pieceBytes, func(axes []Axis) error {
		n := r.node.Spec.DType.size
		for d := range axes {
			n *= int(axes[d].Len())
		}
		if cap(buf) < n {
			buf = make([]byte, n)
		}
		if err := r.read(ctx, axes, buf[:n]); err != nil {
			return err
		}
		return fn(buf[:n])
	})
}

func (r *Reader) read(ctx context.Context, axes []Axis, p []byte) error {
	s := r.node.Spec
	g := reading{
		ctx: ctx, d: r.d, at: r.at, oid: chunksOID(r.node.ID), spec: s, dst: p,
		cs: axisStrides(s.Chunks, s.DType.size), ds: axisStrides(lengths(axes), s.DType.size),
	}
	indexed := r.d.kept && r.d.maps != nil
	if indexed || r.Bytes() >= mappedFrom/16 {
		g.maps = r.d.newMapper()
		defer g.maps.close(r.d)
	}
	g.indexed = indexed && g.maps != nil
	return fault.Wrap(boxes(axes, s.Chunks, g.box), "array.read", r.d.where(r.node.Path))
}

// axisStrides is strides, with one axis of length 1 for a scalar.
func axisStrides(shape []uint64, size int) []int {
	if len(shape) == 0 {
		return []int{size}
	}
	return strides(shape, size)
}

// reading is a read under way: from chunks into dst.
type reading struct {
	ctx     context.Context
	d       *Dataset
	at      object.Epoch
	oid     object.ID
	spec    *Spec
	dst     []byte
	cs, ds  []int // strides in a chunk and in dst
	scratch []byte

	key    []byte // of the chunk being read
	sparse bool
	maps   *mapper // nil: the store has no mappings
	// indexed: where chunks lie is remembered.
	indexed bool
}

// box reads what is selected of one chunk.
func (g *reading) box(b *box) error {
	if err := g.ctx.Err(); err != nil {
		return err
	}
	g.key, g.sparse = chunkKey(b.coords), false
	if g.indexed {
		l, err := g.maps.chunk(g.ctx, g.d.st, g.at, g.oid, g.key, uint64(g.spec.chunkBytes()))
		if err != nil {
			return err
		}
		if done, err := g.take(l, b.runs); done || err != nil {
			return err
		}
	}
	if g.spec.Fill != nil {
		c, found, err := g.d.chunkRecord(g.ctx, g.at, g.oid, g.key, g.spec.DType.size)
		if err != nil {
			return err
		}
		if !found {
			size := g.spec.DType.size
			rows(b.runs, g.cs, g.ds, func(_, doff int, r *run) {
				fillPattern(g.dst[doff:doff+r.n*size], g.spec.Fill)
			})
			return nil
		}
		g.sparse = c.sparse
	}
	return g.span(b.runs)
}

// chunkRecord reads the record of a chunk of elements of so many bytes, if it was
// ever written.
func (d *Dataset) chunkRecord(ctx context.Context, at object.Epoch, oid object.ID, key []byte, size int) (c chunk, found bool, err error) {
	b, _, err := d.st.Get(ctx, at, oid, key, akeyRecord)
	if fault.Is(err, fault.NotFound) {
		return chunk{}, false, nil
	}
	if err != nil {
		return chunk{}, false, err
	}
	c, err = decodeChunk(b, size)
	return c, true, err
}

// window is the bytes [lo, hi) of a chunk that runs touch, and those of the
// selection that they fill, [dlo, dhi); straight says that these are the same bytes.
func (g *reading) window(runs [][]run) (lo, hi, dlo, dhi, need int, straight bool) {
	size := g.spec.DType.size
	hi, dhi, need = size, size, size
	straight = true // single steps along each axis
	for d, rs := range runs {
		a, b, da, db := extremes(rs)
		lo, hi = lo+a*g.cs[d], hi+b*g.cs[d]
		dlo, dhi = dlo+da*g.ds[d], dhi+db*g.ds[d]
		need *= count(rs)
		straight = straight && (len(rs) == 1 && (rs[0].step == 1 || rs[0].n == 1))
	}
	return lo, hi, dlo, dhi, need, straight && hi-lo == need && dhi-dlo == need
}

// copyRuns fills the selection from the bytes b of a chunk, of which the first is
// number lo of the chunk.
func (g *reading) copyRuns(runs [][]run, b []byte, lo int, straight bool, dlo, dhi int) {
	if straight {
		copy(g.dst[dlo:dhi], b)
		return
	}
	size := g.spec.DType.size
	// Of axes at the end with one position there is nothing to walk over.
	last := len(runs) - 1
	for ; last > 0 && g.ds[last-1] == size; last-- {
		lo -= runs[last][0].off * g.cs[last]
	}
	stride := g.cs[last]
	rows(runs[:last+1], g.cs, g.ds, func(coff, doff int, r *run) { gather(g.dst[doff:], b[coff-lo:], r.n, r.step*stride, size) })
}

// take reads runs of one chunk out of mapped segments, cut in two where they lie
// in more than one piece; false if not all of them can be had so.
func (g *reading) take(l *laid, runs [][]run) (bool, error) {
	if len(l.parts) == 0 {
		return false, nil
	}
	lo, hi, dlo, dhi, _, straight := g.window(runs)
	b, err := g.maps.bytes(g.ctx, g.at, g.oid, g.key, l, uint64(lo), uint64(hi-lo))
	if err != nil {
		return false, err
	}
	if b != nil {
		return true, safely(g.oid.String(), func() { g.copyRuns(runs, b, lo, straight, dlo, dhi) })
	}
	if hi-lo <= smallStretch {
		return false, nil
	}
	for d, rs := range runs {
		first, second, ok := halve(rs)
		if !ok {
			continue
		}
		half := append([][]run(nil), runs...)
		half[d] = first
		if done, err := g.take(l, half); !done || err != nil {
			return false, err
		}
		half[d] = second
		return g.take(l, half)
	}
	return false, nil
}

// span reads runs of one chunk: in one piece where they lie close together, else
// cut in two along the first axis that can be cut.
func (g *reading) span(runs [][]run) error {
	size := g.spec.DType.size
	lo, hi, dlo, dhi, need, straight := g.window(runs)
	if g.maps != nil && !g.sparse && hi-lo >= mappedFrom {
		b, err := g.maps.stretch(g.ctx, g.at, g.d.st, g.oid, g.key, uint64(lo), uint64(hi-lo))
		if err != nil {
			return err
		}
		if b != nil {
			return safely(g.oid.String(), func() { g.copyRuns(runs, b, lo, straight, dlo, dhi) })
		}
	}
	if straight {
		return g.readChunk(lo, g.dst[dlo:dhi])
	}
	whole := hi-lo <= denseSpan || hi-lo <= scratchMax && hi-lo <= 8*need
	if whole && hi-lo > denseSpan {
		last := runs[len(runs)-1]
		whole = len(last) > 1 || last[0].step > 1 && last[0].n > 1 || last[0].n*size < longRow
	}
	if whole {
		if cap(g.scratch) < hi-lo {
			g.scratch = make([]byte, max(hi-lo, 64<<10))
		}
		p := g.scratch[:hi-lo]
		if err := g.readChunk(lo, p); err != nil {
			return err
		}
		g.copyRuns(runs, p, lo, false, dlo, dhi)
		return nil
	}
	for d, rs := range runs {
		first, second, ok := halve(rs)
		if !ok {
			continue
		}
		part := append([][]run(nil), runs...)
		part[d] = first
		if err := g.span(part); err != nil {
			return err
		}
		part[d] = second
		return g.span(part)
	}
	return g.readChunk(lo, g.dst[dlo:dhi]) // one element
}

// halve cuts runs in two.
func halve(rs []run) (first, second []run, ok bool) {
	if n := len(rs); n > 1 {
		return rs[:n/2], rs[n/2:], true
	}
	r := rs[0]
	if r.n < 2 {
		return nil, nil, false
	}
	a, b := r, r
	a.n = r.n / 2
	b.n -= a.n
	b.off += a.n * r.step
	b.dst += a.n
	return []run{a}, []run{b}, true
}

// readChunk fills p with the bytes of the chunk from lo on.
func (g *reading) readChunk(lo int, p []byte) error {
	return g.d.readChunk(g.ctx, g.at, g.oid, g.key, g.spec, g.sparse, lo, p)
}

func (d *Dataset) readChunk(ctx context.Context, at object.Epoch, oid object.ID, key []byte, s *Spec, sparse bool, lo int, p []byte) error {
	if !sparse {
		return d.st.ReadArray(ctx, at, oid, key, akeyData, uint64(lo), p)
	}
	fillPattern(p, s.Fill)
	xs, err := d.st.Extents(ctx, at, oid, key, akeyData, uint64(lo), uint64(len(p)))
	if err != nil {
		return err
	}
	for _, x := range xs {
		from := x.Offset - uint64(lo)
		if err := d.st.ReadArray(ctx, at, oid, key, akeyData, x.Offset, p[from:from+x.Length]); err != nil {
			return err
		}
	}
	return nil
}

// rows calls fn for each run of the last axis, at every position of the others:
// coff is the byte of its first element in the chunk, doff in the selection.
func rows(runs [][]run, cs, ds []int, fn func(coff, doff int, r *run)) {
	last := len(runs) - 1
	var walk func(d, coff, doff int)
	walk = func(d, coff, doff int) {
		for i := range runs[d] {
			r := &runs[d][i]
			c, o := coff+r.off*cs[d], doff+r.dst*ds[d]
			if d == last {
				fn(c, o, r)
				continue
			}
			for k := 0; k < r.n; k++ {
				walk(d+1, c, o)
				c += r.step * cs[d]
				o += ds[d]
			}
		}
	}
	walk(0, 0, 0)
}

// gather copies n elements, which lie step bytes apart in src, side by side to dst.
func gather(dst, src []byte, n, step, size int) {
	if step == size {
		copy(dst[:n*size], src)
		return
	}
	if step%size == 0 {
		switch size {
		case 1:
			pick[uint8](dst, src, n, step)
			return
		case 2:
			pick[uint16](dst, src, n, step/2)
			return
		case 4:
			pick[uint32](dst, src, n, step/4)
			return
		case 8:
			pick[uint64](dst, src, n, step/8)
			return
		}
	}
	for k, j := 0, 0; k < n; k, j = k+1, j+step {
		copy(dst[k*size:(k+1)*size], src[j:j+size])
	}
}

// pick is gather for elements of a machine word, step of them apart; both sides
// lie at multiples of it.
func pick[T uint8 | uint16 | uint32 | uint64](dst, src []byte, n, step int) {
	var zero T
	size := int(unsafe.Sizeof(zero))
	span := (n-1)*step + 1
	_, _ = dst[n*size-1], src[span*size-1]
	out := unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(dst))), n)
	in := unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(src))), span)
	j := 0
	for k := range out {
		out[k] = in[j]
		j += step
	}
}

// scatter is the inverse of gather.
func scatter(dst, src []byte, r *run, size int) {
	if r.step == 1 {
		copy(dst, src[:r.n*size])
		return
	}
	step := r.step * size
	for k, j := 0, 0; k < r.n; k, j = k+1, j+step {
		copy(dst[j:j+size], src[k*size:(k+1)*size])
	}
}
