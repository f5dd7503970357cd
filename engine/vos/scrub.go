package vos

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"daos/engine/object"
	"daos/engine/segment"
	"daos/engine/target"
	"daos/internal/fault"
)

// Scrub re-reads every record of a dataset and reports each that does not
// verify. A damaged table of the index ends it with that error, since what lies
// behind can't be found.
func (t *Target) Scrub(ctx context.Context, ds object.DatasetID, report func(error)) (records int64, err error) {
	if err := t.enter(); err != nil {
		return 0, err
	}
	defer t.leave()
	for _, plane := range []byte{planeName, planeExtent} {
		err := t.eachRow(appendDataset(nil, ds, plane), func(k, v []byte) error {
			if err := ctx.Err(); err != nil {
				return fault.Wrap(err, "vos.scrub", t.opts.Dir)
			}
			r, ok := decodeRecord(v, plane == planeExtent)
			switch {
			case !ok:
				report(t.badKey("vos.scrub", k))
				return nil
			case r.typ == typeInline:
				records++
				if segment.Sum(r.payload) != r.sum {
					report(fault.New(fault.Corrupt, "vos.scrub", t.guard.PathJoin(t.opts.Dir, "index"), "an inline value does not match its checksum, %s", describe(k)))
				}
			case r.typ == typeSegment:
				records++
				return t.scrubStored(ds, r.object(t.opts.ID), k, report)
			}
			return nil
		})
		if err != nil {
			return records, err
		}
	}
	return records, nil
}

// scrubStored reads one record; one that a sweep has moved or dropped since
// its row was read is not damaged.
func (t *Target) scrubStored(ds object.DatasetID, r object.Record, key []byte, report func(error)) error {
	err := t.verify(ds, r, key)
	if err == nil {
		return nil
	}
	if !fault.Is(err, fault.Corrupt, fault.NotFound) {
		return err
	}
	v, c, gerr := t.lookup(key)
	if errors.Is(gerr, pebble.ErrNotFound) {
		return nil
	}
	if gerr != nil {
		return t.indexError("vos.scrub", gerr)
	}
	defer c.Close()
	if now, ok := decodeRecord(v, key[8] == planeExtent); ok && (now.segment != r.Segment || now.pos != r.Pos) {
		err = t.verify(ds, now.object(t.opts.ID), bytes.Clone(key))
	}
	if fault.Is(err, fault.NotFound) {
		err = fault.New(fault.Corrupt, "vos.scrub", t.guard.PathJoin(t.opts.Dir, "seg"), "segment %d of dataset %d is missing, %s", r.Segment, ds, describe(key)).Because(err)
	}
	if err != nil {
		report(err)
	}
	return nil
}

// Destroy removes a dataset: its rows first, durably, then its segments. A
// crash in between leaves a folder that the next open removes.
func (t *Target) Destroy(ds object.DatasetID) error {
	if err := t.enter(); err != nil {
		return err
	}
	defer t.leave()
	if err := t.guard.Failed(); err != nil {
		return err
	}
	if ds == 0 {
		return fault.New(fault.Invalid, "vos.destroy", t.opts.Dir, "dataset 0 is the target's own")
	}
	t.zones.drop(ds)
	st := t.sweeps.state(ds)
	st.running.Lock()
	defer st.running.Unlock()
	b := t.db.NewBatch()
	defer b.Close()
	low := binary.BigEndian.AppendUint64(nil, uint64(ds))
	var rows []target.TxID
	err := b.DeleteRange(low, keyEnd(low), nil)
	if err == nil {
		err = b.Delete(usageKey(ds), nil)
	}
	for _, plane := range []byte{planeTx, planeDeferred} {
		if err != nil {
			break
		}
		err = t.eachRow(appendDataset(nil, 0, plane), func(k, v []byte) error {
			if r, ok := decodeRow(v); ok && r.dataset == ds {
				if plane == planeTx {
					rows = append(rows, target.TxID(binary.BigEndian.Uint64(k[9:])))
				}
				return b.Delete(bytes.Clone(k), nil)
			}
			return nil
		})
	}
	if err != nil {
		return t.indexError("vos.destroy", err)
	}
	if err := t.applied(t.apply(b, pebble.Sync)); err != nil {
		return err
	}
	for _, id := range rows {
		t.rows.remove(id)
	}
	// The range delete frees whole tables once it has left the write buffer.
	if t.guard.Failed() != nil {
		return t.guard.Failed()
	}
	if _, err := t.db.AsyncFlush(); err != nil {
		t.log.Warn("index flush", "error", err)
	}
	t.usage.forget(ds)
	t.punches.removeDataset(ds)
	t.gen.Add(1)
	return t.segs.RemoveDataset(uint64(ds))
}
