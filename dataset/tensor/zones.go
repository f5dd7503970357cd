package tensor

import "slices"

// ZoneRows is how many rows a zone has; zone i begins at row i*ZoneRows.
const ZoneRows = 1 << 12

// zone is what was learned of ZoneRows rows of a column: their statistics, in less
// room. Chunks have a million rows, and a column that rises within them is pruned
// by zones a hundred times better.
type zone struct {
	count, nulls, nans uint32 // count 0: nothing is known
	size               uint8  // of min and max, 0: there is no value
	min, max           [8]byte
}

// zoned reports whether a column has zones: one of numbers.
func (p *Pinned) zoned(col int) bool {
	c := &p.s.cols[col]
	return c.Layout == Fixed && len(c.Shape) == 0
}

// Learn notes the bounds of the zones that lie within n rows of a column, from row
// `from` on: they were read anyway. d has the rows.
func (p *Pinned) Learn(col int, from uint64, d *Data, n int) {
	if !p.zoned(col) {
		return
	}
	first := (from + ZoneRows - 1) / ZoneRows
	end := (from + uint64(n)) / ZoneRows
	if from+uint64(n) == p.s.head.length && first*ZoneRows < p.s.head.length {
		end = (p.s.head.length + ZoneRows - 1) / ZoneRows // the last one may be shorter
	}
	if first >= end || p.learned(col, first, end) {
		return
	}
	c := &p.s.cols[col]
	size := uint64(c.ItemSize())
	zones := make([]zone, 0, end-first)
	for z := first; z < end; z++ {
		lo := z*ZoneRows - from
		hi := min(lo+ZoneRows, uint64(n))
		one := Data{Values: d.Values[lo*size : hi*size]}
		if d.Valid != nil {
			one.Valid = d.Valid[lo:hi]
		}
		zones = append(zones, zoneOf(statsOf(c, &one, int(hi-lo))))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.zones[col] == nil {
		p.zones[col] = make([]zone, (p.s.head.length+ZoneRows-1)/ZoneRows)
	}
	copy(p.zones[col][first:], zones)
}

func zoneOf(s stats) zone {
	z := zone{count: uint32(s.count), nulls: uint32(s.nulls), nans: uint32(s.nans), size: uint8(len(s.min))}
	copy(z.min[:], s.min)
	copy(z.max[:], s.max)
	return z
}

// learned reports whether zones are known already.
func (p *Pinned) learned(col int, first, end uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.zones[col] != nil && !slices.ContainsFunc(p.zones[col][first:end], func(z zone) bool { return z.count == 0 })
}

// Learned are the statistics of the zones that rows [from, to) of a column lie in;
// false where not all of them are known. They hold for these rows as those of a
// chunk do for a part of it.
func (p *Pinned) Learned(col int, from, to uint64) (Summary, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.zones[col] == nil || from >= to || to > p.s.head.length {
		return Summary{}, false
	}
	c := &p.s.cols[col]
	var all stats
	zones := p.zones[col][from/ZoneRows : (to+ZoneRows-1)/ZoneRows]
	for i := range zones {
		z := &zones[i]
		if z.count == 0 {
			return Summary{}, false
		}
		s := stats{count: uint64(z.count), nulls: uint64(z.nulls), nans: uint64(z.nans)}
		if z.size > 0 {
			s.min, s.max = z.min[:z.size], z.max[:z.size]
		}
		if i == 0 {
			all = s
			continue
		}
		all.widen(c, &s)
	}
	return Summary{First: from / ZoneRows * ZoneRows, Count: all.count, Nulls: all.nulls, NaNs: all.nans, Min: slices.Clone(all.min), Max: slices.Clone(all.max)}, true
}
