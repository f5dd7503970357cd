package kernel_test

import (
	"context"
	"math/rand/v2"
	"slices"

	"daos/engine/object"
	"daos/engine/target"
	"daos/internal/fault"
)

// simTarget is a target as a log of entries, of which a prefix is durable. Its
// state is read off the log entry by entry, so that it is obviously right and a
// power loss is a truncation. Only what the kernel and the simulator use is there.
type simTarget struct {
	target.Target
	id      uint16
	log     []entry
	durable int // entries that a power loss leaves
	failed  error
}

type entry struct {
	batch    *target.Batch // a prepared batch, or
	aborted  target.TxID   // an abort, or
	settled  target.TxID   // a settle
	deferred bool          // not yet covered by Sync: may be taken back at open
}

// apply enters a batch; it is durable after sync.
func (t *simTarget) apply(b *target.Batch) {
	c := *b
	c.Writes = append([]target.Placed(nil), b.Writes...)
	t.log = append(t.log, entry{batch: &c, deferred: b.Deferred})
}

func (t *simTarget) sync() { t.durable = len(t.log) }

func (t *simTarget) Sync() error {
	if t.failed != nil {
		return t.failed
	}
	for i := range t.log {
		t.log[i].deferred = false
	}
	t.sync()
	return nil
}

func (t *simTarget) Abort(_ context.Context, _ object.DatasetID, id target.TxID) error {
	if t.failed != nil {
		return t.failed
	}
	t.log = append(t.log, entry{aborted: id})
	t.sync()
	return nil
}

func (t *simTarget) Settle(upTo target.TxID) error {
	if t.failed != nil {
		return t.failed
	}
	t.log = append(t.log, entry{settled: upTo})
	return nil
}

func (t *simTarget) Settled() (target.TxID, error) {
	var s target.TxID
	for _, e := range t.log {
		s = max(s, e.settled)
	}
	return s, nil
}

// crash is a restart, with loss of power where power is set.
func (t *simTarget) crash(rng *rand.Rand, power bool) {
	if power {
		keep := t.durable + rng.IntN(len(t.log)-t.durable+1)
		t.log = t.log[:keep]
		// A deferred batch may be taken back alone: its bulk bytes were lost.
		out := t.log[:0:0]
		for _, e := range t.log {
			if e.deferred && rng.IntN(2) == 0 {
				continue
			}
			e.deferred = false
			out = append(out, e)
		}
		t.log = out
	}
	for i := range t.log {
		t.log[i].deferred = false
	}
	t.durable = len(t.log)
	t.failed = nil
}

// batches are those in force: applied and not aborted.
func (t *simTarget) batches(fn func(b *target.Batch)) {
	var gone []target.TxID // an epoch is never prepared again
	for _, e := range t.log {
		if e.aborted != 0 {
			gone = append(gone, e.aborted)
		}
	}
	for _, e := range t.log {
		if e.batch != nil && !slices.Contains(gone, e.batch.Epoch) {
			fn(e.batch)
		}
	}
}

func (t *simTarget) Undecided() ([]target.TxRow, error) {
	settled, _ := t.Settled()
	var rows []target.TxRow
	t.batches(func(b *target.Batch) {
		if len(b.Participants) > 1 && b.Epoch > settled {
			rows = append(rows, target.TxRow{ID: b.Epoch, Dataset: b.Dataset, Participants: b.Participants})
		}
	})
	return rows, nil
}

func (t *simTarget) Request(_ object.DatasetID, id object.RequestID) (r object.Result, ok bool, err error) {
	t.batches(func(b *target.Batch) {
		if b.Request == id {
			r, ok = object.Result{Epoch: b.Epoch, Answer: b.Answer}, true
		}
	})
	return r, ok, nil
}

type at struct {
	epoch object.Epoch
	seq   int
}

func (a at) less(b at) bool { return a.epoch < b.epoch || a.epoch == b.epoch && a.seq < b.seq }

// each calls fn for every write in force on a redundancy group.
func (t *simTarget) each(p target.Place, fn func(w *target.Placed, v at)) {
	t.batches(func(b *target.Batch) {
		for i := range b.Writes {
			if w := &b.Writes[i]; w.OID == p.OID && w.Group == p.Group {
				fn(w, at{b.Epoch, i})
			}
		}
	})
}

func (t *simTarget) Newest(p target.Place, r object.Read) (e object.Epoch, err error) {
	t.each(p, func(w *target.Placed, v at) {
		if w.Op != object.OpPunchObject {
			k := string(w.Dkey)
			if r.Point && k != string(r.From) || !r.Point && (k < string(r.From) || r.To != nil && k >= string(r.To)) {
				return
			}
			if w.Op != object.OpPunchDkey && r.Akey != nil && string(w.Akey) != string(r.Akey) {
				return
			}
		}
		e = max(e, v.epoch)
	})
	return e, nil
}

// values are the visible akeys of a group at an epoch.
func (t *simTarget) values(e object.Epoch, p target.Place, fn func(dkey, akey, value string)) {
	type key struct{ d, a string }
	best := map[key]at{}
	data := map[key]string{}
	var order []key
	t.each(p, func(w *target.Placed, v at) {
		k := key{string(w.Dkey), string(w.Akey)}
		if w.Op == object.OpPut && v.epoch <= e {
			if old, ok := best[k]; !ok {
				order = append(order, k)
			} else if v.less(old) {
				return
			}
			best[k], data[k] = v, string(w.Data)
		}
	})
	for _, k := range order {
		hidden := false
		t.each(p, func(w *target.Placed, v at) {
			if v.epoch > e || !best[k].less(v) {
				return
			}
			switch w.Op {
			case object.OpPunchObject:
				hidden = true
			case object.OpPunchDkey:
				hidden = hidden || string(w.Dkey) == k.d
			case object.OpPunchAkey:
				hidden = hidden || string(w.Dkey) == k.d && string(w.Akey) == k.a
			}
		})
		if !hidden {
			fn(k.d, k.a, data[k])
		}
	}
}

func (t *simTarget) Exists(e object.Epoch, p target.Place, dkey, akey []byte) (have bool, err error) {
	t.values(e, p, func(d, a, _ string) {
		have = have || d == string(dkey) && (akey == nil || a == string(akey))
	})
	return have, nil
}

var errFull = fault.New(fault.NoSpace, "sim", "target", "full")
var errSync = fault.New(fault.Internal, "sim", "target", "sync failed")
