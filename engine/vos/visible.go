package vos

import (
	"slices"

	"daos/engine/object"
)

// What a reader at an epoch sees. A version is visible at `at` if it is the
// newest of its key at or below `at` and no punch at or below `at` of the
// akey, the dkey or the object is newer. For arrays the question is asked byte
// by byte: newest first, each extent shows what newer ones and newer holes
// left free.

// hole is a punched range of an array.
type hole struct {
	lo, hi uint64
	version
}

// holes is what is punched of one array at an epoch.
type holes struct {
	cover version // newest punch of the whole array or anything above it
	list  []hole  // newest first
}

// piece is what one record shows: [lo, hi) of the array.
type piece struct {
	lo, hi uint64
	at     int // which record
}

type span struct{ lo, hi uint64 }

// painter overlays records newest first on one range.
type painter struct {
	free []span
	out  []piece
	next []span
}

func (p *painter) reset(lo, hi uint64) {
	p.free = append(p.free[:0], span{lo, hi})
	p.out = p.out[:0]
}

// full reports that nothing more can show.
func (p *painter) full() bool { return len(p.free) == 0 }

// take removes [lo, hi) from what is free and calls fn for each removed part.
func (p *painter) take(lo, hi uint64, fn func(lo, hi uint64)) {
	p.next = p.next[:0]
	for _, s := range p.free {
		a, b := max(s.lo, lo), min(s.hi, hi)
		if a >= b {
			p.next = append(p.next, s)
			continue
		}
		if fn != nil {
			fn(a, b)
		}
		if s.lo < a {
			p.next = append(p.next, span{s.lo, a})
		}
		if b < s.hi {
			p.next = append(p.next, span{b, s.hi})
		}
	}
	p.free, p.next = p.next, p.free
}

// paint shows record i on [lo, hi) where nothing newer is; it reports whether
// anything of it shows.
func (p *painter) paint(lo, hi uint64, i int) bool {
	n := len(p.out)
	p.take(lo, hi, func(a, b uint64) { p.out = append(p.out, piece{a, b, i}) })
	return len(p.out) > n
}

// pieces is the result in order of offset.
func (p *painter) pieces() []piece {
	slices.SortFunc(p.out, func(a, b piece) int {
		if a.lo < b.lo {
			return -1
		}
		return 1
	})
	return p.out
}

// overlay paints the records of one chunk (newest first) as of an epoch:
// version(i) and extent(i) describe record i of n.
func (p *painter) overlay(at object.Epoch, h *holes, n int, get func(i int) (version, span)) {
	next := 0
	for i := 0; i < n && !p.full(); i++ {
		v, s := get(i)
		if v.epoch > at {
			continue
		}
		if h.cover.newer(v) {
			break // this one and all older ones
		}
		for next < len(h.list) && h.list[next].newer(v) {
			if h.list[next].epoch <= at {
				p.take(h.list[next].lo, h.list[next].hi, nil)
			}
			next++
		}
		p.paint(s.lo, s.hi, i)
	}
}
