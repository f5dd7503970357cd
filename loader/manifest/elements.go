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
// order of their labels.
func (m *Manifest) ClassSizes(ctx context.Context) ([]uint64, error) {
	n := uint64(len(m.info.Classes))
	if n == 0 {
		return nil, nil
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

// Elements says in which samples elements of a column lie, by their number when
// all samples are laid end to end, each followed by extra elements: for each
// the sample, and the number of the sample's first element. total is the
// elements of all samples.
func (m *Manifest) Elements(ctx context.Context, column string, extra uint64, elements []uint64) (samples, starts []uint64, total uint64, err error) {
	k := -1
	for i := range m.info.Columns {
		if m.info.Columns[i].Name == column {
			k = i
		}
	}
	if k < 0 || !m.info.Tensor {
		return nil, nil, 0, fault.New(fault.NotFound, "loader.elements", m.info.Dataset, "no column %q in what is read", column).
			Do("open the manifest of a tensor dataset with this column")
	}
	if extra > 1 {
		return nil, nil, 0, fault.New(fault.Invalid, "loader.elements", m.info.Dataset, "%d elements after each sample, 0 or 1 can be", extra)
	}
	for {
		v, err := m.Acquire(ctx)
		if err != nil {
			return nil, nil, 0, err
		}
		samples, starts = make([]uint64, len(elements)), make([]uint64, len(elements))
		err = v.Guard(func() (err error) {
			total, err = v.elements(k, extra, elements, samples, starts)
			return err
		})
		again := err != nil && m.Doubt(ctx, v, err)
		v.Release()
		if !again || ctx.Err() != nil {
			return samples, starts, total, err
		}
	}
}

func (v *View) elements(column int, extra uint64, elements, samples, starts []uint64) (total uint64, err error) {
	c := &v.columns[column]
	sums := v.laid[column].of(c)
	before := func(chunk int) uint64 { // chunk = c.n: all
		if chunk == c.n {
			return sums[chunk] + v.m.info.Samples*extra
		}
		return sums[chunk] + c.at(chunk).first*extra
	}
	total = before(c.n)
	for i, t := range elements {
		if t >= total {
			return 0, fault.New(fault.Invalid, "loader.elements", v.columnName(column), "element %d of %d", t, total)
		}
		chunk := sort.Search(c.n, func(k int) bool { return before(k+1) > t })
		if chunk == c.n || before(chunk) > t {
			return 0, damaged(v.f.path, "a chunk table of sizes that are not valid")
		}
		ch := c.at(chunk)
		row, start, err := v.findRow(c, chunk, ch, extra, t-before(chunk))
		if err != nil {
			return 0, v.about(v.columnName(column), err)
		}
		samples[i], starts[i] = ch.first+row, before(chunk)+start
	}
	return total, nil
}

// findRow finds the row of a chunk that holds its element t, and the row's
// first element.
func (v *View) findRow(c *Chunks, chunk int, ch chunk, extra, t uint64) (row, start uint64, err error) {
	if c.col.Layout == tensor.Fixed {
		n := elementsOf(c.col) + extra
		return t / n, t - t%n, nil
	}
	a := c.array(chunk, 1)
	size := uint64(c.col.ItemSize())
	var failed error
	end := func(k uint64) uint64 { // with the elements behind each row
		var b fixedSink
		if err := v.array(a.first, a.count, 8*k, 8, &b); err != nil {
			failed = err
		}
		return binary.LittleEndian.Uint64(b.b[:])/size + (k+1)*extra
	}
	row = uint64(sort.Search(int(ch.count), func(k int) bool { return end(uint64(k)) > t }))
	if row < ch.count && row > 0 {
		start = end(row - 1)
	}
	if failed == nil && (row == ch.count || start > t) {
		failed = damaged(v.f.path, "offsets of rows that are not valid")
	}
	return row, start, failed
}
