package tensor

import (
	"context"
	"encoding/binary"
	"slices"
	"sort"

	"daos/engine/object"
)

// Lens looks at ranges of rows where they lie, in mapped segments and without a
// copy, if the store has them so and a range is within one chunk that was written
// in one piece. It is for a scan and belongs to one goroutine.
//
// What it returns is good until Close. A page that can't be read raises SIGBUS:
// its user runs under debug.SetPanicOnFault and makes an error of the panic.
type Lens struct {
	p       *Pinned
	bulk    object.Bulk         // nil: everything is copied
	regions object.RegionReader // and
	maps    map[[2]uint64]object.Mapping
	cols    []lensColumn
}

// lensColumn is what is known of the chunk of a column that was read last.
type lensColumn struct {
	number  uint64 // of the chunk, 0: none
	arrays  [3]lensArray
	offsets []uint64 // scratch
}

// lensArray is an array of a chunk in mapped memory.
type lensArray struct {
	tried  bool
	bytes  []byte // all of it; nil: it does not lie in one piece
	lo, hi uint64 // verified
}

// Numbers of a chunk's arrays in lensColumn.
const (
	lensData = iota
	lensOffsets
	lensValidity
)

// Lens makes a Lens. Close must be called.
func (p *Pinned) Lens() *Lens {
	l := &Lens{p: p, cols: make([]lensColumn, len(p.s.cols))}
	bulk, ok1 := p.t.st.(object.Bulk)
	regions, ok2 := p.t.st.(object.RegionReader)
	if ok1 && ok2 {
		l.bulk, l.regions, l.maps = bulk, regions, map[[2]uint64]object.Mapping{}
	}
	return l
}

// Close lets go of what is mapped.
func (l *Lens) Close() {
	for _, m := range l.maps {
		if m != nil {
			m.Release()
		}
	}
	l.maps, l.cols = nil, nil
}

// Look is the rows [from, to) of a column where they lie, nil where that can't be
// done: Pinned.Range copies them. all says that those around them will be asked
// for as well. Offsets are good until the next Look at that column.
func (l *Lens) Look(ctx context.Context, col int, from, to uint64, all bool) (*Data, error) {
	if l.bulk == nil || from >= to || to > l.p.s.head.length {
		return nil, nil
	}
	c, err := l.chunk(ctx, col, from)
	if err != nil || to <= c.end() {
		return l.piece(ctx, col, c, from, to, all, err)
	}
	// Of several chunks: brought together.
	cd, out, have := &l.p.s.cols[col], &Data{}, 0
	for from < to {
		if c, err = l.chunk(ctx, col, from); err != nil {
			return nil, err
		}
		stop := min(to, c.end())
		d, err := l.piece(ctx, col, c, from, stop, all, nil)
		if d == nil || err != nil {
			return nil, err
		}
		if out.Values == nil && cd.Layout == Fixed {
			out.Values = make([]byte, 0, int(to-from)*cd.ItemSize())
		}
		n := int(stop - from)
		out.add(cd, have, d, n)
		have, from = have+n, stop
	}
	return out, nil
}

// chunk is the chunk that a row lies in; what is known of another one of that
// column is forgotten.
func (l *Lens) chunk(ctx context.Context, col int, row uint64) (*chunk, error) {
	chunks, err := l.p.of(ctx, col)
	if err != nil {
		return nil, err
	}
	c := &chunks[sort.Search(len(chunks), func(i int) bool { return chunks[i].end() > row })]
	if have := &l.cols[col]; have.number != c.number {
		*have = lensColumn{number: c.number, offsets: have.offsets}
	}
	return c, nil
}

// piece is Look within a chunk.
func (l *Lens) piece(ctx context.Context, col int, c *chunk, from, to uint64, all bool, err error) (*Data, error) {
	if err != nil {
		return nil, err
	}
	cd, d := &l.p.s.cols[col], &Data{}
	from, to = from-c.first, to-c.first
	lo, hi := from*uint64(cd.ItemSize()), to*uint64(cd.ItemSize())
	if cd.Layout != Fixed {
		ends, err := l.ends(ctx, col, c, from, to, all)
		if ends == nil || err != nil {
			return nil, err
		}
		if d.Offsets, lo, hi, err = l.rebase(col, c, ends, from == 0, to-from); err != nil {
			return nil, err
		}
	}
	if d.Values, err = l.array(ctx, col, c, lensData, lo, hi, all); err != nil || d.Values == nil && lo < hi {
		return nil, err
	}
	if cd.Nullable && c.nulls > 0 {
		if d.Valid, err = l.validity(ctx, col, c, from, to, all); d.Valid == nil || err != nil {
			return nil, err
		}
	}
	return d, nil
}

// ends are the stored ends of rows of a chunk, and of the row before them.
func (l *Lens) ends(ctx context.Context, col int, c *chunk, from, to uint64, all bool) ([]byte, error) {
	return l.array(ctx, col, c, lensOffsets, 8*(max(from, 1)-1), 8*to, all)
}

func (l *Lens) validity(ctx context.Context, col int, c *chunk, from, to uint64, all bool) ([]byte, error) {
	v, err := l.array(ctx, col, c, lensValidity, from, to, all)
	if err == nil && !truths(v) {
		return nil, corrupt("column "+l.p.s.cols[col].Name, "the validity of a chunk is not valid")
	}
	return v, err
}

// Pick copies rows of a column, counted from base and rising, from where they
// lie; nil where that can't be done: Pinned.Rows reads them.
func (l *Lens) Pick(ctx context.Context, col int, base uint64, rows []uint32) (*Data, error) {
	if l.bulk == nil || len(rows) == 0 || base+uint64(rows[len(rows)-1]) >= l.p.s.head.length {
		return nil, nil
	}
	cd := &l.p.s.cols[col]
	d := &Data{}
	if cd.Layout == Fixed {
		d.Values = make([]byte, len(rows)*cd.ItemSize())
	} else {
		d.Offsets = make([]uint64, 1, len(rows)+1)
	}
	for i := 0; i < len(rows); {
		c, err := l.chunk(ctx, col, base+uint64(rows[i]))
		if err != nil {
			return nil, err
		}
		j := i + sort.Search(len(rows)-i, func(k int) bool { return base+uint64(rows[i+k]) >= c.end() })
		ok, err := l.pick(ctx, col, c, base, rows[i:j], i, d)
		if !ok || err != nil {
			return nil, err
		}
		if d.Valid != nil && len(d.Valid) < len(rows) && j == len(rows) {
			d.Valid = append(d.Valid, ones(len(rows)-len(d.Valid))...)
		}
		i = j
	}
	return d, nil
}

// pick is Pick within a chunk; d has `have` rows.
func (l *Lens) pick(ctx context.Context, col int, c *chunk, base uint64, rows []uint32, have int, d *Data) (ok bool, err error) {
	cd := &l.p.s.cols[col]
	n := uint64(cd.ItemSize())
	from, to := base+uint64(rows[0])-c.first, base+uint64(rows[len(rows)-1])+1-c.first
	if cd.Layout == Fixed {
		v, err := l.array(ctx, col, c, lensData, from*n, to*n, false)
		if v == nil || err != nil {
			return false, err
		}
		gather(d.Values[have*int(n):], v, rows, int(n))
	} else if ok, err := l.pickTexts(ctx, col, c, from, to, rows, d); !ok || err != nil {
		return false, err
	}
	if !cd.Nullable || c.nulls == 0 {
		return true, nil
	}
	v, err := l.validity(ctx, col, c, from, to, false)
	if v == nil || err != nil {
		return false, err
	}
	if len(d.Valid) < have {
		d.Valid = append(d.Valid, ones(have-len(d.Valid))...)
	}
	for _, r := range rows {
		d.Valid = append(d.Valid, v[r-rows[0]])
	}
	return true, nil
}

// pickTexts is pick of values of variable length.
func (l *Lens) pickTexts(ctx context.Context, col int, c *chunk, from, to uint64, rows []uint32, d *Data) (ok bool, err error) {
	ends, err := l.ends(ctx, col, c, from, to, false)
	if ends == nil || err != nil {
		return false, err
	}
	n := uint64(l.p.s.cols[col].ItemSize())
	skip := int(min(from, 1)) // the end of the row before is there
	span := func(r uint32) (lo, hi uint64) {
		k := int(r-rows[0]) + skip
		if k > 0 {
			lo = binary.LittleEndian.Uint64(ends[8*k-8:])
		}
		return lo, binary.LittleEndian.Uint64(ends[8*k:])
	}
	first, _ := span(rows[0])
	_, last := span(rows[len(rows)-1])
	bad := first > last || last > c.bytes
	var v []byte
	if !bad && first < last {
		if v, err = l.array(ctx, col, c, lensData, first, last, false); v == nil || err != nil {
			return false, err
		}
	}
	if free := uint64(cap(d.Values) - len(d.Values)); !bad && free < last-first && uint64(len(rows))*2 >= to-from {
		d.Values = slices.Grow(d.Values, int(last-first)) // most of them are taken
	}
	from, to = first, first // what lies together is copied together
	at := uint64(len(d.Values))
	for _, r := range rows {
		lo, hi := span(r)
		if bad = bad || lo < first || hi < lo || hi > last || (hi-lo)%n != 0 || hi-lo > MaxSampleBytes; bad {
			return false, corrupt("column "+l.p.s.cols[col].Name, "the offsets of a chunk are not valid")
		}
		if lo != to {
			d.Values = append(d.Values, v[from-first:to-first]...)
			from = lo
		}
		to = hi
		at += hi - lo
		d.Offsets = append(d.Offsets, at)
	}
	d.Values = append(d.Values, v[from-first:to-first]...)
	return true, nil
}

// gather copies values of width w, rows counted from the first.
func gather(out, in []byte, rows []uint32, w int) {
	first := rows[0]
	switch w {
	case 1:
		for k, r := range rows {
			out[k] = in[r-first]
		}
	case 4:
		for k, r := range rows {
			binary.LittleEndian.PutUint32(out[4*k:], binary.LittleEndian.Uint32(in[4*int(r-first):]))
		}
	case 8:
		for k, r := range rows {
			binary.LittleEndian.PutUint64(out[8*k:], binary.LittleEndian.Uint64(in[8*int(r-first):]))
		}
	default:
		for k, r := range rows {
			copy(out[k*w:(k+1)*w], in[int(r-first)*w:])
		}
	}
}

// rebase turns the stored ends of n rows (and that of the row before, unless they
// are the first of their chunk) into offsets from 0, and says where the rows lie.
func (l *Lens) rebase(col int, c *chunk, ends []byte, first bool, n uint64) (offsets []uint64, lo, hi uint64, err error) {
	have := &l.cols[col]
	if uint64(cap(have.offsets)) < n+1 {
		have.offsets = make([]uint64, n+1)
	}
	offsets = have.offsets[:n+1]
	if !first {
		lo, ends = binary.LittleEndian.Uint64(ends), ends[8:]
	}
	size := uint64(l.p.s.cols[col].ItemSize())
	offsets[0] = 0
	before, bad := lo, lo > c.bytes
	for i := range offsets[1:] {
		e := binary.LittleEndian.Uint64(ends[8*i:])
		bad = bad || e < before || e > c.bytes || e-before > MaxSampleBytes || size > 1 && (e-before)%size != 0
		offsets[i+1] = e - lo
		before = e
	}
	if bad {
		return nil, 0, 0, corrupt("column "+l.p.s.cols[col].Name, "the offsets of a chunk are not valid")
	}
	return offsets, lo, before, nil
}

// array is the bytes [lo, hi) of an array of a chunk; nil where it is not mapped
// in one piece.
func (l *Lens) array(ctx context.Context, col int, c *chunk, which int, lo, hi uint64, all bool) ([]byte, error) {
	akey, size := akeyData, c.bytes
	switch which {
	case lensOffsets:
		akey, size = akeyOffsets, 8*c.count
	case lensValidity:
		akey, size = akeyValidity, c.count
	}
	a := &l.cols[col].arrays[which]
	oid, key, at := columnOID(col), numberKey(c.number), l.p.s.at
	if !a.tried {
		a.tried = true
		xs, err := l.p.t.st.Extents(ctx, at, oid, key, akey, 0, size)
		if err != nil {
			return nil, err
		}
		if len(xs) == 1 && xs[0].Record.Inline == nil && xs[0].Offset == 0 && xs[0].Length == size {
			a.bytes = l.mapped(&xs[0])
		}
	}
	if a.bytes == nil || hi > uint64(len(a.bytes)) {
		return nil, nil
	}
	if lo < hi && (lo < a.lo || hi > a.hi) {
		from, to := lo, hi
		if all {
			from, to = 0, size
		}
		// What is verified is remembered by the store: it is done once while
		// the segment is open.
		var seen object.Regions
		err := l.regions.ReadRegions(ctx, at, oid, key, akey, from, to-from, &seen)
		seen.Release()
		if err != nil {
			return nil, err
		}
		a.lo, a.hi = from, to
	}
	return a.bytes[lo:hi:hi], nil
}

// mapped is the bytes of an extent in its segment, nil if that can't be mapped.
func (l *Lens) mapped(x *object.Extent) []byte {
	name := [2]uint64{uint64(x.Record.Target), x.Record.Segment}
	m, tried := l.maps[name]
	if !tried {
		if s, err := l.bulk.Segment(x.Record.Target, x.Record.Segment); err == nil {
			m = s
		}
		l.maps[name] = m // nil: it has moved meanwhile
	}
	if m == nil {
		return nil
	}
	from := x.Record.Pos + x.Skip
	b := m.Bytes()
	if from+x.Length > uint64(len(b)) {
		return nil
	}
	return b[from : from+x.Length : from+x.Length]
}

// truths reports whether all bytes are 0 or 1.
func truths(b []byte) bool {
	var or uint64
	for ; len(b) >= 8; b = b[8:] {
		or |= binary.LittleEndian.Uint64(b)
	}
	for _, x := range b {
		or |= uint64(x)
	}
	return or&^0x0101010101010101 == 0
}
