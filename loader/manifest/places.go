package manifest

import (
	"context"

	"daos/dataset/tensor"
	"daos/internal/fault"
)

// MaxPlaces is how many samples one call of Places takes.
const MaxPlaces = 1 << 16

// NoSegment is the segment of samples that lie in the manifest itself, or
// nowhere.
const NoSegment = segInline

// Places says where the samples [start, start+count) begin at present: in which
// segment, numbered from 0, and at which position of it. Of a table it is the
// place in its largest column.
func (m *Manifest) Places(ctx context.Context, start, count uint64) (segments []uint32, positions []uint64, err error) {
	if start > m.info.Samples {
		return nil, nil, fault.New(fault.Invalid, "loader.places", m.info.Dataset, "sample %d of %d", start, m.info.Samples)
	}
	if count > MaxPlaces {
		return nil, nil, fault.New(fault.TooBig, "loader.places", m.info.Dataset, "more than %d samples in one call", MaxPlaces).Do("ask in pieces")
	}
	count = min(count, m.info.Samples-start)
	for {
		v, err := m.Acquire(ctx)
		if err != nil {
			return nil, nil, err
		}
		segments, positions = make([]uint32, count), make([]uint64, count)
		numbers := make([]uint64, count)
		for k := range numbers {
			numbers[k] = start + uint64(k)
		}
		if m.base != nil {
			err = m.Resolve(numbers, numbers)
		}
		if err == nil {
			err = v.Guard(func() error { return v.places(numbers, segments, positions) })
		}
		again := err != nil && m.Doubt(ctx, v, err)
		v.Release()
		if !again {
			return segments, positions, err
		}
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
	}
}

func (v *View) places(samples []uint64, segments []uint32, positions []uint64) error {
	place := v.placeOfFile
	if !v.m.isFiles() {
		c := v.largest()
		place = func(i uint64) (uint32, uint64, error) { return v.placeOfRow(c, i) }
	}
	for k, i := range samples {
		var err error
		if segments[k], positions[k], err = place(i); err != nil {
			return err
		}
	}
	return nil
}

func (v *View) placeOfFile(i uint64) (seg uint32, pos uint64, err error) {
	b, err := v.entries.at(entrySize*i, entrySize)
	if err != nil {
		return 0, 0, err
	}
	switch e := decodeEntry(b); e.seg {
	case segPieces:
		return v.placeOf(e.pos, uint64(e.pieces), 0)
	case segZeros:
		return NoSegment, 0, nil
	default:
		return e.seg, e.pos, nil
	}
}

// largest is the column with the most bytes.
func (v *View) largest() *Chunks {
	var best *Chunks
	most := uint64(0)
	for k := range v.columns {
		c, sum := &v.columns[k], uint64(0)
		for i := range c.n {
			ch := c.at(i)
			if c.col.Layout == tensor.Fixed {
				sum += ch.count * uint64(c.col.ItemSize())
			} else {
				sum += ch.bytes
			}
		}
		if best == nil || sum > most {
			best, most = c, sum
		}
	}
	return best
}

func (v *View) placeOfRow(c *Chunks, i uint64) (seg uint32, pos uint64, err error) {
	chunk := c.find(i, v.m.info.Samples)
	var s [1]Span
	ch := c.at(chunk)
	s[0] = Span{chunk: chunk, row: i - ch.first}
	size := uint64(c.col.ItemSize())
	if c.col.Layout == tensor.Fixed {
		s[0].from = s[0].row * size
	} else if err := v.bounds(c, chunk, ch.bytes, &s[0], size); err != nil {
		return 0, 0, err
	}
	a := c.array(chunk, 0)
	return v.placeOf(a.first, a.count, s[0].from)
}

// placeOf is where byte off of an array lies.
func (v *View) placeOf(first, count, off uint64) (seg uint32, pos uint64, err error) {
	if first > 1<<58 || count > 1<<58 {
		return 0, 0, damaged(v.f.path, "pieces that are not there")
	}
	lo, hi := uint64(0), count // the first piece that ends after off
	for lo < hi {
		mid := (lo + hi) / 2
		p, err := v.piece(first + mid)
		if err != nil {
			return 0, 0, err
		}
		if p.off+p.length <= off {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == count {
		return NoSegment, 0, nil
	}
	p, err := v.piece(first + lo)
	if err != nil || p.off > off {
		return NoSegment, 0, err // a hole
	}
	return p.seg, p.pos + p.skip + off - p.off, nil
}
