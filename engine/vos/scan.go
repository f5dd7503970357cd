package vos

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"

	"daos/engine/object"
	"daos/engine/target"
	"daos/internal/fault"
)

// Scan is one linear pass over the namespace plane. A position is the key of
// its row; it is good for any later scan, the row itself may be gone by then.
func (t *Target) Scan(ctx context.Context, ds object.DatasetID, at object.Epoch, from, to uint32, resume []byte,
	fn func(r object.Row, pos []byte) bool) error {
	if err := t.enter(); err != nil {
		return err
	}
	defer t.leave()
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
	return s.run(ctx, lower, upper, fn)
}

// scanBounds is the range of keys of the namespace plane with these hashes.
func scanBounds(ds object.DatasetID, from, to uint32) (lower, upper []byte) {
	lower = binary.BigEndian.AppendUint32(appendDataset(nil, ds, planeName), from)
	upper = appendDataset(nil, ds, planeName+1)
	if to < math.MaxUint32 {
		upper = binary.BigEndian.AppendUint32(appendDataset(nil, ds, planeName), to+1)
	}
	return lower, upper
}

// run passes over a range of keys, until fn returns false.
func (s *scanner) run(ctx context.Context, lower, upper []byte, fn func(r object.Row, pos []byte) bool) error {
	t, at := s.t, s.at
	it, err := t.newIter(iterOptions(lower, upper))
	if err != nil {
		return t.indexError("vos.scan", err)
	}
	defer it.Close()
	var row object.Row
	for rows, ok := 0, it.First(); ok; rows, ok = rows+1, it.Next() {
		if rows%ctxEvery == 0 {
			if err := ctx.Err(); err != nil {
				return fault.Wrap(err, "vos.scan", t.opts.Dir)
			}
		}
		k := it.Key()
		verAt := len(k) - versionSize
		if bytes.Equal(k[:verAt], s.decided) {
			continue
		}
		v := versionOf(k)
		if v.epoch > at {
			continue
		}
		if !s.sameDkey(k) {
			if err := s.enter(k); err != nil {
				return err
			}
		}
		s.decided = append(s.decided[:0], k[:verAt]...)
		if k[len(s.dkey)] == tagDkey {
			if v.newer(s.cover) {
				s.cover = v
			}
			continue
		}
		if s.cover.newer(v) {
			continue
		}
		r, err := t.recordAt(it, false)
		if err != nil {
			return err
		}
		if r.typ == typePunch {
			continue
		}
		row.OID = s.place.OID
		row.Dkey = s.name
		row.Akey, s.abuf = unescape(s.abuf, k[len(s.dkey)+1:verAt])
		row.Epoch, row.Size, row.Value = v.epoch, r.length, nil
		if r.typ == typeInline {
			row.Value = r.payload
		}
		if !fn(row, k) {
			return nil
		}
	}
	return t.indexError("vos.scan", it.Error())
}

// scanner is where a scan is: in which object and dkey, and what hides there.
type scanner struct {
	t       *Target
	at      object.Epoch
	dkey    []byte // prefix of the current dkey; empty: none yet
	name    []byte // the dkey itself
	place   target.Place
	object  version // cover of the object
	cover   version // cover of the dkey
	decided []byte  // akey that has been answered

	nbuf, abuf []byte
}

func (s *scanner) sameDkey(k []byte) bool {
	return len(s.dkey) > 0 && bytes.HasPrefix(k, s.dkey)
}

// enter moves to the dkey of k.
func (s *scanner) enter(k []byte) error {
	n := split(k)
	if n == len(k) || n < headSize {
		return s.t.badKey("vos.scan", k)
	}
	if len(s.dkey) == 0 || !bytes.Equal(k[:headSize], s.dkey[:headSize]) {
		s.place = target.Place{
			Dataset: object.DatasetID(binary.BigEndian.Uint64(k)),
			Hash:    binary.BigEndian.Uint32(k[9:]),
			OID:     object.IDFromBytes(k[13:]),
			Group:   binary.BigEndian.Uint16(k[29:]),
		}
		var err error
		if s.object, err = s.t.objectCover(s.at, s.place); err != nil {
			return err
		}
	}
	s.dkey = append(s.dkey[:0], k[:n]...)
	s.cover = s.object
	s.name, s.nbuf = unescape(s.nbuf, s.dkey[headSize:])
	return nil
}

// resume checks a position and takes up the state that a scan has behind it.
func (s *scanner) resume(pos []byte, ds object.DatasetID, lower, upper []byte) error {
	p, ok := parseKey(pos)
	if !ok || p.plane != planeName || p.tag != tagAkey || p.place.Dataset != ds ||
		bytes.Compare(pos, lower) < 0 || bytes.Compare(pos, upper) >= 0 {
		return fault.New(fault.Invalid, "vos.scan", s.t.opts.Dir, "a scan position that does not belong to this range").
			Do("start the scan from its beginning, or use the anchor of this dataset")
	}
	if err := s.enter(pos); err != nil {
		return err
	}
	c, err := s.t.wideCursor()
	if err != nil {
		return err
	}
	defer c.close()
	s.cover, err = c.dkeyCover(s.at, s.dkey, s.object)
	return err
}
