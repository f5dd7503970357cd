package memstore

import (
	"bytes"
	"context"

	"daos/engine/object"
	"daos/internal/fault"
)

// Commit implements object.Committer.
func (s *Store) Commit(ctx context.Context, tx *object.Tx) (object.Result, error) {
	if err := tx.Validate(); err != nil {
		return object.Result{}, err
	}
	if err := ctx.Err(); err != nil {
		return object.Result{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.replay(tx.Request); ok {
		return r, nil
	}
	if err := s.observe(tx.ReadAt); err != nil {
		return object.Result{}, err
	}
	for i := range tx.Reads {
		if e := s.newest(&tx.Reads[i]); e > tx.ReadAt {
			return object.Result{}, fault.New(fault.Conflict, "tx.commit", tx.Reads[i].OID.String(),
				"changed at epoch %d after it was read at %d", uint64(e), uint64(tx.ReadAt)).Do("read again and retry")
		}
	}
	for i := range tx.Conds {
		if err := s.check(&tx.Conds[i]); err != nil {
			return object.Result{}, err
		}
	}
	if n := tx.Bytes(); s.quota > 0 && n > 0 && s.usage.Bytes+n > s.quota {
		return object.Result{}, fault.New(fault.NoSpace, "tx.commit", "dataset", "%d bytes used of a quota of %d, %d more asked for",
			s.usage.Bytes, s.quota, n).Do("raise the quota, or remove data and snapshots and let the sweeper run")
	}
	e := s.tick()
	for i := range tx.Writes {
		s.apply(&tx.Writes[i], stamp{e, int32(i)})
	}
	res := object.Result{Epoch: e, Answer: bytes.Clone(tx.Answer)}
	if !tx.Request.IsZero() {
		s.reqs[tx.Request] = request{res, s.now()}
	}
	return res, nil
}

// Replay implements object.Committer.
func (s *Store) Replay(ctx context.Context, id object.RequestID) (object.Result, bool, error) {
	if err := ctx.Err(); err != nil {
		return object.Result{}, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.replay(id)
	return r, ok, nil
}

func (s *Store) replay(id object.RequestID) (object.Result, bool) {
	if id.IsZero() {
		return object.Result{}, false
	}
	r, ok := s.reqs[id]
	if !ok {
		return object.Result{}, false
	}
	if s.now().Sub(r.at) > requestWindow {
		delete(s.reqs, id)
		return object.Result{}, false
	}
	r.res.Replayed = true
	r.res.Answer = bytes.Clone(r.res.Answer)
	return r.res, true
}

func (s *Store) apply(w *object.Write, at stamp) {
	o := s.object(w.OID)
	if w.Op == object.OpPunchObject {
		o.punches = append(o.punches, at)
		return
	}
	d := s.dkey(w.OID, o, w.Dkey)
	if w.Op == object.OpPunchDkey {
		d.punches = append(d.punches, at)
		return
	}
	a := d.akey(w.Akey)
	switch w.Op {
	case object.OpPunchAkey:
		a.punches = append(a.punches, at)
		return
	case object.OpPut:
		a.singles = append(a.singles, single{at, append([]byte{}, w.Data...)})
	case object.OpWrite:
		if len(w.Data) == 0 {
			return
		}
		a.extents = append(a.extents, extent{at, w.Offset, uint64(len(w.Data)), append([]byte{}, w.Data...)})
	case object.OpPunchRange:
		n := w.Length
		if n == 0 {
			n = 1<<64 - 1 - w.Offset
		}
		a.extents = append(a.extents, extent{at, w.Offset, n, nil})
		return
	}
	s.usage.Bytes += int64(len(w.Data))
	s.usage.Records++
}

// newest is the epoch of the newest change to what r names.
func (s *Store) newest(r *object.Read) object.Epoch {
	o := s.objects[r.OID]
	if o == nil {
		return 0
	}
	e := newestPunch(o.punches)
	if r.Point {
		if d := o.dkeys[string(r.From)]; d != nil {
			e = max(e, d.newest(r.Akey))
		}
		return e
	}
	for _, k := range o.order.sorted() {
		if k < string(r.From) {
			continue
		}
		if r.To != nil && k >= string(r.To) {
			break
		}
		e = max(e, o.dkeys[k].newest(r.Akey))
	}
	return e
}

func (d *dkey) newest(only []byte) object.Epoch {
	e := newestPunch(d.punches)
	for k, a := range d.akeys {
		if only != nil && k != string(only) {
			continue
		}
		e = max(e, newestPunch(a.punches))
		if n := len(a.singles); n > 0 {
			e = max(e, a.singles[n-1].epoch)
		}
		if n := len(a.extents); n > 0 {
			e = max(e, a.extents[n-1].epoch)
		}
	}
	return e
}

func newestPunch(p []stamp) object.Epoch {
	if len(p) == 0 {
		return 0
	}
	return p[len(p)-1].epoch
}

func (s *Store) check(c *object.Cond) error {
	var have bool
	if o := s.objects[c.OID]; o != nil {
		if d := o.dkeys[string(c.Dkey)]; d != nil {
			floor := later(cover(o.punches, object.EpochMax), cover(d.punches, object.EpochMax))
			if c.Kind == object.DkeyExists || c.Kind == object.DkeyAbsent {
				for _, a := range d.akeys {
					have = have || a.exists(floor, object.EpochMax)
				}
			} else if a := d.akeys[string(c.Akey)]; a != nil {
				have = a.exists(floor, object.EpochMax)
			}
		}
	}
	name := object.KeyName(c.OID, c.Dkey, c.Akey)
	switch c.Kind {
	case object.DkeyExists, object.AkeyExists:
		if !have {
			return fault.New(fault.NotFound, "tx.commit", name, "condition failed: it does not exist")
		}
	default:
		if have {
			return fault.New(fault.Exists, "tx.commit", name, "condition failed: it exists already")
		}
	}
	return nil
}
