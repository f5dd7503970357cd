package vos

import (
	"encoding/binary"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"daos/engine/target"
)

func settledKey() []byte { return append(appendDataset(nil, 0, planeSystem), "settled"...) }

// txRows knows which transaction rows the index has, so that they can be
// dropped one by one: range deletes that all begin at the same key would cost
// every later iterator the square of their number.
type txRows struct {
	mu      sync.Mutex
	ids     map[target.TxID]struct{}
	settled target.TxID
}

func (r *txRows) add(id target.TxID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ids[id] = struct{}{}
}

func (r *txRows) remove(id target.TxID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.ids, id)
}

func (t *Target) loadTxRows() error {
	t.rows.ids = map[target.TxID]struct{}{}
	v, err := t.readCounter(settledKey())
	if err != nil {
		return err
	}
	t.rows.settled = target.TxID(v)
	return t.eachRow(appendDataset(nil, 0, planeTx), func(k, _ []byte) error {
		if len(k) != 17 {
			return t.badKey("vos.open", k)
		}
		t.rows.ids[target.TxID(binary.BigEndian.Uint64(k[9:]))] = struct{}{}
		return nil
	})
}

// Settle drops the rows of decided transactions at or below upTo and remembers
// upTo, in one batch, without a sync.
func (t *Target) Settle(upTo target.TxID) error {
	if err := t.enter(); err != nil {
		return err
	}
	defer t.leave()
	if err := t.guard.Failed(); err != nil {
		return err
	}
	r := &t.rows
	r.mu.Lock()
	defer r.mu.Unlock() // held over an unsynced write: no I/O is waited for
	if upTo <= r.settled {
		return nil
	}
	b := t.db.NewBatch()
	defer b.Close()
	for id := range r.ids {
		if id <= upTo {
			if err := b.Delete(txKey(id), nil); err != nil {
				return t.indexError("vos.settle", err)
			}
		}
	}
	if err := b.Set(settledKey(), binary.BigEndian.AppendUint64(nil, uint64(upTo)), nil); err != nil {
		return t.indexError("vos.settle", err)
	}
	if err := t.applied(t.apply(b, pebble.NoSync)); err != nil {
		return err
	}
	for id := range r.ids {
		if id <= upTo {
			delete(r.ids, id)
		}
	}
	r.settled = upTo
	return nil
}

// Settled is the highest upTo of a Settle that is known here.
func (t *Target) Settled() (target.TxID, error) {
	t.rows.mu.Lock()
	defer t.rows.mu.Unlock()
	return t.rows.settled, nil
}

// Failed is the reason why the target has stopped writing, nil if it has not.
func (t *Target) Failed() error { return t.guard.Failed() }
