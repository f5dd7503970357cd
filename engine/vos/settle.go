package vos

import (
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2"

	"daos/engine/target"
)

func settledKey() []byte { return append(appendDataset(nil, 0, planeSystem), "settled"...) }

// Settle drops the rows of decided transactions at or below upTo and remembers
// upTo, in one batch, without a sync.
func (t *Target) Settle(upTo target.TxID) error {
	if err := t.enter(); err != nil {
		return err
	}
	defer t.leave()
	if err := t.guard.failed(); err != nil {
		return err
	}
	have, err := t.readCounter(settledKey())
	if err != nil {
		return err
	}
	if uint64(upTo) <= have {
		return nil
	}
	b := t.db.NewBatch()
	defer b.Close()
	if err := b.DeleteRange(txKey(0), txKey(upTo+1), nil); err != nil {
		return t.indexError("vos.settle", err)
	}
	if err := b.Set(settledKey(), binary.BigEndian.AppendUint64(nil, uint64(upTo)), nil); err != nil {
		return t.indexError("vos.settle", err)
	}
	return t.applied(t.db.Apply(b, pebble.NoSync))
}

// Settled is the highest upTo of a Settle that is known here.
func (t *Target) Settled() (target.TxID, error) {
	if err := t.enter(); err != nil {
		return 0, err
	}
	defer t.leave()
	v, err := t.readCounter(settledKey())
	return target.TxID(v), err
}

// Failed is the reason why the target has stopped writing, nil if it has not.
func (t *Target) Failed() error { return t.guard.failed() }
