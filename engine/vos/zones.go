package vos

import (
	"bytes"
	"context"
	"sort"
	"sync"

	"daos/engine/object"
	"daos/engine/target"
	"daos/internal/fault"
)

// Zones are what a scan of marked rows (object.Marker) leaves out. A zone is a
// stretch of the namespace plane of a dataset, cut between dkeys, with the bounds
// of the marks of all versions in it: whatever the epoch, a zone whose bounds do
// not meet what is wanted shows no such row. All of a key and the punches of its
// dkey are in one zone, so that no version is seen without what hides it.
//
// pebble has bounds for each block (block properties), but lets them depend on
// keys alone, and marks are in the values. So zones are kept in memory: the first
// scan of a dataset after a start makes them by one pass over it, and from then on
// every batch widens those that it writes into, before its versions can be seen.
// They are never narrowed; after many writes they are made anew.
const (
	zoneRows  = 256     // versions, at first
	maxZones  = 1 << 16 // of a dataset: beyond, neighbours are joined
	allZones  = 1 << 17 // of all datasets of a target
	maxLate   = 1 << 16 // marks written while zones are made
	freshRows = 4096    // written before zones are made anew, and half of their rows
)

// zoneTable is the zones of all datasets of a target. Its mu is taken before that
// of a zoneMap, never while that is held.
type zoneTable struct {
	// writing is held shared from before a batch's marks are noted until its
	// versions are in the index, and alone when zones begin to be kept: a batch is
	// seen by the pass that makes them, or it notes its marks.
	writing sync.RWMutex

	mu    sync.Mutex
	maps  map[object.DatasetID]*zoneMap
	clock uint64
}

// zoneMap is the zones of one dataset.
type zoneMap struct {
	making chan struct{} // holds one token: for whoever makes them

	mu     sync.RWMutex
	ready  bool
	failed bool     // more was written than is remembered while they are made
	starts [][]byte // the first is the beginning of the plane
	spans  []object.Span
	rows   int // when they were made
	noted  int // since then
	late   []lateMark

	used uint64 // by zoneTable.mu
}

type lateMark struct {
	key  []byte
	span object.Span
}

// nothing is the bounds of no marks; it meets no span.
var nothing = object.Span{Min: 1<<63 - 1, Max: -1 << 63} //nolint:gochecknoglobals // a constant

func join(a, b object.Span) object.Span {
	return object.Span{Min: min(a.Min, b.Min), Max: max(a.Max, b.Max)}
}

// of is the zones of a dataset, made if there are none.
func (t *Target) zonesOf(ctx context.Context, ds object.DatasetID) (*zoneMap, error) {
	z := t.zones.get(ds)
	select {
	case <-z.making:
	case <-ctx.Done():
		return nil, fault.Wrap(ctx.Err(), "vos.scan", t.opts.Dir)
	}
	defer func() { z.making <- struct{}{} }()
	if z.isReady() {
		return z, nil
	}
	if err := t.makeZones(ctx, ds, z); err != nil {
		return nil, err
	}
	if !z.isReady() {
		t.zones.drop(ds)
		return nil, nil
	}
	t.zones.bound(ds)
	return z, nil
}

func (z *zoneMap) isReady() bool {
	z.mu.RLock()
	defer z.mu.RUnlock()
	return z.ready
}

// get is the zones of a dataset, ready or not.
func (s *zoneTable) get(ds object.DatasetID) *zoneMap {
	s.mu.Lock()
	z := s.maps[ds]
	if z != nil {
		s.clock++
		z.used = s.clock
	}
	s.mu.Unlock()
	if z != nil {
		return z
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if z = s.maps[ds]; z == nil {
		s.clock++
		z = &zoneMap{making: make(chan struct{}, 1), used: s.clock}
		z.making <- struct{}{}
		if s.maps == nil {
			s.maps = map[object.DatasetID]*zoneMap{}
		}
		s.maps[ds] = z
	}
	return z
}

// drop forgets zones. Scans that have them go on: they read at epochs that were
// closed before.
func (s *zoneTable) drop(ds object.DatasetID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.maps, ds)
}

// bound forgets the zones that were used longest ago, but those of ds, until
// there are few enough.
func (s *zoneTable) bound(ds object.DatasetID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		total, oldest := 0, ds
		for k, z := range s.maps {
			z.mu.RLock()
			total += 1 + len(z.starts)
			z.mu.RUnlock()
			if k != ds && (oldest == ds || z.used < s.maps[oldest].used) {
				oldest = k
			}
		}
		if total <= allZones || oldest == ds {
			return
		}
		delete(s.maps, oldest)
	}
}

// note widens the zones that a batch writes into. The caller holds writing.
func (s *zoneTable) note(mark object.Marker, b *target.Batch) {
	s.mu.Lock()
	z := s.maps[b.Dataset]
	s.mu.Unlock()
	if z != nil && z.note(mark, b) {
		s.drop(b.Dataset)
	}
}

// note reports whether the zones have had their day.
func (z *zoneMap) note(mark object.Marker, b *target.Batch) (worn bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	for i := range b.Writes {
		w := &b.Writes[i]
		if w.Op != object.OpPut {
			continue
		}
		value := w.Data
		if len(value) > object.InlineMax {
			value = nil
		}
		span, ok := mark(w.OID, w.Dkey, w.Akey, value)
		if !ok {
			continue
		}
		key, _ := appendAkey(nil, planeName, target.Place{Dataset: b.Dataset, Hash: w.Hash, OID: w.OID, Group: w.Group}, w.Dkey, w.Akey)
		if z.ready {
			z.widen(key, span)
		} else if z.late = append(z.late, lateMark{key, span}); len(z.late) > maxLate {
			z.late, z.failed = nil, true
		}
	}
	z.noted += len(b.Writes)
	return z.ready && z.noted > z.rows/2+freshRows || z.failed
}

// widen takes a mark into its zone.
func (z *zoneMap) widen(key []byte, span object.Span) {
	i := sort.Search(len(z.starts), func(i int) bool { return bytes.Compare(z.starts[i], key) > 0 }) - 1
	z.spans[i] = join(z.spans[i], span)
}

// makeZones passes over all versions of a dataset. Zones that can't be made
// because of what is written meanwhile stay unready.
func (t *Target) makeZones(ctx context.Context, ds object.DatasetID, z *zoneMap) error {
	lower := appendDataset(nil, ds, planeName)
	it, err := t.newIter(iterOptions(lower, appendDataset(nil, ds, planeName+1)))
	if err != nil {
		return t.indexError("vos.scan", err)
	}
	defer it.Close()
	starts, spans := [][]byte{lower}, []object.Span{nothing}
	per, have, rows := zoneRows, 0, 0
	var dkey, dbuf, abuf []byte
	for ok := it.First(); ok; ok = it.Next() {
		if rows++; rows%ctxEvery == 0 {
			if err := ctx.Err(); err != nil {
				return fault.Wrap(err, "vos.scan", t.opts.Dir)
			}
		}
		k := it.Key()
		p, good := parseKey(k)
		if !good {
			return t.badKey("vos.scan", k)
		}
		if have >= per && !bytes.HasPrefix(k, dkey) {
			if len(starts) == maxZones {
				starts, spans = halve(starts, spans)
				per *= 2
			}
			starts, spans = append(starts, bytes.Clone(k[:p.dkeyEnd])), append(spans, nothing)
			have = 0
		}
		if have++; have >= per {
			dkey = append(dkey[:0], k[:p.dkeyEnd]...)
		}
		if p.tag == tagDkey {
			continue
		}
		r, err := t.recordAt(it, false)
		if err != nil {
			return err
		}
		if r.typ == typePunch {
			continue
		}
		var d, a []byte
		d, dbuf = unescape(dbuf, p.dkey)
		a, abuf = unescape(abuf, p.akey)
		if span, ok := t.opts.Marker(p.place.OID, d, a, r.payload); ok {
			last := &spans[len(spans)-1]
			*last = join(*last, span)
		}
	}
	if err := t.indexError("vos.scan", it.Error()); err != nil {
		return err
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.failed {
		return nil
	}
	z.starts, z.spans, z.rows, z.noted, z.ready = starts, spans, rows, 0, true
	for _, l := range z.late {
		z.widen(l.key, l.span)
	}
	z.late = nil
	return nil
}

// halve joins each two neighbours.
func halve(starts [][]byte, spans []object.Span) ([][]byte, []object.Span) {
	n := 0
	for i := 0; i < len(starts); i += 2 {
		starts[n], spans[n] = starts[i], spans[i]
		if i+1 < len(starts) {
			spans[n] = join(spans[i], spans[i+1])
		}
		n++
	}
	return starts[:n], spans[:n]
}

// stretch is a range of keys.
type stretch struct{ lower, upper []byte }

// within is what is left of a range of keys, neighbours together.
func (z *zoneMap) within(lower, upper []byte, want object.Span) (out []stretch) {
	z.mu.RLock()
	defer z.mu.RUnlock()
	i := sort.Search(len(z.starts), func(i int) bool { return bytes.Compare(z.starts[i], lower) > 0 }) - 1
	for i = max(i, 0); i < len(z.starts) && bytes.Compare(z.starts[i], upper) < 0; i++ {
		if !z.spans[i].Meets(want) {
			continue
		}
		from, to := z.starts[i], upper
		if bytes.Compare(from, lower) < 0 {
			from = lower
		}
		if i+1 < len(z.starts) && bytes.Compare(z.starts[i+1], upper) < 0 {
			to = z.starts[i+1]
		}
		if n := len(out); n > 0 && bytes.Equal(out[n-1].upper, from) {
			out[n-1].upper = to
		} else {
			out = append(out, stretch{from, to})
		}
	}
	return out
}

// ScanMarked is Scan of the rows whose marks meet want.
func (t *Target) ScanMarked(ctx context.Context, ds object.DatasetID, at object.Epoch, from, to uint32, resume []byte, want object.Span,
	fn func(r object.Row, pos []byte) bool) error {
	if err := t.enter(); err != nil {
		return err
	}
	defer t.leave()
	if t.opts.Marker == nil {
		return fault.New(fault.Unsupported, "vos.scan", t.opts.Dir, "this target keeps no marks")
	}
	if to < from {
		return nil
	}
	lower, upper := scanBounds(ds, from, to)
	s := scanner{t: t, at: at}
	if resume != nil {
		if err := s.resume(resume, ds, lower, upper); err != nil {
			return err
		}
		lower = keyEnd(resume[:len(resume)-versionSize])
	}
	z, err := t.zonesOf(ctx, ds)
	if err != nil {
		return err
	}
	todo := []stretch{{lower, upper}}
	if z != nil {
		todo = z.within(lower, upper, want)
	}
	stopped := false
	for _, x := range todo {
		if !bytes.Equal(x.lower, lower) { // at the beginning of a dkey
			s = scanner{t: t, at: at}
		}
		err := s.run(ctx, x.lower, x.upper, func(r object.Row, pos []byte) bool {
			if span, ok := t.opts.Marker(r.OID, r.Dkey, r.Akey, r.Value); !ok || !span.Meets(want) {
				return true
			}
			stopped = !fn(r, pos)
			return !stopped
		})
		if err != nil || stopped {
			return err
		}
	}
	return nil
}

var _ target.MarkScanner = (*Target)(nil)
