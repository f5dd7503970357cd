package manifest

import (
	"context"
	"encoding/binary"
	"sort"
	"sync/atomic"

	"daos/dataset/tensor"
	"daos/internal/fault"
)

// ClassSizes are the samples of each class; classes are contiguous, in the
// order of their labels. nil where there are no classes, or a list has them in
// another order: see Info.Scattered.
func (m *Manifest) ClassSizes(ctx context.Context) ([]uint64, error) {
	n := uint64(len(m.info.Classes))
	if n == 0 {
		return nil, nil
	}
	if m.base != nil {
		return m.listSizes()
	}
	v, err := m.Acquire(ctx) // keeps the mapping
	if err != nil {
		return nil, err
	}
	defer v.Release()
	out := make([]uint64, n)
	err = guarded(m.logical.path, func() error {
		from := uint64(0)
		for c := range n {
			to, err := m.endOfClass(from, uint32(c))
			if err != nil {
				return err
			}
			out[c], from = to-from, to
		}
		if from != m.info.Samples {
			return damaged(m.logical.path, "labels of no class")
		}
		return nil
	})
	return out, err
}

// endOfClass is the first sample from one on whose label is above c: classes
// are short or long, so the step is doubled before it is halved.
func (m *Manifest) endOfClass(from uint64, c uint32) (uint64, error) {
	var failed error
	above := func(i uint64) bool {
		if i >= m.info.Samples {
			return true
		}
		s, err := m.sample(i)
		if err != nil {
			failed = err
		}
		return s.label > c
	}
	step := uint64(1)
	for !above(from+step-1) && failed == nil {
		from, step = from+step, 2*step
	}
	k := sort.Search(int(step-1), func(k int) bool { return above(from + uint64(k)) })
	return min(from+uint64(k), m.info.Samples), failed
}

// elementSums are, for each chunk of a column, the elements before it, and
// behind them those of all.
type elementSums struct{ sums atomic.Pointer[[]uint64] }

// of makes the sums at first use: few read elements by their number.
func (e *elementSums) of(c *Chunks) []uint64 {
	if s := e.sums.Load(); s != nil {
		return *s
	}
	sums := make([]uint64, c.n+1)
	size := uint64(c.col.ItemSize())
	for i := range c.n {
		ch := c.at(i)
		if c.col.Layout == tensor.Fixed {
			sums[i+1] = sums[i] + ch.count*elementsOf(c.col)
		} else {
			sums[i+1] = sums[i] + ch.bytes/size
		}
	}
	e.sums.Store(&sums)
	return sums
}

// elementsOf are the elements of a sample of a Fixed column.
func elementsOf(c *tensor.Column) uint64 {
	n := uint64(1)
	for _, d := range c.Shape {
		n *= d
	}
	return n
}

// Limits of one read of elements.
const (
	MaxRanges   = 1 << 16
	MaxElements = 1 << 22
	runSize     = 24 // of a run in the payload
)

// Ranges are what to read of a column: ranges of Count elements of all samples
// laid end to end, each followed by Extra elements (0 or 1), or the first ones
// of Samples.
type Ranges struct {
	Column  string
	Extra   uint64
	Count   uint64
	Starts  []uint64
	Samples []uint64 // instead of Starts
}

// Elements are what was read: for each range a number of runs, one a sample
// that it has something of. The payload has the runs, 24 bytes each (sample,
// first element, twice the sample's own elements and 1 if the extra one
// follows), and behind them the bytes of their own elements. Samples of one
// element, without an extra one, share a run.
type Elements struct {
	Runs    []uint32
	Total   uint64 // elements of all samples
	Payload []byte
}

// ReadElements reads ranges; limit bounds the payload.
func (m *Manifest) ReadElements(ctx context.Context, r *Ranges, limit uint64) (*Elements, error) {
	k := -1
	for i := range m.info.Columns {
		if m.info.Columns[i].Name == r.Column {
			k = i
		}
	}
	if k < 0 || !m.info.Tensor {
		return nil, fault.New(fault.NotFound, "loader.elements", m.info.Dataset, "no column %q in what is read", r.Column).
			Do("open the manifest of a tensor dataset with this column")
	}
	n := uint64(len(r.Starts) + len(r.Samples))
	switch {
	case r.Extra > 1 || len(r.Starts) > 0 && len(r.Samples) > 0:
		return nil, fault.New(fault.Invalid, "loader.elements", m.info.Dataset, "%d elements after each sample, %d starts and %d samples", r.Extra, len(r.Starts), len(r.Samples)).
			Do("use 0 or 1, and either starts or samples")
	case n > MaxRanges || r.Count > MaxElements || n*r.Count > MaxElements:
		return nil, fault.New(fault.TooBig, "loader.elements", m.info.Dataset, "%d ranges of %d elements, at most %d and %d together are allowed", n, r.Count, MaxRanges, MaxElements).
			Do("ask for fewer")
	}
	if m.base != nil {
		if !m.hold() {
			return nil, m.closed()
		}
		defer m.leave()
	}
	for {
		v, err := m.Acquire(ctx)
		if err != nil {
			return nil, err
		}
		e := elementReader{ctx: ctx, v: v, c: &v.columns[k], column: k, extra: r.Extra, limit: limit, samples: m.info.Samples}
		if m.base != nil {
			e.list, err = m.listed(ctx, v, k)
		} else {
			e.sums = v.laid[k].of(e.c)
		}
		if err == nil {
			err = v.Guard(func() error { return e.read(r) })
		}
		again := err != nil && m.Doubt(ctx, v, err)
		v.Release()
		if !again {
			if err != nil {
				return nil, err
			}
			return &Elements{e.runs, e.total(), append(e.table, e.out.b...)}, nil
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

// elementReader reads the ranges of one request.
type elementReader struct {
	ctx    context.Context // of the request
	v      *View
	c      *Chunks
	column int
	extra  uint64
	sums   []uint64
	limit  uint64

	samples uint64
	list    *listed // nil: samples go by the view's numbers

	runs  []uint32
	table []byte
	out   byteSink
	one   [1]uint64
	span  [1]Span
}

// byteSink keeps all bytes.
type byteSink struct{ b []byte }

func (s *byteSink) Bytes(b []byte) { s.b = append(s.b, b...) }
func (s *byteSink) Copy(b []byte)  { s.b = append(s.b, b...) }
func (s *byteSink) Zeros(n uint64) { s.b = append(s.b, make([]byte, n)...) }

// before are the elements before a chunk; those of all before the one behind
// the last.
func (e *elementReader) before(chunk int) uint64 {
	if chunk == e.c.n {
		return e.sums[chunk] + e.v.m.info.Samples*e.extra
	}
	return e.sums[chunk] + e.c.at(chunk).first*e.extra
}

// total are the elements of all samples.
func (e *elementReader) total() uint64 {
	if e.list != nil {
		return e.list.before(e.samples, e.extra)
	}
	return e.before(e.c.n)
}

func (e *elementReader) read(r *Ranges) error {
	total := e.total()
	for _, t := range r.Starts {
		if t >= total {
			return fault.New(fault.Invalid, "loader.elements", e.v.columnName(e.column), "element %d of %d", t, total)
		}
		if err := e.walk(t, min(r.Count, total-t)); err != nil {
			return e.v.about(e.v.columnName(e.column), err)
		}
	}
	for _, s := range r.Samples {
		if s >= e.samples {
			return outOfRange(s, e.samples, e.v.columnName(e.column))
		}
		before := len(e.table)
		if _, err := e.row(s, 0, r.Count); err != nil {
			return e.v.about(e.v.columnName(e.column), err)
		}
		e.runs = append(e.runs, uint32((len(e.table)-before)/runSize))
	}
	return nil
}

// find is the sample that holds element t of all, and which of the sample's it
// is.
func (e *elementReader) find(t uint64) (sample, number uint64, err error) {
	if e.list != nil {
		sample, number = e.list.find(t, e.extra)
		return sample, number, nil
	}
	chunk := sort.Search(e.c.n, func(k int) bool { return e.before(k+1) > t })
	if chunk == e.c.n || e.before(chunk) > t {
		return 0, 0, damaged(e.v.f.path, "a chunk table of sizes that are not valid")
	}
	ch := e.c.at(chunk)
	row, start, err := e.findRow(chunk, ch, t-e.before(chunk))
	return ch.first + row, t - e.before(chunk) - start, err
}

// findRow finds the row of a chunk that holds its element t, and the row's
// first element.
func (e *elementReader) findRow(chunk int, ch chunk, t uint64) (row, start uint64, err error) {
	if e.c.col.Layout == tensor.Fixed {
		n := elementsOf(e.c.col) + e.extra
		return t / n, t - t%n, nil
	}
	a := e.c.array(chunk, 1)
	size := uint64(e.c.col.ItemSize())
	var failed error
	end := func(k uint64) uint64 { // with the elements behind each row
		var b fixedSink
		if err := e.v.array(a.first, a.count, 8*k, 8, &b); err != nil {
			failed = err
		}
		return binary.LittleEndian.Uint64(b.b[:])/size + (k+1)*e.extra
	}
	row = uint64(sort.Search(int(ch.count), func(k int) bool { return end(uint64(k)) > t }))
	if row < ch.count && row > 0 {
		start = end(row - 1)
	}
	if failed == nil && (row == ch.count || start > t) {
		failed = damaged(e.v.f.path, "offsets of rows that are not valid")
	}
	return row, start, failed
}

// walk reads want elements from element t of all on.
func (e *elementReader) walk(t, want uint64) error {
	sample, number, err := e.find(t)
	if err != nil {
		return err
	}
	if e.list == nil && e.c.col.Layout == tensor.Fixed && elementsOf(e.c.col) == 1 && e.extra == 0 {
		return e.straight(sample, want)
	}
	runs := uint32(0)
	for want > 0 {
		if err := e.ctx.Err(); err != nil {
			return err
		}
		if sample >= e.samples {
			return damaged(e.v.f.path, "offsets of rows that are not valid")
		}
		n, err := e.row(sample, number, want)
		if err != nil {
			return err
		}
		if want, t = want-n, t+n; n > 0 {
			runs, sample, number = runs+1, sample+1, 0
		} else if sample, number, err = e.find(t); err != nil { // past samples that have none, however many
			return err
		}
	}
	e.runs = append(e.runs, runs)
	return nil
}

// row reads up to want elements of a sample, from its element number on, and
// says how many there were, the extra one included.
func (e *elementReader) row(sample, number, want uint64) (uint64, error) {
	size := uint64(e.c.col.ItemSize())
	if e.c.col.Layout == tensor.Fixed {
		size /= elementsOf(e.c.col)
	}
	e.one[0] = sample
	if e.list != nil {
		var err error
		if e.one[0], err = e.list.number(sample); err != nil {
			return 0, err
		}
	}
	if err := e.v.Spans(e.column, e.one[:], e.span[:]); err != nil {
		return 0, err
	}
	s := &e.span[0]
	own := s.Len() / size
	if number > own+e.extra {
		return 0, damaged(e.v.f.path, "offsets of rows that are not valid")
	}
	n, separator := min(own-min(number, own), want), uint64(0)
	if e.extra == 1 && n < want {
		separator = 1
	}
	if n+separator == 0 {
		return 0, nil
	}
	if uint64(len(e.table)+len(e.out.b))+n*size > e.limit {
		return 0, e.tooBig()
	}
	for _, w := range [...]uint64{sample, number, 2*n + separator} {
		e.table = binary.LittleEndian.AppendUint64(e.table, w)
	}
	if n > 0 {
		s.from += number * size
		s.to = s.from + n*size
		if err := e.v.Values(e.column, e.span[:], &e.out); err != nil {
			return 0, err
		}
	}
	return n + separator, nil
}

// straight reads samples of one element each: what they have of a chunk is one
// run, that of the first of them.
func (e *elementReader) straight(sample, want uint64) error {
	runs, size := uint32(0), uint64(e.c.col.ItemSize())
	for want > 0 {
		chunk := e.c.find(sample, e.v.m.info.Samples)
		ch := e.c.at(chunk)
		n := min(want, ch.first+ch.count-sample)
		if uint64(len(e.table)+len(e.out.b))+n*size > e.limit {
			return e.tooBig()
		}
		for _, w := range [...]uint64{sample, 0, 2 * n} {
			e.table = binary.LittleEndian.AppendUint64(e.table, w)
		}
		row := sample - ch.first
		e.span[0] = Span{chunk: chunk, from: row * size, to: (row + n) * size, row: row}
		if err := e.v.Values(e.column, e.span[:], &e.out); err != nil {
			return err
		}
		runs, sample, want = runs+1, sample+n, want-n
	}
	e.runs = append(e.runs, runs)
	return nil
}

func (e *elementReader) tooBig() error {
	return fault.New(fault.TooBig, "loader.elements", e.v.columnName(e.column), "the answer has more than %d bytes", e.limit).Do("ask for fewer ranges")
}
