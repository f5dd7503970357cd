package vos

import (
	"bytes"
	"context"
	"encoding/binary"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"daos/engine/object"
	"daos/engine/target"
	"daos/internal/fault"
)

// sweepTable counts the changes of each dataset and what its last sweep left,
// so that a sweep of a dataset at rest costs nothing.
type sweepTable struct {
	mu   sync.Mutex
	rows map[object.DatasetID]*sweepState
}

type sweepState struct {
	running sync.Mutex // one sweep of a dataset at a time

	changes uint64 // under sweepTable.mu, as the rest
	swept   uint64 // changes that the last whole sweep had seen
	clean   bool   // it left nothing that a later floor could drop
}

func (s *sweepTable) state(ds object.DatasetID) *sweepState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stateLocked(ds)
}

func (s *sweepTable) stateLocked(ds object.DatasetID) *sweepState {
	if s.rows == nil {
		s.rows = map[object.DatasetID]*sweepState{}
	}
	st := s.rows[ds]
	if st == nil {
		st = &sweepState{changes: 1}
		s.rows[ds] = st
	}
	return st
}

func (s *sweepTable) changed(ds object.DatasetID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stateLocked(ds).changes++
}

// RequestKept is how long request rows are kept, in epochs: ten minutes.
const RequestKept = object.Epoch(600*1_000_000) << 12

// Sweep drops what no epoch in keep, nor any at or above floor, can see. It
// goes over the dataset once: requests, single values, arrays, object punches;
// then it unlinks segments that nothing refers to and rewrites sparse ones.
func (t *Target) Sweep(ctx context.Context, ds object.DatasetID, keep []object.Epoch, floor object.Epoch) (target.SweepStats, error) {
	if err := t.enter(); err != nil {
		return target.SweepStats{}, err
	}
	defer t.leave()
	if err := t.guard.Failed(); err != nil {
		return target.SweepStats{}, err
	}
	st := t.sweeps.state(ds)
	st.running.Lock()
	defer st.running.Unlock()
	t.sweeps.mu.Lock()
	changes, idle := st.changes, st.clean && st.swept == st.changes
	t.sweeps.mu.Unlock()
	if idle {
		return target.SweepStats{}, nil
	}
	// What hides an older version must not be lost after that is dropped.
	if err := t.syncDeferred(); err != nil {
		return target.SweepStats{}, err
	}
	s := &sweep{t: t, ctx: ctx, ds: ds, keep: keep, floor: floor, live: map[uint64]uint64{}, oldest: map[punchKey]version{}}
	err := s.run()
	if err == nil {
		t.sweeps.mu.Lock()
		st.swept, st.clean = changes, !s.left
		t.sweeps.mu.Unlock()
	}
	return s.stats, err
}

// sweep is one pass over a dataset.
type sweep struct {
	t     *Target
	ctx   context.Context
	ds    object.DatasetID
	keep  []object.Epoch
	floor object.Epoch
	stats target.SweepStats

	batch *pebble.Batch
	freed object.Usage
	drops []target.Place // object punches in batch

	live   map[uint64]uint64    // bytes that live records hold, by segment
	oldest map[punchKey]version // oldest survivor of objects that have punches
	left   bool                 // something may be dropped by a later sweep

	// Where the pass is: see rows.
	head    []byte // object
	place   target.Place
	objects []version // its punches, newest first
	dkey    []byte
	dkeys   []version // punches of the dkey, newest first
	dkeyMin version   // oldest survivor in the dkey
	akey    []byte
	chain   []chainRow // versions of a single value, or of one chunk
	chunk   []byte
	holes   []holeRow
	paint   painter
	merges  merging
}

// chainRow is one version in the namespace or of a chunk.
type chainRow struct {
	version
	typ      byte
	length   uint64
	segment  uint64
	lo, hi   uint64 // of the array
	survives bool
}

// holeRow is a punch of an akey or of a range in the extents plane.
type holeRow struct {
	hole
	whole bool // of the akey
	hides bool // an older record survives below it
}

func (s *sweep) run() error {
	t := s.t
	s.batch = t.db.NewBatch()
	defer func() { _ = s.batch.Close() }()
	defer s.dropMerges()
	all, err := t.segs.Numbers(uint64(s.ds))
	if err != nil {
		return err
	}
	var idle, busy []uint64
	for _, n := range all {
		// Only what no writer is in the middle of: from here on nothing new
		// can come to refer to these.
		if t.segs.Busy(uint64(s.ds), n) {
			busy = append(busy, n)
		} else {
			idle = append(idle, n)
		}
	}
	if err := s.requests(); err != nil {
		return err
	}
	for _, plane := range []byte{planeName, planeExtent} {
		if err := s.rows(plane); err != nil {
			return err
		}
	}
	if err := s.flushMerges(); err != nil {
		return err
	}
	if err := s.objectPunches(); err != nil {
		return err
	}
	if err := s.flush(true); err != nil {
		return err
	}
	if err := s.segments(idle); err != nil {
		return err
	}
	for _, n := range busy {
		// One that still takes records but holds little that lives is closed,
		// so that the next sweep can have it.
		if t.segs.Retire(uint64(s.ds), n, s.live[n]) {
			s.left = true
		}
	}
	return nil
}

// needed reports whether something that shows from epoch e until next (which
// hides it) is in the sight of any reader.
func (s *sweep) needed(e, next object.Epoch) bool {
	if next > s.floor {
		return true
	}
	for _, k := range s.keep {
		if k >= next {
			break
		}
		if k >= e {
			return true
		}
	}
	return false
}

// above is the oldest of the punches (newest first) that hides v, or next.
func above(v version, next object.Epoch, punches []version) object.Epoch {
	for _, p := range punches {
		if !p.newer(v) {
			break
		}
		next = min(next, p.epoch)
	}
	return next
}

const sweepStep = 1000 // deletes in one batch

func (s *sweep) drop(key []byte) error {
	if err := s.batch.Delete(key, nil); err != nil {
		return s.t.indexError("vos.sweep", err)
	}
	if s.batch.Count() >= sweepStep {
		return s.flush(false)
	}
	return nil
}

// dropRow drops a version: base is its key without the version.
func (s *sweep) dropRow(base []byte, v version, typ byte, length uint64) error {
	s.stats.Versions++
	if typ == typeInline || typ == typeSegment {
		s.stats.Bytes += int64(length)
		s.freed.Bytes -= int64(length)
		s.freed.Records--
	}
	return s.drop(appendVersion(bytes.Clone(base), v))
}

// flush applies the deletes so far, with the usage that they free.
func (s *sweep) flush(sync bool) error {
	if err := s.ctx.Err(); err != nil {
		return fault.Wrap(err, "vos.sweep", s.t.opts.Dir)
	}
	mode := pebble.NoSync
	if sync {
		// Before a segment is unlinked no log may bring back what referred to it.
		mode = pebble.Sync
	}
	if s.freed != (object.Usage{}) {
		if err := mergeUsage(s.batch, s.ds, s.freed); err != nil {
			return s.t.indexError("vos.sweep", err)
		}
	}
	var err error
	if s.batch.Empty() {
		if !sync {
			return nil
		}
		err = s.t.syncLog()
	} else {
		err = s.t.apply(s.batch, mode)
	}
	if err := s.t.applied(err); err != nil {
		return err
	}
	s.t.usage.add(s.ds, s.freed)
	for _, p := range s.drops {
		s.t.punches.remove(p)
	}
	s.freed, s.drops = object.Usage{}, s.drops[:0]
	_ = s.batch.Close()
	s.batch = s.t.db.NewBatch()
	return nil
}

// requests drops the request rows that are older than ten minutes before the
// newest epoch known.
func (s *sweep) requests() error {
	now := max(s.floor, object.Epoch(s.t.newest.Load()))
	return s.t.eachRow(appendDataset(nil, s.ds, planeRequest), func(k, v []byte) error {
		if len(v) < 8 {
			return s.t.badKey("vos.sweep", k)
		}
		if e := object.Epoch(binary.BigEndian.Uint64(v)); e > now || now-e <= RequestKept {
			s.left = true
			return nil
		}
		return s.drop(bytes.Clone(k))
	})
}

// iteratorRows is how many rows one iterator serves: it keeps files alive that
// compactions have replaced.
const iteratorRows = 1 << 17

// rows goes over a plane and closes akeys, dkeys and objects as it leaves them.
func (s *sweep) rows(plane byte) error {
	prefix := appendDataset(nil, s.ds, plane)
	end := keyEnd(prefix)
	s.head, s.dkey, s.akey = s.head[:0], s.dkey[:0], s.akey[:0]
	lower := prefix
	for lower != nil {
		it, err := s.t.newIter(iterOptions(lower, end))
		if err != nil {
			return s.t.indexError("vos.sweep", err)
		}
		lower, err = s.some(it, plane)
		if cerr := it.Close(); err == nil {
			err = s.t.indexError("vos.sweep", cerr)
		}
		if err != nil {
			return err
		}
	}
	return s.leaveObject()
}

// some takes rows from it; next is where to go on, nil at the end.
func (s *sweep) some(it *pebble.Iterator, plane byte) (next []byte, err error) {
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		if n++; n > iteratorRows {
			return bytes.Clone(it.Key()), nil
		}
		if n%ctxEvery == 0 {
			if err := s.ctx.Err(); err != nil {
				return nil, fault.Wrap(err, "vos.sweep", s.t.opts.Dir)
			}
		}
		k := it.Key()
		p, ok := parseKey(k)
		if !ok {
			return nil, s.t.badKey("vos.sweep", k)
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return nil, s.t.indexError("vos.sweep", err)
		}
		r, ok := decodeRecord(v, plane == planeExtent)
		if !ok {
			return nil, s.t.badKey("vos.sweep", k)
		}
		if err := s.row(k, p, r); err != nil {
			return nil, err
		}
	}
	return nil, s.t.indexError("vos.sweep", it.Error())
}

func (s *sweep) row(k []byte, p parsed, r record) error {
	if !bytes.Equal(k[:headSize], s.head) {
		if err := s.leaveObject(); err != nil {
			return err
		}
		if err := s.enterObject(k, p.place); err != nil {
			return err
		}
	}
	if len(s.dkey) == 0 || !bytes.Equal(k[:p.dkeyEnd], s.dkey) {
		if err := s.leaveDkey(); err != nil {
			return err
		}
		s.dkey = append(s.dkey[:0], k[:p.dkeyEnd]...)
	}
	if p.tag == tagDkey {
		s.dkeys = append(s.dkeys, p.version)
		return nil
	}
	akey := k[:p.dkeyEnd+1+len(p.akey)]
	if len(s.akey) == 0 || !bytes.Equal(akey, s.akey) {
		if err := s.leaveAkey(); err != nil {
			return err
		}
		s.akey = append(s.akey[:0], akey...)
	}
	if p.plane == planeExtent {
		if p.sub == subHole {
			s.holes = append(s.holes, holeRow{hole: hole{r.offset, r.end(), p.version}, whole: r.typ == typePunch})
			return nil
		}
		if base := k[:p.verAt]; !bytes.Equal(base, s.chunk) {
			if err := s.leaveChunk(); err != nil {
				return err
			}
			s.chunk = append(s.chunk[:0], base...)
		}
	}
	s.chain = append(s.chain, chainRow{
		version: p.version, typ: r.typ, length: r.length, segment: r.segment, lo: r.offset, hi: r.end(),
	})
	return nil
}

func (s *sweep) enterObject(k []byte, p target.Place) error {
	s.head = append(s.head[:0], k[:headSize]...)
	s.place, s.objects = p, s.objects[:0]
	if !s.t.punches.has(p) {
		return nil
	}
	return s.t.eachRow(appendHead(nil, planePunch, p), func(k, _ []byte) error {
		s.objects = append(s.objects, versionOf(k))
		return nil
	})
}

func (s *sweep) leaveObject() error {
	if err := s.leaveDkey(); err != nil {
		return err
	}
	s.head = s.head[:0]
	return nil
}

// survivor notes a version that stays.
func (s *sweep) survivor(r *chainRow) {
	r.survives = true
	if r.typ == typeSegment {
		s.live[r.segment] += r.length
	}
	if r.typ == typePunch {
		return
	}
	if s.dkeyMin == (version{}) || s.dkeyMin.newer(r.version) {
		s.dkeyMin = r.version
	}
	if len(s.objects) > 0 {
		k := keyOfPunch(s.place)
		if o, ok := s.oldest[k]; !ok || o.newer(r.version) {
			s.oldest[k] = r.version
		}
	}
}

func (s *sweep) leaveDkey() error {
	if err := s.leaveAkey(); err != nil {
		return err
	}
	if len(s.dkeys) > 0 {
		base := append(bytes.Clone(s.dkey), tagDkey)
		if err := s.dropPunches(base, s.dkeys, s.objects, s.dkeyMin); err != nil {
			return err
		}
	}
	s.dkey, s.dkeys, s.dkeyMin = s.dkey[:0], s.dkeys[:0], version{}
	return nil
}

// dropPunches drops those of a list of punches (newest first) that hide
// nothing from anybody. oldest is the oldest survivor below them, zero if none.
func (s *sweep) dropPunches(base []byte, list, higher []version, oldest version) error {
	for i, p := range list {
		next := above(p, object.EpochMax, higher)
		if i > 0 {
			next = min(next, list[i-1].epoch)
		}
		hides := oldest != (version{}) && p.newer(oldest)
		if p.epoch > s.floor || hides && s.needed(p.epoch, next) {
			s.left = true
			continue
		}
		if err := s.dropRow(base, p, typePunch, 0); err != nil {
			return err
		}
	}
	return nil
}

func (s *sweep) leaveAkey() error {
	if len(s.akey) == 0 {
		return nil
	}
	var err error
	if s.akey[8] == planeName {
		err = s.leaveChain()
	} else {
		err = s.leaveArray()
	}
	s.akey = s.akey[:0]
	return err
}

// leaveChain decides over the versions of a single value.
func (s *sweep) leaveChain() error {
	next := object.EpochMax
	for i := range s.chain {
		r := &s.chain[i]
		if s.needed(r.epoch, above(r.version, above(r.version, next, s.dkeys), s.objects)) {
			s.survivor(r)
		}
		next = r.epoch
	}
	// A punch stays only above something that stays.
	data := false
	for i := len(s.chain) - 1; i >= 0; i-- {
		r := &s.chain[i]
		if r.typ != typePunch {
			data = data || r.survives
		} else if r.survives && !data && r.epoch <= s.floor {
			r.survives = false
		}
	}
	kept := 0
	for i := range s.chain {
		if s.chain[i].survives {
			kept++
			s.left = s.left || s.chain[i].typ == typePunch
		}
	}
	s.left = s.left || kept > 1
	return s.dropChain(s.akey)
}

// dropChain drops the rows that do not survive and begins a new chain.
func (s *sweep) dropChain(base []byte) error {
	for _, r := range s.chain {
		if r.survives {
			continue
		}
		if err := s.dropRow(base, r.version, r.typ, r.length); err != nil {
			return err
		}
	}
	s.chain = s.chain[:0]
	return nil
}

// objectPunches drops the object punches that hide nothing from anybody.
func (s *sweep) objectPunches() error {
	var list []version
	var place target.Place
	var head []byte
	done := func() error {
		if len(list) == 0 {
			return nil
		}
		before := s.stats.Versions
		err := s.dropPunches(head, list, nil, s.oldest[keyOfPunch(place)])
		for range s.stats.Versions - before {
			s.drops = append(s.drops, place)
		}
		list = list[:0]
		return err
	}
	err := s.t.eachRow(appendDataset(nil, s.ds, planePunch), func(k, _ []byte) error {
		p, ok := parseKey(k)
		if !ok {
			return s.t.badKey("vos.sweep", k)
		}
		if !bytes.Equal(head, k[:headSize]) {
			if err := done(); err != nil {
				return err
			}
			head, place = append(head[:0], k[:headSize]...), p.place
		}
		list = append(list, p.version)
		return nil
	})
	if err != nil {
		return err
	}
	return done()
}
