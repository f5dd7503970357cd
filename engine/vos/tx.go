package vos

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"daos/engine/object"
	"daos/engine/target"
	"daos/internal/fault"
)

// keyList is the list of versions that a row carries, so that they can be
// taken back: prefix compressed keys without the epoch, which the row has.
//
//	shared uvarint, rest uvarint, rest bytes, minor uvarint
type keyList struct {
	b    []byte
	last []byte
	n    int
}

func (l *keyList) add(prefix []byte, minor uint32) {
	shared := 0
	for shared < len(l.last) && shared < len(prefix) && l.last[shared] == prefix[shared] {
		shared++
	}
	l.b = binary.AppendUvarint(l.b, uint64(shared))
	l.b = binary.AppendUvarint(l.b, uint64(len(prefix)-shared))
	l.b = append(l.b, prefix[shared:]...)
	l.b = binary.AppendUvarint(l.b, uint64(minor))
	l.last = append(l.last[:0], prefix...)
	l.n++
}

// Row of a transaction or of a deferred batch:
//
//	dataset(8) request(16) participants uvarint, each(2), key list
func encodeRow(b *target.Batch, l *keyList) []byte {
	r := make([]byte, 0, 32+2*len(b.Participants)+len(l.b))
	r = binary.BigEndian.AppendUint64(r, uint64(b.Dataset))
	r = append(r, b.Request[:]...)
	r = binary.AppendUvarint(r, uint64(len(b.Participants)))
	for _, p := range b.Participants {
		r = binary.BigEndian.AppendUint16(r, p)
	}
	return append(r, l.b...)
}

type row struct {
	dataset      object.DatasetID
	request      object.RequestID
	participants []uint16
	keys         []byte
}

func decodeRow(b []byte) (r row, ok bool) {
	if len(b) < 25 {
		return r, false
	}
	r.dataset = object.DatasetID(binary.BigEndian.Uint64(b))
	copy(r.request[:], b[8:])
	b = b[24:]
	n, k := binary.Uvarint(b)
	if k <= 0 || n > uint64(len(b)-k)/2 {
		return r, false
	}
	b = b[k:]
	for range n {
		r.participants = append(r.participants, binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	r.keys = bytes.Clone(b)
	return r, true
}

// each calls fn with each key of the row at an epoch; ok is false for a list
// that can't be read.
func (r row) each(epoch object.Epoch, fn func(key []byte) error) (ok bool, err error) {
	b := r.keys
	var last []byte
	for len(b) > 0 {
		shared, k := binary.Uvarint(b)
		if k <= 0 || shared > uint64(len(last)) {
			return false, nil
		}
		b = b[k:]
		n, k := binary.Uvarint(b)
		if k <= 0 || n > uint64(len(b)-k) {
			return false, nil
		}
		last = append(last[:shared], b[k:k+int(n)]...)
		b = b[k+int(n):]
		minor, k := binary.Uvarint(b)
		if k <= 0 || minor > 1<<32-1 {
			return false, nil
		}
		b = b[k:]
		if err := fn(appendVersion(last[:len(last):len(last)], version{epoch, uint32(minor)})); err != nil {
			return true, err
		}
	}
	return true, nil
}

// Undecided returns the transaction rows present.
func (t *Target) Undecided() ([]target.TxRow, error) {
	if err := t.enter(); err != nil {
		return nil, err
	}
	defer t.leave()
	var out []target.TxRow
	err := t.eachRow(appendDataset(nil, 0, planeTx), func(k, v []byte) error {
		r, ok := decodeRow(v)
		if !ok || len(k) != 17 {
			return t.badKey("vos.undecided", k)
		}
		out = append(out, target.TxRow{
			ID: target.TxID(binary.BigEndian.Uint64(k[9:])), Dataset: r.dataset, Participants: r.participants,
		})
		return nil
	})
	return out, err
}

// Abort takes the versions of a transaction back. Without a row there is
// nothing of it here.
func (t *Target) Abort(ctx context.Context, ds object.DatasetID, id target.TxID) error {
	if err := t.enter(); err != nil {
		return err
	}
	defer t.leave()
	if err := t.guard.Failed(); err != nil {
		return err
	}
	v, c, err := t.lookup(txKey(id))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return t.indexError("vos.abort", err)
	}
	r, ok := decodeRow(v)
	_ = c.Close()
	if !ok {
		return t.badKey("vos.abort", txKey(id))
	}
	if r.dataset != ds {
		return fault.New(fault.Invalid, "vos.abort", t.opts.Dir, "transaction %d is of dataset %d, not %d", id, r.dataset, ds)
	}
	return t.takeBack(r, id, txKey(id))
}

// takeBack deletes everything that a row lists, and its rows, durably.
func (t *Target) takeBack(r row, epoch object.Epoch, rowKey []byte) error {
	t.moving.Lock() // a row that a sweep is about to rewrite must not come back
	defer t.moving.Unlock()
	b := t.db.NewBatch()
	defer b.Close()
	var freed object.Usage
	var punched []target.Place
	ok, err := r.each(epoch, func(key []byte) error {
		v, c, err := t.lookup(key)
		if errors.Is(err, pebble.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		defer c.Close()
		p, okKey := parseKey(key)
		rec, okRec := decodeRecord(v, p.plane == planeExtent)
		if !okKey || !okRec {
			return t.badKey("vos.abort", key)
		}
		if rec.typ == typeInline || rec.typ == typeSegment {
			freed.Bytes -= int64(rec.length)
			freed.Records--
		}
		if p.plane == planePunch {
			punched = append(punched, p.place)
		}
		return b.Delete(key, nil)
	})
	if err != nil {
		return t.indexError("vos.abort", err)
	}
	if !ok {
		return t.badKey("vos.abort", rowKey)
	}
	if err := mergeUsage(b, r.dataset, freed); err != nil {
		return t.indexError("vos.abort", err)
	}
	if !r.request.IsZero() {
		if err := b.Delete(requestKey(r.dataset, r.request), nil); err != nil {
			return t.indexError("vos.abort", err)
		}
	}
	for _, k := range [][]byte{txKey(epoch), deferredKey(epoch, r.dataset)} {
		if err := b.Delete(k, nil); err != nil {
			return t.indexError("vos.abort", err)
		}
	}
	if err := t.applied(t.apply(b, pebble.Sync)); err != nil {
		return err
	}
	t.rows.remove(epoch)
	for _, p := range punched {
		t.punches.remove(p)
	}
	t.usage.add(r.dataset, freed)
	t.sweeps.changed(r.dataset)
	t.gen.Add(1)
	return nil
}

// Request returns the row of a request id.
func (t *Target) Request(ds object.DatasetID, id object.RequestID) (object.Result, bool, error) {
	if err := t.enter(); err != nil {
		return object.Result{}, false, err
	}
	defer t.leave()
	v, c, err := t.lookup(requestKey(ds, id))
	if errors.Is(err, pebble.ErrNotFound) {
		return object.Result{}, false, nil
	}
	if err != nil {
		return object.Result{}, false, t.indexError("vos.request", err)
	}
	defer c.Close()
	if len(v) < 8 {
		return object.Result{}, false, t.badKey("vos.request", requestKey(ds, id))
	}
	return object.Result{
		Epoch: object.Epoch(binary.BigEndian.Uint64(v)), Answer: bytes.Clone(v[8:]), Replayed: true,
	}, true, nil
}

// deferredList is the rows of deferred batches since the last Sync.
type deferredList struct {
	sync sync.Mutex // held over a Sync
	mu   sync.Mutex
	keys [][]byte
}

func (d *deferredList) add(key []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.keys = append(d.keys, key)
}

// Sync makes everything deferred durable.
func (t *Target) Sync() error {
	if err := t.enter(); err != nil {
		return err
	}
	defer t.leave()
	if err := t.guard.Failed(); err != nil {
		return err
	}
	return t.syncDeferred()
}

func (t *Target) syncDeferred() error {
	d := &t.deferred
	d.sync.Lock()
	defer d.sync.Unlock()
	d.mu.Lock()
	keys := d.keys
	d.keys = nil
	d.mu.Unlock()
	if len(keys) == 0 {
		return nil
	}
	err := t.segs.Sync()
	if err == nil {
		b := t.db.NewBatch()
		defer b.Close()
		for _, k := range keys {
			if err := b.Delete(k, nil); err != nil {
				return t.indexError("vos.sync", err)
			}
		}
		err = t.apply(b, pebble.Sync)
	}
	if err = t.applied(err); err != nil {
		d.mu.Lock()
		d.keys = append(d.keys, keys...)
		d.mu.Unlock()
	}
	return err
}

// recoverDeferred looks at the batches that were not synced when the target
// stopped. The log may have kept such a batch while its bytes in a segment
// were lost: it is taken back whole then.
func (t *Target) recoverDeferred() error {
	type pending struct {
		row   row
		epoch object.Epoch
		key   []byte
	}
	var all []pending
	err := t.eachRow(appendDataset(nil, 0, planeDeferred), func(k, v []byte) error {
		r, ok := decodeRow(v)
		if !ok || len(k) != 25 {
			return t.badKey("vos.open", k)
		}
		all = append(all, pending{r, object.Epoch(binary.BigEndian.Uint64(k[9:])), bytes.Clone(k)})
		return nil
	})
	if err != nil {
		return err
	}
	for _, p := range all {
		whole := true
		ok, err := p.row.each(p.epoch, func(key []byte) error {
			if !whole {
				return nil
			}
			v, c, err := t.lookup(key)
			if errors.Is(err, pebble.ErrNotFound) {
				return nil // swept or aborted since
			}
			if err != nil {
				return t.indexError("vos.open", err)
			}
			defer c.Close()
			pk, _ := parseKey(key)
			rec, ok := decodeRecord(v, pk.plane == planeExtent)
			if !ok {
				return t.badKey("vos.open", key)
			}
			if rec.typ != typeSegment {
				return nil
			}
			err = t.verify(p.row.dataset, rec.object(t.opts.ID), key)
			if fault.Is(err, fault.Corrupt, fault.NotFound) {
				whole, err = false, nil
			}
			return err
		})
		if err != nil {
			return err
		}
		if !ok {
			return t.badKey("vos.open", p.key)
		}
		if !whole {
			if err := t.takeBack(p.row, p.epoch, p.key); err != nil {
				return err
			}
			continue
		}
		t.deferred.add(p.key)
	}
	return t.syncDeferred()
}
