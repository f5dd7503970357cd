package array

import (
	"context"
	"sync/atomic"

	"daos/engine/object"
)

// Where the chunks of arrays lie at snapshots is remembered: a look-up in the
// index of a target for every chunk that a selection touches is most of what
// reading a few elements of each costs.

const (
	// maxLaid is how many chunks are remembered of one dataset.
	maxLaid = 1 << 16
	// maxParts: a chunk in more pieces is not remembered.
	maxParts = 64
	// smallStretch is up to what a stretch that lies in no piece whole is not cut
	// any further to find out which parts of it do.
	smallStretch = 64 << 10
)

// chunkName names a chunk at an epoch.
type chunkName struct {
	oid object.ID
	at  object.Epoch
	key string
}

// laid is where the bytes of a chunk lie in segments. What is not in its parts
// was never written, or lies elsewhere.
type laid struct{ parts []part }

// part is the bytes [off, off+n) of a chunk, at pos of a segment.
type part struct {
	off, n  uint64
	target  uint16
	segment uint64
	pos     uint64
	seen    []atomic.Uint64 // which granules, counted from off, have been verified
}

// lay makes a laid of the extents of a chunk.
func lay(xs []object.Extent) *laid {
	l := &laid{}
	if len(xs) > maxParts {
		return l
	}
	for i := range xs {
		x := &xs[i]
		r := &x.Record
		if r.Inline != nil {
			continue
		}
		p := part{off: x.Offset, n: x.Length, target: r.Target, segment: r.Segment, pos: r.Pos + x.Skip}
		if k := len(l.parts); k > 0 {
			if q := &l.parts[k-1]; q.target == p.target && q.segment == p.segment && q.off+q.n == p.off && q.pos+q.n == p.pos {
				q.n += p.n
				continue
			}
		}
		l.parts = append(l.parts, p)
	}
	for i := range l.parts {
		granules := (l.parts[i].n + object.Granule - 1) / object.Granule
		l.parts[i].seen = make([]atomic.Uint64, (granules+63)/64)
	}
	return l
}

// part is the one that the bytes [lo, lo+n) lie in; nil if there is no such one.
func (l *laid) part(lo, n uint64) *part {
	for i := range l.parts {
		if p := &l.parts[i]; lo >= p.off && lo < p.off+p.n {
			if lo+n <= p.off+p.n {
				return p
			}
			return nil
		}
	}
	return nil
}

// unseen is what of the bytes [lo, hi) of a chunk has to be verified: from the
// first granule that was not seen to the last; nothing (0, 0) if all were.
func (p *part) unseen(lo, hi uint64) (from, to uint64) {
	for g := (lo - p.off) / object.Granule; p.off+g*object.Granule < hi; g++ {
		if p.seen[g/64].Load()&(1<<(g%64)) == 0 {
			if to == 0 {
				from = p.off + g*object.Granule
			}
			to = min(p.off+(g+1)*object.Granule, p.off+p.n)
		}
	}
	return from, to
}

// saw notes that what unseen gave has been verified.
func (p *part) saw(from, to uint64) {
	for g := (from - p.off) / object.Granule; p.off+g*object.Granule < to; g++ {
		p.seen[g/64].Or(1 << (g % 64))
	}
}

// found is what is remembered of a chunk; nil: nothing.
func (c *Mappings) found(generation uint64, oid object.ID, at object.Epoch, key []byte) *laid {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tidyLocked(generation)
	return c.laid[chunkName{oid, at, string(key)}]
}

// remember keeps where a chunk lay at a generation.
func (c *Mappings) remember(generation uint64, oid object.ID, at object.Epoch, key []byte, l *laid) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation != generation {
		return
	}
	thin(c.laid, maxLaid)
	if c.laid == nil {
		c.laid = map[chunkName]*laid{}
	}
	c.laid[chunkName{oid, at, string(key)}] = l
}

// thin makes room in a map that holds most: an eighth of it goes, whichever.
func thin[K comparable, V any](m map[K]V, most int) {
	if len(m) < most {
		return
	}
	left := most - max(most/8, 1)
	for name := range m {
		if len(m) == left {
			return
		}
		delete(m, name)
	}
}

// chunk finds where a chunk of so many bytes lies.
func (m *mapper) chunk(ctx context.Context, st Store, at object.Epoch, oid object.ID, key []byte, size uint64) (*laid, error) {
	generation := m.bulk.Generation()
	if l := m.maps.found(generation, oid, at, key); l != nil {
		return l, nil
	}
	xs, err := st.Extents(ctx, at, oid, key, akeyData, 0, size)
	if err != nil {
		return nil, err
	}
	l := lay(xs)
	m.maps.remember(generation, oid, at, key, l)
	return l, nil
}

// find is the mapped segment in which the bytes [lo, lo+n) of a chunk lie, verified,
// and where in it; nil where they don't lie in one piece.
func (m *mapper) find(ctx context.Context, at object.Epoch, oid object.ID, key []byte, l *laid, lo, n uint64) (*mapping, uint64, error) {
	p := l.part(lo, n)
	if p == nil {
		return nil, 0, nil
	}
	if from, to := p.unseen(lo, lo+n); from < to {
		var seen object.Regions
		err := m.regions.ReadRegions(ctx, at, oid, key, akeyData, from, to-from, &seen)
		seen.Release()
		if err != nil {
			return nil, 0, err
		}
		p.saw(from, to)
	}
	s, err := m.segment(p.target, p.segment)
	if err != nil {
		return nil, 0, nil //nolint:nilerr // moved meanwhile: it is read the other way
	}
	return s, p.pos + lo - p.off, nil
}

// bytes is the bytes [lo, lo+n) of a chunk in mapped memory, verified; nil where
// they don't lie in one piece. They are touched in safely only.
func (m *mapper) bytes(ctx context.Context, at object.Epoch, oid object.ID, key []byte, l *laid, lo, n uint64) ([]byte, error) {
	s, from, err := m.find(ctx, at, oid, key, l, lo, n)
	if s == nil || err != nil {
		return nil, err
	}
	return s.piece(from, n), nil
}

// piece is the bytes [from, from+n) of a segment; nil where it has no such ones.
func (m *mapping) piece(from, n uint64) []byte {
	if b := m.Bytes(); from+n <= uint64(len(b)) {
		return b[from : from+n : from+n]
	}
	return nil
}
