package vos

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io/fs"

	"github.com/cockroachdb/pebble/v2"

	"daos/engine/object"
	"daos/engine/target"
	"daos/internal/fault"
	"daos/internal/guardfs"
)

// RebuildStats counts what a rebuild found.
type RebuildStats struct {
	Segments int64 // with a footer, taken in
	Bare     int64 // without a footer: their records can't be named
	Records  int64 // taken in
	Damaged  int64 // records that do not verify, left out
}

// RebuildIndex makes a new index for a target whose index is lost, from the
// footers of its segments. It is the last resort: values that lay in the index
// itself (up to object.InlineMax), punches and what sweeps and aborts had
// dropped are not known to the footers, so small values are missing and deleted
// large ones may be back. What is in Options.Journal is redone first: a journal
// that is there must be given, or the next Open counts what both know twice. The
// old index must have been moved away: DIR/index must not be there.
//
// Rows of transactions are lost too, which must not look as if these had never
// been prepared here: they would be taken back on all others. So the target is
// settled at upTo, which no epoch that was given out may be above.
func RebuildIndex(ctx context.Context, o Options, upTo target.TxID, report func(error)) (RebuildStats, error) {
	var st RebuildStats
	t, sb, err := openBare(o)
	if err != nil {
		return st, err
	}
	defer func() { _ = t.Close() }() // all is synced by then
	all, err := t.segs.Datasets()
	if err != nil {
		return st, err
	}
	var highest uint64
	for _, ds := range all {
		nums, err := t.segs.Numbers(ds)
		if err != nil {
			return st, err
		}
		for _, n := range nums {
			highest = max(highest, n)
			if err := ctx.Err(); err != nil {
				return st, fault.Wrap(err, "vos.rebuild", o.Dir)
			}
			if err := t.takeIn(object.DatasetID(ds), n, &st, report); err != nil {
				return st, err
			}
		}
	}
	if err := t.applied(t.db.Set(settledKey(), binary.BigEndian.AppendUint64(nil, uint64(upTo)), pebble.NoSync)); err != nil {
		return st, err
	}
	b := binary.BigEndian.AppendUint64(nil, highest+numberBlock)
	if err := t.applied(t.db.Set(numberKey(), b, pebble.Sync)); err != nil {
		return st, err
	}
	sb.state = stateReady
	return st, writeSuperblock(t.guard, o.Dir, sb)
}

// openBare opens a target with an empty index. The superblock says that it is
// being made until the rebuild is through.
func openBare(o Options) (*Target, superblock, error) {
	t := newTarget(o)
	f := t.opts.FS
	name := f.PathJoin(o.Dir, superblockName)
	s, found, err := readSuperblock(f, name)
	if err != nil {
		return nil, s, err
	}
	if !found {
		return nil, s, fault.New(fault.NotFound, "vos.rebuild", name, "there is no target")
	}
	index := f.PathJoin(o.Dir, "index")
	if _, err := f.Stat(index); s.state == stateReady && !errors.Is(err, fs.ErrNotExist) {
		return nil, s, fault.New(fault.Exists, "vos.rebuild", index, "the index is there").
			Do("move the damaged index away first")
	}
	if err := f.Remove(f.PathJoin(o.Dir, guardfs.LedgerName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, s, fault.New(fault.KindOf(err), "vos.rebuild", o.Dir, "the ledger of the old index can't be removed").Because(err)
	}
	s.state = stateCreating
	if err := writeSuperblock(f, o.Dir, s); err != nil {
		return nil, s, err
	}
	t.rebuilding = true
	if err := t.open(); err != nil {
		_ = t.shut()
		return nil, s, err
	}
	return t, s, nil
}

// takeIn puts the records of one segment's footer into the index.
func (t *Target) takeIn(ds object.DatasetID, n uint64, st *RebuildStats, report func(error)) error {
	f, err := t.segs.Get(uint64(ds), n)
	if err != nil {
		report(err)
		st.Bare++
		return nil
	}
	defer f.Release()
	entries, ok, err := f.Footer()
	if err != nil || !ok {
		if err == nil {
			err = fault.New(fault.NotFound, "vos.rebuild", f.Name(), "the segment was never sealed: its records can't be named")
		}
		report(err)
		st.Bare++
		return nil
	}
	st.Segments++
	b := t.db.NewBatch()
	defer b.Close()
	var usage object.Usage
	var newest object.Epoch
	for _, e := range entries {
		p, okKey := parseKey(e.Key)
		r, okRec := decodeRecord(e.Value, p.plane == planeExtent)
		if !okKey || !okRec || p.place.Dataset != ds || r.typ != typeSegment {
			report(t.badKey("vos.rebuild", e.Key))
			st.Damaged++
			continue
		}
		if err := t.verify(ds, r.object(t.opts.ID), e.Key); err != nil {
			report(err)
			st.Damaged++
			continue
		}
		if _, c, err := t.lookup(e.Key); err == nil {
			_ = c.Close() // a copy that a compaction did not get to unlink
			continue
		}
		if err := b.Set(bytes.Clone(e.Key), e.Value, nil); err != nil {
			return t.indexError("vos.rebuild", err)
		}
		usage.Bytes += int64(r.length)
		usage.Records++
		newest = max(newest, p.version.epoch)
		st.Records++
	}
	if err := mergeUsage(b, ds, usage); err != nil {
		return t.indexError("vos.rebuild", err)
	}
	if err := b.Merge(ceilingKey(), binary.BigEndian.AppendUint64(nil, ceilingFor(newest)), nil); err != nil {
		return t.indexError("vos.rebuild", err)
	}
	if err := t.applied(t.apply(b, pebble.Sync)); err != nil {
		return err
	}
	t.usage.add(ds, usage)
	return nil
}
