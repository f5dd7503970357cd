package vos

import (
	"bytes"

	"daos/engine/object"
	"daos/internal/fault"
)

// leaveChunk decides over the records of one chunk: those that show in the
// picture of the floor or of any kept epoch survive.
func (s *sweep) leaveChunk() error {
	if len(s.chain) == 0 {
		return nil
	}
	for i := range s.chain {
		if s.chain[i].epoch > s.floor {
			s.survivor(&s.chain[i])
		}
	}
	// Rising, floor first: epochs between which nothing happened here give the
	// same picture.
	atFloor := s.picture(s.floor)
	s.show(s.floor)
	for i := range s.chain {
		// What does not show now shows to nobody once the keeps are gone.
		s.left = s.left || !s.chain[i].survives || s.chain[i].epoch > s.floor
	}
	last := atFloor
	for _, e := range s.keep {
		if e >= s.floor {
			break
		}
		if pic := s.picture(e); pic != last && pic != atFloor {
			last = pic
			s.show(e)
		}
	}
	for i := range s.chain {
		if r := &s.chain[i]; r.survives {
			for j := range s.holes {
				if h := &s.holes[j]; !h.hides && h.newer(r.version) && (h.whole || h.lo < r.hi && r.lo < h.hi) {
					h.hides = true
				}
			}
		}
	}
	merged, err := s.merge()
	if fault.Is(err, fault.Corrupt) {
		// Damaged bytes stay where they are, for a scrub to name.
		s.t.log.Error("sweep met a damaged record", "error", err)
		s.dropMerges()
		return s.dropChain(s.chunk)
	}
	if err != nil {
		return err
	}
	if merged {
		s.t.log.Debug("merged extents", "dataset", s.ds, "records", len(s.chain))
	}
	return s.dropChain(s.chunk)
}

// picture says which rows an epoch is above; equal ones show the same.
type picture struct{ rows, holes, dkeys, objects int }

func (s *sweep) picture(e object.Epoch) picture {
	return picture{
		rows:    countAbove(len(s.chain), func(i int) object.Epoch { return s.chain[i].epoch }, e),
		holes:   countAbove(len(s.holes), func(i int) object.Epoch { return s.holes[i].epoch }, e),
		dkeys:   countAbove(len(s.dkeys), func(i int) object.Epoch { return s.dkeys[i].epoch }, e),
		objects: countAbove(len(s.objects), func(i int) object.Epoch { return s.objects[i].epoch }, e),
	}
}

func countAbove(n int, epoch func(int) object.Epoch, e object.Epoch) int {
	i := 0
	for i < n && epoch(i) > e {
		i++
	}
	return i
}

// show marks the records of the chunk that a reader at e sees a byte of.
func (s *sweep) show(e object.Epoch) {
	var h holes
	for _, list := range [][]version{s.dkeys, s.objects} {
		for _, p := range list {
			if p.epoch <= e && p.newer(h.cover) {
				h.cover = p
			}
		}
	}
	for _, r := range s.holes {
		switch {
		case r.epoch > e:
		case r.whole:
			if r.newer(h.cover) {
				h.cover = r.version
			}
		default:
			h.list = append(h.list, r.hole)
		}
	}
	lo, hi := s.chain[0].lo, s.chain[0].hi
	for _, r := range s.chain[1:] {
		lo, hi = min(lo, r.lo), max(hi, r.hi)
	}
	s.paint.reset(lo, hi)
	s.paint.overlay(e, &h, len(s.chain), func(i int) (version, span) {
		return s.chain[i].version, span{s.chain[i].lo, s.chain[i].hi}
	})
	for _, p := range s.paint.out {
		if r := &s.chain[p.at]; !r.survives {
			s.survivor(r)
		}
	}
}

// leaveArray decides over the punches of an array once all chunks are done.
func (s *sweep) leaveArray() error {
	if err := s.leaveChunk(); err != nil {
		return err
	}
	base := append(bytes.Clone(s.akey), subHole)
	for i := range s.holes {
		h := &s.holes[i]
		next := above(h.version, above(h.version, object.EpochMax, s.dkeys), s.objects)
		for j := range i {
			if n := &s.holes[j]; n.newer(h.version) && (n.whole || !h.whole && n.lo <= h.lo && h.hi <= n.hi) {
				next = min(next, n.epoch)
			}
		}
		if h.epoch > s.floor || h.hides && s.needed(h.epoch, next) {
			s.left = true
			continue
		}
		if err := s.dropRow(base, h.version, typePunch, 0); err != nil {
			return err
		}
	}
	s.holes, s.chunk = s.holes[:0], s.chunk[:0]
	return nil
}
