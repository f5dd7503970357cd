package vos

import (
	"bytes"
	"context"

	"daos/engine/object"
	"daos/internal/fault"
)

// ScanExtents is one linear pass over the extents plane of a dataset: the
// visible pieces of each array with an akey. See object.ExtentScanner.
func (t *Target) ScanExtents(ctx context.Context, ds object.DatasetID, at object.Epoch, akey []byte,
	fn func(oid object.ID, dkey []byte, xs []object.Extent) bool) error {
	if err := t.enter(); err != nil {
		return err
	}
	defer t.leave()
	it, err := t.newIter(iterOptions(appendDataset(nil, ds, planeExtent), appendDataset(nil, ds, planeExtent+1)))
	if err != nil {
		return t.indexError("vos.scan", err)
	}
	defer it.Close()
	s := scanner{t: t, at: at}
	c := cursor{t, it}
	want := appendEscaped([]byte{tagAkey}, akey)
	var a array
	var xs []object.Extent
	rows := 0
	for ok := it.First(); ok; {
		if rows++; rows%ctxEvery == 0 {
			if err := ctx.Err(); err != nil {
				return fault.Wrap(err, "vos.scan", t.opts.Dir)
			}
		}
		k := it.Key()
		if !s.sameDkey(k) {
			if err := s.enter(k); err != nil {
				return err
			}
		}
		rest := k[len(s.dkey):]
		if rest[0] == tagDkey {
			if v := versionOf(k); v.epoch <= at && v.newer(s.cover) {
				s.cover = v
			}
			ok = it.Next()
			continue
		}
		if !bytes.HasPrefix(rest, want) {
			ok = it.Next()
			continue
		}
		a.prefix = append(a.prefix[:0], k[:len(s.dkey)+len(want)]...)
		if ok, err = c.scanHoles(&a, at, s.cover); err != nil {
			return err
		}
		xs = xs[:0]
		for ok && a.owns(it.Key()) {
			chunk := a.chunkOf(it.Key())
			if ok, err = c.loadChunk(&a, at, chunk); err != nil {
				return err
			}
			a.paint.reset(chunkSpan(chunk))
			a.paint.overlay(at, &a.holes, len(a.recs), a.span)
			for _, p := range a.paint.pieces() {
				r := a.recs[p.at]
				xs = appendExtent(xs, object.Extent{
					Offset: p.lo, Length: p.hi - p.lo, Skip: p.lo - r.rec.offset, Record: r.rec.object(t.opts.ID),
				})
			}
		}
		if len(xs) > 0 && !fn(s.place.OID, s.name, xs) {
			return nil
		}
	}
	return c.err()
}

// scanHoles gathers the punches of the array under the cursor and leaves it
// behind them.
func (c cursor) scanHoles(a *array, at object.Epoch, cover version) (ok bool, err error) {
	a.holes.cover, a.holes.list = cover, a.holes.list[:0]
	hidden := false // by a newer punch, as all that follow
	for ok = true; ok; ok = c.it.Next() {
		k := c.it.Key()
		if !a.owns(k) || k[len(a.prefix)] != subHole {
			break
		}
		v := versionOf(k)
		if v.epoch > at || hidden {
			continue
		}
		if hidden = a.holes.cover.newer(v); hidden {
			continue
		}
		r, err := c.record(true)
		if err != nil {
			return false, err
		}
		if r.typ == typePunch {
			a.holes.cover, hidden = v, true
			continue
		}
		a.holes.list = append(a.holes.list, hole{r.offset, r.end(), v})
	}
	return ok, c.err()
}
