package kernel

import (
	"time"

	"daos/engine/object"
	"daos/engine/placement"
	"daos/engine/target"
	"daos/internal/fault"
)

// RequestWindow is how long a request id is remembered: ten minutes, and as
// much as a restart can put epochs ahead of the wall clock.
const RequestWindow = 10*time.Minute + 10*time.Second

// Check validates an admitted transaction against the targets: its request id,
// what it read, its conditions. Nothing that it meets there can change while it
// runs: who could change it waits for Validated, or is decided.
func Check(p *Plan, at object.Epoch, l *placement.Layout, targets []target.Target) (replay *object.Result, err error) {
	tx := p.Tx
	if !tx.Request.IsZero() {
		// The row lies on the first participant of whatever the first try wrote.
		for _, t := range targets {
			r, ok, err := t.Request(p.Dataset, tx.Request)
			if err != nil {
				return nil, err
			}
			if ok && at.Time().Sub(r.Epoch.Time()) <= RequestWindow {
				r.Replayed = true
				return &r, nil
			}
		}
	}
	for i := range tx.Reads {
		if err := checkRead(p, &tx.Reads[i], l, targets); err != nil {
			return nil, err
		}
	}
	for i := range tx.Conds {
		if err := checkCond(p, &tx.Conds[i], at, l, targets); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func checkRead(p *Plan, r *object.Read, l *placement.Layout, targets []target.Target) error {
	class := r.OID.Class()
	first, last := 0, class.Groups()-1
	if r.Point {
		first = int(class.Group(r.From))
		last = first
	}
	for g := first; g <= last; g++ {
		pl, id := Place(l, p.Dataset, r.OID, uint16(g))
		e, err := targets[id].Newest(pl, *r)
		if err != nil {
			return err
		}
		if e > p.Tx.ReadAt {
			return fault.New(fault.Conflict, "tx.commit", r.OID.String(),
				"changed at epoch %d after it was read at %d", uint64(e), uint64(p.Tx.ReadAt)).Do("read again and retry")
		}
	}
	return nil
}

func checkCond(p *Plan, c *object.Cond, at object.Epoch, l *placement.Layout, targets []target.Target) error {
	pl, id := Place(l, p.Dataset, c.OID, c.OID.Class().Group(c.Dkey))
	akey := c.Akey
	if c.Kind == object.DkeyExists || c.Kind == object.DkeyAbsent {
		akey = nil
	}
	have, err := targets[id].Exists(at, pl, c.Dkey, akey)
	if err != nil {
		return err
	}
	switch c.Kind {
	case object.DkeyExists, object.AkeyExists:
		if !have {
			return fault.New(fault.NotFound, "tx.commit", object.KeyName(c.OID, c.Dkey, akey), "condition failed: it does not exist")
		}
	default:
		if have {
			return fault.New(fault.Exists, "tx.commit", object.KeyName(c.OID, c.Dkey, akey), "condition failed: it exists already")
		}
	}
	return nil
}
