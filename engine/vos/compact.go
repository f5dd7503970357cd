package vos

import (
	"bytes"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"daos/engine/segment"
	"daos/internal/fault"
)

const (
	// compactBytes and compactRows bound what one sweep rewrites.
	compactBytes = 256 << 20
	compactRows  = 1 << 16
	// smallSegments is how many segments far below the cap are merged at once.
	smallSegments = 8
)

// segments unlinks segments that nothing refers to and moves the records out
// of sparse ones. idle is what no writer was in the middle of before the pass.
func (s *sweep) segments(idle []uint64) error {
	t := s.t
	var victims, small []uint64
	var moving uint64
	for _, n := range idle {
		live := s.live[n]
		if live == 0 {
			if err := s.unlink(n); err != nil {
				return err
			}
			continue
		}
		size, err := t.segs.Size(uint64(s.ds), n)
		if err != nil {
			return err
		}
		switch {
		case live > compactBytes-moving:
		case live < size/2:
			victims, moving = append(victims, n), moving+live
		case size < t.segs.Cap()/16:
			small, moving = append(small, n), moving+live
		}
	}
	if len(small) >= smallSegments {
		victims = append(victims, small...)
	}
	if len(victims) > 0 {
		if err := s.rewrite(victims); err != nil {
			return err
		}
	}
	return s.sealLeft(idle, victims)
}

// sealLeft gives footers to the segments that a crash left without.
func (s *sweep) sealLeft(idle, victims []uint64) error {
	t := s.t
	bare := map[uint64][]segment.Entry{}
	for _, n := range idle {
		if s.live[n] == 0 || slices.Contains(victims, n) {
			continue
		}
		sealed, err := t.segs.Sealed(uint64(s.ds), n)
		if fault.Is(err, fault.Corrupt) {
			t.log.Error("sweep met a damaged footer", "error", err)
			continue
		}
		if err != nil {
			return err
		}
		if !sealed {
			bare[n] = nil
		}
	}
	if len(bare) == 0 {
		return nil
	}
	for _, plane := range []byte{planeName, planeExtent} {
		err := t.eachRow(appendDataset(nil, s.ds, plane), func(k, v []byte) error {
			if err := s.ctx.Err(); err != nil {
				return fault.Wrap(err, "vos.sweep", t.opts.Dir)
			}
			r, ok := decodeRecord(v, plane == planeExtent)
			if !ok {
				return t.badKey("vos.sweep", k)
			}
			if r.typ != typeSegment {
				return nil
			}
			if list, ok := bare[r.segment]; ok && len(list) < segment.MaxEntries {
				bare[r.segment] = append(list, segment.Entry{Key: bytes.Clone(k), Value: bytes.Clone(v)})
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for n, entries := range bare {
		if err := t.segs.Seal(uint64(s.ds), n, entries); err != nil {
			return t.failedWrite(err)
		}
	}
	return nil
}

func (s *sweep) unlink(n uint64) error {
	if err := s.t.segs.Remove(uint64(s.ds), n); err != nil {
		return err
	}
	s.stats.Segments++
	s.t.gen.Add(1)
	return nil
}

// moved is a record on its way from one segment to another.
type moved struct {
	key, from, to []byte
	segment       uint64
}

// rewrite moves the live records of some segments to new ones: bytes first,
// fdatasync, then the rows in one synced batch, then the unlinks.
func (s *sweep) rewrite(victims []uint64) error {
	t := s.t
	slices.Sort(victims)
	w := t.segs.Writer(uint64(s.ds), compactBytes)
	defer w.End()
	var list []moved
	failed := map[uint64]bool{} // segments that have to stay
	for _, plane := range []byte{planeName, planeExtent} {
		err := t.eachRow(appendDataset(nil, s.ds, plane), func(k, v []byte) error {
			if err := s.ctx.Err(); err != nil {
				return fault.Wrap(err, "vos.sweep", t.opts.Dir)
			}
			r, ok := decodeRecord(v, plane == planeExtent)
			if !ok {
				return t.badKey("vos.sweep", k)
			}
			if r.typ != typeSegment || failed[r.segment] {
				return nil
			}
			if _, ok := slices.BinarySearch(victims, r.segment); !ok {
				return nil
			}
			if len(list) >= compactRows {
				failed[r.segment], s.left = true, true
				return nil
			}
			m, err := s.copyRecord(w, k, v, r, plane == planeExtent)
			if fault.Is(err, fault.Corrupt) {
				// Damaged bytes stay where they are, for a scrub to name.
				t.log.Error("sweep met a damaged record", "error", err)
				failed[r.segment] = true
				return nil
			}
			list = append(list, m)
			return err
		})
		if err != nil {
			return t.failedWrite(err)
		}
	}
	if err := w.Sync(); err != nil {
		return t.failedWrite(err)
	}
	if err := s.switchRows(w, list, failed); err != nil {
		return err
	}
	for _, n := range victims {
		if !failed[n] {
			if err := s.unlink(n); err != nil {
				return err
			}
		}
	}
	return nil
}

// copyRecord appends the verified bytes of one record and says what its row
// becomes.
func (s *sweep) copyRecord(w *segment.Writer, k, v []byte, r record, array bool) (moved, error) {
	o := r.object(s.t.opts.ID)
	p := make([]byte, o.Length)
	if err := s.t.readVerified(s.ds, o, 0, p, k); err != nil {
		return moved{}, nameKey(err, k)
	}
	n, pos, err := w.Append(p)
	if err != nil {
		return moved{}, err
	}
	return moved{
		key: bytes.Clone(k), from: bytes.Clone(v), segment: n,
		to: appendStored(nil, array, r.offset, r.length, n, pos, o.Sums),
	}, nil
}

// switchRows points the rows to where their bytes are now, unless one has been
// taken back meanwhile. Abort is kept out while it looks and writes.
func (s *sweep) switchRows(w *segment.Writer, list []moved, failed map[uint64]bool) error {
	t := s.t
	t.moving.Lock()
	defer t.moving.Unlock()
	b := t.db.NewBatch()
	defer b.Close()
	var entries []moved
	for _, m := range list {
		v, c, err := t.lookup(m.key)
		if errors.Is(err, pebble.ErrNotFound) {
			continue
		}
		if err != nil {
			return t.indexError("vos.sweep", err)
		}
		same := bytes.Equal(v, m.from)
		_ = c.Close()
		if !same {
			if r, ok := decodeRecord(m.from, m.key[8] == planeExtent); ok {
				failed[r.segment], s.left = true, true
			}
			continue
		}
		if err := b.Set(m.key, m.to, nil); err != nil {
			return t.indexError("vos.sweep", err)
		}
		entries = append(entries, m)
	}
	if err := t.applied(t.apply(b, pebble.Sync)); err != nil {
		return err
	}
	for _, m := range entries {
		w.Commit(m.segment, segment.Entry{Key: m.key, Value: m.to})
	}
	if len(entries) > 0 {
		t.gen.Add(1)
	}
	return nil
}
