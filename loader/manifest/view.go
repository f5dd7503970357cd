package manifest

import (
	"encoding/binary"
	"errors"

	"daos/dataset/tensor"
	"daos/internal/fault"
)

// All methods of View that read may touch mapped pages that can't be read: the
// caller runs them through Guard.

// Guard runs fn over the mapped files of v, so that a page that can't be read
// is fault.DataLoss and not the end of the process.
func (v *View) Guard(fn func() error) error {
	return guarded(v.m.info.Dataset+"@"+v.m.info.Snapshot, fn)
}

// Check verifies that all indices are within the samples; the error names the
// first that is not.
func (v *View) Check(indices []uint64) error {
	n := v.m.info.Samples
	for k, i := range indices {
		if i >= n {
			return fault.New(fault.Invalid, "loader.batch", v.m.info.Dataset+"@"+v.m.info.Snapshot, "index %d (number %d of the batch) is out of range, there are %d samples", i, k, n)
		}
	}
	return nil
}

// Sizes fills dst with the sizes of files.
func (v *View) Sizes(indices, dst []uint64) error {
	for k, i := range indices {
		b, err := v.entries.at(entrySize*i, 8)
		if err != nil {
			return err
		}
		dst[k] = binary.LittleEndian.Uint64(b)
	}
	return nil
}

// Files gives the bytes of files to s, one after the other.
func (v *View) Files(indices []uint64, s Sink) error {
	for _, i := range indices {
		b, err := v.entries.at(entrySize*i, entrySize)
		if err != nil {
			return err
		}
		e := decodeEntry(b)
		if err := v.file(&e, s); err != nil {
			return v.named(i, err)
		}
	}
	return nil
}

// Labels appends the labels of files, 8 bytes each, to s.
func (v *View) Labels(indices []uint64, s Sink) error {
	var b [8]byte
	for _, i := range indices {
		r, err := v.m.samples.at(sampleSize*i, sampleSize)
		if err != nil {
			return err
		}
		binary.LittleEndian.PutUint64(b[:], uint64(binary.LittleEndian.Uint32(r[28:])))
		s.Copy(b[:])
	}
	return nil
}

// named puts the sample's path, or the column, before what went wrong.
func (v *View) named(i uint64, err error) error {
	return v.about(v.m.describe(i), err)
}

func (v *View) about(what string, err error) error {
	var e *fault.Error
	if errors.As(err, &e) && (e.Kind == fault.Corrupt || e.Kind == fault.DataLoss) {
		c := *e
		c.Detail = e.Resource + ": " + e.Detail
		c.Resource = what
		return &c
	}
	return err
}

// Span is the bytes [From, To) of a row in the values of chunk Chunk.
type Span struct {
	chunk    int
	from, to uint64
	row      uint64
}

// Len is the bytes of the row.
func (s *Span) Len() uint64 { return s.to - s.from }

// Spans finds the rows of a column. dst has as many entries as indices.
func (v *View) Spans(column int, indices []uint64, dst []Span) error {
	c := &v.columns[column]
	size := uint64(c.col.ItemSize())
	var ch chunk
	cur := -1
	for k, i := range indices {
		if cur < 0 || i < ch.first || i-ch.first >= ch.count {
			cur = c.find(i, v.m.info.Samples)
			ch = c.at(cur)
		}
		s := &dst[k]
		s.chunk, s.row = cur, i-ch.first
		s.from, s.to = s.row*size, (s.row+1)*size
		if c.col.Layout != tensor.Fixed {
			if err := v.bounds(c, cur, ch.bytes, s, size); err != nil {
				return v.about(v.columnName(column), err)
			}
		}
	}
	return nil
}

// bounds reads where a row of variable length begins and ends.
func (v *View) bounds(c *Chunks, chunk int, bytes uint64, s *Span, size uint64) error {
	var b fixedSink
	lo := s.row
	if lo > 0 {
		lo--
	}
	a := c.array(chunk, 1)
	if err := v.array(a.first, a.count, 8*lo, 8*(s.row+1-lo), &b); err != nil {
		return err
	}
	s.from, s.to = 0, binary.LittleEndian.Uint64(b.b[:])
	if s.row > 0 {
		s.from, s.to = s.to, binary.LittleEndian.Uint64(b.b[8:])
	}
	if s.from > s.to || s.to > bytes || (s.to-s.from)%size != 0 {
		return damaged(v.f.path, "offsets of a row that are not valid")
	}
	return nil
}

// fixedSink takes up to 16 bytes.
type fixedSink struct {
	b [16]byte
	n int
}

func (f *fixedSink) Bytes(b []byte) { f.n += copy(f.b[f.n:], b) }
func (f *fixedSink) Copy(b []byte)  { f.Bytes(b) }
func (f *fixedSink) Zeros(n uint64) { f.n += int(n) } // the array is zeros

// Values gives the values of rows to s, one after the other.
func (v *View) Values(column int, spans []Span, s Sink) error {
	c := &v.columns[column]
	cur := -1
	var a run
	for k := range spans {
		sp := &spans[k]
		if sp.chunk != cur {
			cur = sp.chunk
			a = c.array(cur, 0)
		}
		if err := v.array(a.first, a.count, sp.from, sp.to-sp.from, s); err != nil {
			return v.about(v.columnName(column), err)
		}
	}
	return nil
}

// Validity fills dst with the validity of rows, a byte each.
func (v *View) Validity(column int, spans []Span, dst []byte) error {
	c := &v.columns[column]
	for k := range spans {
		a := c.array(spans[k].chunk, 2)
		var b fixedSink
		if err := v.array(a.first, a.count, spans[k].row, 1, &b); err != nil {
			return v.about(v.columnName(column), err)
		}
		if dst[k] = b.b[0]; b.b[0] > 1 {
			return v.about(v.columnName(column), damaged(v.f.path, "a validity that is not valid"))
		}
	}
	return nil
}

func (v *View) columnName(i int) string {
	return v.m.info.Dataset + "@" + v.m.info.Snapshot + " column " + v.m.info.Columns[i].Name
}
