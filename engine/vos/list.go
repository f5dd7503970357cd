package vos

import (
	"bytes"
	"context"

	"github.com/cockroachdb/pebble/v2"

	"daos/engine/object"
	"daos/engine/target"
	"daos/internal/fault"
)

func iterOptions(lower, upper []byte) *pebble.IterOptions {
	return &pebble.IterOptions{LowerBound: lower, UpperBound: upper}
}

// ctxEvery is how many rows pass between two looks at a context.
const ctxEvery = 256

// bounds turns list options into a range of dkeys of one group in a plane.
func bounds(plane byte, p target.Place, o object.ListOptions) (lower, upper []byte) {
	head := appendHead(nil, plane, p)
	lower, upper = bytes.Clone(head), keyEnd(head)
	if o.From != nil {
		lower = appendEscaped(bytes.Clone(head), o.From)
	}
	if o.To != nil {
		upper = appendEscaped(bytes.Clone(head), o.To)
	}
	if o.Prefix != nil {
		// The escaped form without its end is the start of all that begin so.
		e := appendEscaped(bytes.Clone(head), o.Prefix)
		e = e[:len(e)-2]
		if bytes.Compare(e, lower) > 0 {
			lower = e
		}
		if end := keyEnd(e); bytes.Compare(end, upper) < 0 {
			upper = end
		}
	}
	if o.After != nil {
		e := appendEscaped(bytes.Clone(head), o.After)
		if o.Reverse {
			if bytes.Compare(e, upper) < 0 {
				upper = e
			}
		} else {
			lower = keyEnd(e) // After wins over From
			if o.Prefix != nil {
				if pre := appendEscaped(bytes.Clone(head), o.Prefix); bytes.Compare(pre[:len(pre)-2], lower) > 0 {
					lower = pre[:len(pre)-2]
				}
			}
		}
	}
	return lower, upper
}

// List walks the single values of one redundancy group in key order, or in
// falling order; then After means "below this dkey".
func (t *Target) List(ctx context.Context, at object.Epoch, p target.Place, o object.ListOptions, fn func(object.Item) bool) error {
	if err := t.enter(); err != nil {
		return err
	}
	defer t.leave()
	lower, upper := bounds(planeName, p, o)
	if bytes.Compare(lower, upper) >= 0 {
		return nil
	}
	cover, err := t.objectCover(at, p)
	if err != nil {
		return err
	}
	it, err := t.newIter(iterOptions(lower, upper))
	if err != nil {
		return t.indexError("vos.list", err)
	}
	l := lister{t: t, it: it, ctx: ctx, at: at, o: o, ds: p.Dataset, objectCover: cover, fn: fn}
	defer it.Close()
	if o.Akey != nil {
		l.akey = appendEscaped(nil, o.Akey)
	}
	if o.Reverse {
		return l.backward()
	}
	return l.forward()
}

type lister struct {
	t           *Target
	it          *pebble.Iterator
	ctx         context.Context
	at          object.Epoch
	o           object.ListOptions
	ds          object.DatasetID
	objectCover version
	fn          func(object.Item) bool

	akey    []byte // escaped filter, nil: all
	dkey    []byte // prefix of the dkey being walked
	cover   version
	n       int
	dbuf    []byte
	abuf    []byte
	value   []byte
	stopped bool
}

func (l *lister) tick(rows int) error {
	if rows%ctxEvery == 0 {
		if err := l.ctx.Err(); err != nil {
			return fault.Wrap(err, "vos.list", l.t.opts.Dir)
		}
	}
	return nil
}

func (l *lister) forward() error {
	var decided []byte
	for rows, ok := 0, l.it.First(); ok; rows, ok = rows+1, l.it.Next() {
		if err := l.tick(rows); err != nil {
			return err
		}
		k := l.it.Key()
		base := k[:len(k)-versionSize]
		if bytes.Equal(base, decided) {
			continue
		}
		v := versionOf(k)
		if v.epoch > l.at {
			continue
		}
		if l.dkey == nil || !bytes.HasPrefix(k, l.dkey) {
			l.dkey = append(l.dkey[:0], k[:split(k)]...)
			l.cover = l.objectCover
		}
		decided = append(decided[:0], base...)
		if k[len(l.dkey)] == tagDkey {
			if v.newer(l.cover) {
				l.cover = v
			}
			continue
		}
		if err := l.emit(k, v, l.it); err != nil || l.stopped {
			return err
		}
	}
	return l.t.indexError("vos.list", l.it.Error())
}

// emit hands on the version at k unless it is hidden or filtered away.
func (l *lister) emit(k []byte, v version, it *pebble.Iterator) error {
	akey := k[len(l.dkey)+1 : len(k)-versionSize]
	if l.akey != nil && !bytes.Equal(akey, l.akey) || l.cover.newer(v) {
		return nil
	}
	r, err := l.t.recordAt(it, false)
	if err != nil || r.typ == typePunch {
		return err
	}
	return l.item(l.dkey[headSize:], akey, v, r, k)
}

func (l *lister) item(dkey, akey []byte, v version, r record, key []byte) error {
	it := object.Item{Epoch: v.epoch, Size: r.length}
	it.Dkey, l.dbuf = unescape(l.dbuf, dkey)
	it.Akey, l.abuf = unescape(l.abuf, akey)
	switch {
	case r.typ == typeInline:
		it.Value = r.payload
	case !l.o.KeysOnly && !l.o.Records:
		if uint64(cap(l.value)) < r.length {
			l.value = make([]byte, r.length)
		}
		it.Value = l.value[:r.length]
		if err := l.t.readVerified(l.ds, r.object(l.t.opts.ID), 0, it.Value, key); err != nil {
			return nameKey(err, key)
		}
	}
	if l.o.Records {
		it.Record = r.object(l.t.opts.ID)
	}
	l.n++
	l.stopped = !l.fn(it) || l.o.Limit > 0 && l.n >= l.o.Limit
	return nil
}

// backward meets the versions of an akey oldest first and the punches of a
// dkey last; so it asks for those when it comes to a dkey, and remembers the
// newest version that shows until the akey changes.
func (l *lister) backward() error {
	c, err := l.t.wideCursor()
	if err != nil {
		return err
	}
	defer c.close()
	var base, key, val []byte // the candidate
	have := false
	flush := func() error {
		if !have {
			return nil
		}
		have = false
		v := versionOf(key)
		akey := key[len(l.dkey)+1 : len(key)-versionSize]
		if l.akey != nil && !bytes.Equal(akey, l.akey) || l.cover.newer(v) {
			return nil
		}
		r, ok := decodeRecord(val, false)
		if !ok {
			return l.t.badKey("vos.list", key)
		}
		if r.typ == typePunch {
			return nil
		}
		return l.item(l.dkey[headSize:], akey, v, r, key)
	}
	for rows, ok := 0, l.it.Last(); ok; rows, ok = rows+1, l.it.Prev() {
		if err := l.tick(rows); err != nil {
			return err
		}
		k := l.it.Key()
		if !bytes.Equal(k[:len(k)-versionSize], base) {
			if err := flush(); err != nil || l.stopped {
				return err
			}
			base = append(base[:0], k[:len(k)-versionSize]...)
		}
		if l.dkey == nil || !bytes.HasPrefix(k, l.dkey) {
			l.dkey = append(l.dkey[:0], k[:split(k)]...)
			if l.cover, err = c.dkeyCover(l.at, l.dkey, l.objectCover); err != nil {
				return err
			}
		}
		if k[len(l.dkey)] == tagDkey || versionOf(k).epoch > l.at {
			continue
		}
		if _, err := l.t.recordAt(l.it, false); err != nil { // verifies
			return err
		}
		v, err := l.it.ValueAndErr()
		if err != nil {
			return l.t.indexError("vos.list", err)
		}
		key, val, have = append(key[:0], k...), append(val[:0], v...), true
	}
	if err := l.t.indexError("vos.list", l.it.Error()); err != nil {
		return err
	}
	return flush()
}

// ListArrays walks the arrays of one group that have visible bytes, in key order.
func (t *Target) ListArrays(ctx context.Context, at object.Epoch, p target.Place, o object.ListOptions, fn func(dkey, akey []byte) bool) error {
	if err := t.enter(); err != nil {
		return err
	}
	defer t.leave()
	if o.Reverse {
		return fault.New(fault.Unsupported, "vos.listarrays", p.OID.String(), "arrays are listed in rising order only")
	}
	cover, err := t.objectCover(at, p)
	if err != nil {
		return err
	}
	c, err := t.wideCursor()
	if err != nil {
		return err
	}
	defer c.close()
	lower, upper := bounds(planeExtent, p, o)
	n := 0
	return t.eachArrayIn(at, lower, upper, func(dkey, akey []byte) (bool, error) {
		if err := ctx.Err(); err != nil {
			return false, fault.Wrap(err, "vos.listarrays", t.opts.Dir)
		}
		if o.Akey != nil && !bytes.Equal(akey, o.Akey) {
			return true, nil
		}
		end, err := c.arrayEnd(at, p, cover, dkey, akey)
		if err != nil || end == 0 {
			return true, err
		}
		n++
		return fn(dkey, akey) && (o.Limit == 0 || n < o.Limit), nil
	})
}

// eachArray walks the akeys that have extent records under one escaped dkey.
func (t *Target) eachArray(at object.Epoch, p target.Place, dkey, _ []byte, fn func(dkey, akey []byte) (bool, error)) error {
	lower := append(appendHead(nil, planeExtent, p), dkey...)
	return t.eachArrayIn(at, lower, keyEnd(lower), fn)
}

// eachArrayIn walks the arrays that have extent records at or below an epoch in
// a range of keys, whether or not anything of them shows.
func (t *Target) eachArrayIn(at object.Epoch, lower, upper []byte, fn func(dkey, akey []byte) (bool, error)) error {
	if bytes.Compare(lower, upper) >= 0 {
		return nil
	}
	it, err := t.newIter(iterOptions(lower, upper))
	if err != nil {
		return t.indexError("vos.list", err)
	}
	defer it.Close()
	var dbuf, abuf []byte
	for ok := it.First(); ok; {
		k := it.Key()
		p, good := parseKey(k)
		if !good {
			return t.badKey("vos.list", k)
		}
		if p.tag == tagDkey || p.sub == subHole || p.version.epoch > at {
			ok = it.Next()
			continue
		}
		next := keyEnd(k[:p.dkeyEnd+1+len(p.akey)])
		var dkey, akey []byte
		dkey, dbuf = unescape(dbuf, p.dkey)
		akey, abuf = unescape(abuf, p.akey)
		more, err := fn(dkey, akey)
		if err != nil || !more {
			return err
		}
		ok = it.SeekGE(next)
	}
	return t.indexError("vos.list", it.Error())
}
