package vos

import (
	"bytes"

	"github.com/cockroachdb/pebble/v2"

	"daos/engine/object"
	"daos/engine/segment"
)

// Merging: a chunk that was written in many small pieces costs every read a
// look at all of them. Once no kept epoch can tell them apart, the sweep writes
// what shows of them as few extents, under versions that they had.

// mergeFrom is how many records of a chunk are worth merging.
const mergeFrom = 16

// mergeBytes bounds what waits to be synced.
const mergeBytes = 32 << 20

// merger gathers merged chunks until they are made durable together.
type merging struct {
	w       *segment.Writer
	batch   *pebble.Batch
	bytes   int
	usage   object.Usage
	entries []moved
	dead    map[uint64]uint64 // bytes that die in old segments once this is durable
}

// run is a stretch of a chunk that shows without a gap.
type run struct {
	lo, hi uint64
	newest version
	pieces []piece
}

// merge rewrites the chunk in s.chain if that is worth it; it reports whether
// it did. All of the chain that does not survive has no part in it.
func (s *sweep) merge() (bool, error) {
	from := s.t.opts.MergeFrom
	oldest, n := object.EpochMax, 0
	for i := range s.chain {
		if r := &s.chain[i]; r.epoch <= s.floor && r.survives {
			n++
			oldest = min(oldest, r.epoch)
		}
	}
	if n < from {
		return false, nil
	}
	for _, k := range s.keep {
		if k >= oldest && k < s.floor {
			s.left = true // a kept epoch sees less than the floor does
			return false, nil
		}
	}
	s.show(s.floor)
	runs, ok := s.runs()
	if !ok || len(runs) > n/2 {
		return false, nil
	}
	for _, r := range runs {
		if err := s.writeRun(r); err != nil {
			return false, err
		}
	}
	taken := map[version]bool{}
	for _, r := range runs {
		taken[r.newest] = true
	}
	for i := range s.chain {
		r := &s.chain[i]
		if r.epoch > s.floor || !r.survives {
			continue
		}
		if r.typ == typeSegment {
			s.merges.dead[r.segment] += r.length
		}
		s.merges.usage.Bytes -= int64(r.length)
		s.merges.usage.Records--
		if !taken[r.version] {
			if err := s.merges.batch.Delete(appendVersion(bytes.Clone(s.chunk), r.version), nil); err != nil {
				return false, s.t.indexError("vos.sweep", err)
			}
			s.stats.Versions++
		}
	}
	if s.merges.bytes >= mergeBytes {
		return true, s.flushMerges()
	}
	return true, nil
}

// runs joins the pieces that show at the floor. Each run takes the version of
// its newest record; ok is false where two runs would take the same.
func (s *sweep) runs() (out []run, ok bool) {
	used := map[version]bool{}
	for _, p := range s.paint.pieces() {
		v := s.chain[p.at].version
		if n := len(out); n > 0 && out[n-1].hi == p.lo {
			r := &out[n-1]
			r.hi, r.pieces = p.hi, append(r.pieces, p)
			if v.newer(r.newest) {
				r.newest = v
			}
			continue
		}
		out = append(out, run{lo: p.lo, hi: p.hi, newest: v, pieces: []piece{p}})
	}
	for _, r := range out {
		if used[r.newest] {
			return nil, false
		}
		used[r.newest] = true
	}
	return out, true
}

func (s *sweep) writeRun(r run) error {
	t, m := s.t, &s.merges
	if m.batch == nil {
		m.batch = t.db.NewBatch()
		m.w = t.segs.Writer(uint64(s.ds), mergeBytes)
		m.dead = map[uint64]uint64{}
	}
	data := make([]byte, r.hi-r.lo)
	for _, p := range r.pieces {
		if err := s.readPiece(p, data[p.lo-r.lo:p.hi-r.lo]); err != nil {
			return err
		}
	}
	m.bytes += len(data)
	m.usage.Bytes += int64(len(data))
	m.usage.Records++
	key := appendVersion(bytes.Clone(s.chunk), r.newest)
	if len(data) <= object.InlineMax {
		return t.indexError("vos.sweep", m.batch.Set(key, appendInline(nil, true, r.lo, data), nil))
	}
	n, pos, err := m.w.Append(data)
	if err != nil {
		return t.failedWrite(err)
	}
	val := appendStored(nil, true, r.lo, uint64(len(data)), n, pos, segment.Sums(nil, data, object.Granule))
	m.entries = append(m.entries, moved{key: key, to: val, segment: n})
	return t.indexError("vos.sweep", m.batch.Set(key, val, nil))
}

// readPiece reads what one record shows, verified.
func (s *sweep) readPiece(p piece, dst []byte) error {
	key := appendVersion(bytes.Clone(s.chunk), s.chain[p.at].version)
	v, c, err := s.t.lookup(key)
	if err != nil {
		return s.t.indexError("vos.sweep", err)
	}
	defer c.Close()
	r, ok := decodeRecord(v, true)
	if !ok {
		return s.t.badKey("vos.sweep", key)
	}
	return nameKey(s.t.readVerified(s.ds, r.object(s.t.opts.ID), p.lo-r.offset, dst, key), key)
}

// flushMerges makes the merged chunks durable: bytes first, then the rows.
func (s *sweep) flushMerges() error {
	m := &s.merges
	if m.batch == nil {
		return nil
	}
	t := s.t
	defer s.dropMerges()
	if err := m.w.Sync(); err != nil {
		return t.failedWrite(err)
	}
	if err := mergeUsage(m.batch, s.ds, m.usage); err != nil {
		return t.indexError("vos.sweep", err)
	}
	if err := t.applied(t.apply(m.batch, pebble.Sync)); err != nil {
		return err
	}
	t.usage.add(s.ds, m.usage)
	for _, e := range m.entries {
		m.w.Commit(e.segment, segment.Entry{Key: e.key, Value: e.to})
	}
	for n, bytes := range m.dead {
		s.live[n] -= bytes
	}
	s.left = true // what the old records kept from going may go next time
	t.gen.Add(1)
	return nil
}

// dropMerges gives up what is not durable yet.
func (s *sweep) dropMerges() {
	if m := &s.merges; m.batch != nil {
		_ = m.batch.Close()
		m.w.End()
		s.merges = merging{}
	}
}
