package vos

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"daos/engine/journal"
	"daos/engine/object"
	"daos/engine/segment"
	"daos/engine/target"
	"daos/internal/fault"
)

// Prepare makes a batch durable in one step: see target.Target. After a failed
// sync the outcome of the calls in flight is known at the next open only, and
// every later call fails.
func (t *Target) Prepare(ctx context.Context, b *target.Batch) error {
	s, err := t.Stage(ctx, b)
	if err != nil {
		return err
	}
	s.Log()
	s.Apply()
	return s.Wait()
}

// Stage implements target.Stager.
func (t *Target) Stage(ctx context.Context, b *target.Batch) (_ target.Staged, err error) {
	if err := t.enter(); err != nil {
		return nil, err
	}
	p := &preparation{t: t, b: b}
	staged := false
	defer func() {
		if !staged {
			p.end()
		}
	}()
	if err := t.guard.Failed(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fault.Wrap(err, "vos.prepare", t.opts.Dir)
	}
	bulk, total, err := checkBatch(b)
	if err != nil {
		return nil, err
	}
	if err := t.space.take(int64(total + 256*len(b.Writes))); err != nil {
		return nil, err
	}
	p.batch = t.db.NewBatch()
	if bulk > 0 {
		p.w = t.segs.Writer(uint64(b.Dataset), bulk)
		if b.Deferred {
			// Part of a large file that is staged: it comes in bulk, and would
			// push out of the page cache what others read.
			p.w.Past()
		}
	}
	order := sorted(b.Writes, bulk)
	for n := range b.Writes {
		i := n
		if order != nil {
			i = int(order[n])
		}
		if err := p.add(uint32(i), &b.Writes[i]); err != nil {
			return nil, t.failedWrite(err)
		}
	}
	if p.w != nil {
		sync := p.w.Sync
		if b.Deferred {
			sync = p.w.Flush
		}
		if err := sync(); err != nil {
			return nil, t.failedWrite(err)
		}
	}
	if err := p.rows(); err != nil {
		return nil, t.indexError("vos.prepare", err)
	}
	raise(&t.newest, uint64(b.Epoch))
	p.raises = uint64(b.Epoch) > t.ceiling.Load()
	staged = true
	return p, nil
}

// Wait implements target.Staged.
func (p *preparation) Wait() error {
	defer p.end()
	if err := p.durable(); err != nil {
		return err
	}
	p.commit()
	return nil
}

// sorted returns the places of writes in the order of their keys: in that order
// the index takes many in half the time, and their list in a row is shorter.
// What each of them means does not depend on it (the place is part of the key).
// nil: as they are, for bulk data lies in segments in the order of the batch.
func sorted(writes []target.Placed, bulk int) []uint32 {
	const worth = 16
	if bulk > 0 || len(writes) < worth {
		return nil
	}
	order := make([]uint32, len(writes))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(i, j uint32) int {
		a, b := &writes[i], &writes[j]
		if a.Hash != b.Hash {
			return cmp.Compare(a.Hash, b.Hash)
		}
		return cmp.Or(bytes.Compare(a.Dkey, b.Dkey), bytes.Compare(a.Akey, b.Akey), cmp.Compare(i, j))
	})
	return order
}

// checkBatch refuses what the format can't hold. bulk is the payload that goes
// to segments, total all of it.
func checkBatch(b *target.Batch) (bulk, total int, err error) {
	if b.Dataset == 0 || b.Epoch == 0 || b.Epoch == object.EpochMax {
		return 0, 0, fault.New(fault.Invalid, "vos.prepare", "batch", "dataset %d, epoch %d: both must be given", b.Dataset, b.Epoch)
	}
	if len(b.Writes) > object.MaxOps {
		return 0, 0, fault.New(fault.TooBig, "vos.prepare", "batch", "%d writes, the most is %d", len(b.Writes), object.MaxOps).
			Do("split the transaction")
	}
	for i := range b.Writes {
		w := &b.Writes[i]
		if len(w.Dkey) > object.MaxKey || len(w.Akey) > object.MaxKey {
			return 0, 0, fault.New(fault.TooBig, "vos.prepare", w.OID.String(), "a key of %d bytes, the most is %d", max(len(w.Dkey), len(w.Akey)), object.MaxKey)
		}
		limit := 0
		switch w.Op {
		case object.OpPut:
			limit = object.MaxSingle
		case object.OpWrite:
			limit = object.MaxExtent
			if w.Offset > math.MaxUint64-uint64(len(w.Data)) {
				return 0, 0, fault.New(fault.Invalid, "vos.prepare", w.OID.String(), "an extent at %d of %d bytes ends beyond 2^64", w.Offset, len(w.Data))
			}
		case object.OpPunchRange, object.OpPunchAkey, object.OpPunchDkey, object.OpPunchObject:
		default:
			return 0, 0, fault.New(fault.Invalid, "vos.prepare", w.OID.String(), "operation %d is not known", w.Op)
		}
		if len(w.Data) > limit {
			return 0, 0, fault.New(fault.TooBig, "vos.prepare", w.OID.String(), "a value of %d bytes, the most is %d", len(w.Data), limit)
		}
		total += len(w.Data)
		if len(w.Data) > object.InlineMax {
			bulk += len(w.Data)
		}
	}
	return bulk, total, nil
}

// preparation is one batch on its way.
type preparation struct {
	t     *Target
	b     *target.Batch
	batch *pebble.Batch
	w     *segment.Writer // nil without bulk

	usage   object.Usage
	keys    keyList // for the rows; empty if none is needed
	punched []target.Place
	stored  []storedEntry
	done    bool
	raises  bool           // it has the ceiling with it
	group   *journal.Group // that it waits for; nil: for the index's own sync
	failed  error          // of Apply

	key, val []byte
	sums     []uint32
	marks    []uint64 // for the backlog
}

type storedEntry struct {
	segment uint64
	entry   segment.Entry
}

func (p *preparation) needsRow() bool { return len(p.b.Participants) > 0 || p.b.Deferred }

// set puts one version: p.key is its prefix, p.val its value.
func (p *preparation) set(minor uint32) error {
	if p.needsRow() {
		p.keys.add(p.key, minor)
	}
	p.mark(p.key)
	p.key = appendVersion(p.key, version{p.b.Epoch, minor})
	return p.batch.Set(p.key, p.val, nil)
}

// mark notes what the backlog is to know of a key.
func (p *preparation) mark(key []byte) {
	if m := markOf(key); len(p.marks) == 0 || p.marks[len(p.marks)-1] != m {
		p.marks = append(p.marks, m)
	}
}

func (p *preparation) add(minor uint32, w *target.Placed) error {
	pl := target.Place{Dataset: p.b.Dataset, Hash: w.Hash, OID: w.OID, Group: w.Group}
	switch w.Op {
	case object.OpPut:
		p.key, _ = appendAkey(p.key[:0], planeName, pl, w.Dkey, w.Akey)
		return p.payload(minor, false, 0, w.Data, len(w.Data) <= object.InlineMax)
	case object.OpWrite:
		return p.extents(minor, pl, w)
	case object.OpPunchRange:
		p.key, _ = appendAkey(p.key[:0], planeExtent, pl, w.Dkey, w.Akey)
		p.key = append(p.key, subHole)
		p.val = appendHole(p.val[:0], w.Offset, w.Length)
		return p.set(minor)
	case object.OpPunchAkey:
		p.val = append(p.val[:0], typePunch, encodingPlain)
		p.key, _ = appendAkey(p.key[:0], planeName, pl, w.Dkey, w.Akey)
		if err := p.set(minor); err != nil {
			return err
		}
		p.key, _ = appendAkey(p.key[:0], planeExtent, pl, w.Dkey, w.Akey)
		p.key = append(p.key, subHole)
		return p.set(minor)
	case object.OpPunchDkey:
		p.val = append(p.val[:0], typePunch, encodingPlain)
		p.key = append(appendDkey(p.key[:0], planeName, pl, w.Dkey), tagDkey)
		if err := p.set(minor); err != nil {
			return err
		}
		p.key = append(appendDkey(p.key[:0], planeExtent, pl, w.Dkey), tagDkey)
		return p.set(minor)
	default: // OpPunchObject: checkBatch lets no other pass
		p.t.punches.add(pl)
		p.punched = append(p.punched, pl)
		p.val = append(p.val[:0], typePunch, encodingPlain)
		p.key = appendHead(p.key[:0], planePunch, pl)
		return p.set(minor)
	}
}

// extents cuts a write at the borders of chunks.
func (p *preparation) extents(minor uint32, pl target.Place, w *target.Placed) error {
	inline := len(w.Data) <= object.InlineMax
	data, off := w.Data, w.Offset
	for len(data) > 0 {
		n := int(min(uint64(len(data)), ChunkSize-off%ChunkSize))
		p.key, _ = appendAkey(p.key[:0], planeExtent, pl, w.Dkey, w.Akey)
		p.key = appendChunk(p.key, off/ChunkSize)
		if err := p.payload(minor, true, off, data[:n], inline); err != nil {
			return err
		}
		data, off = data[n:], off+uint64(n)
	}
	return nil
}

// payload puts one value or extent under p.key.
func (p *preparation) payload(minor uint32, array bool, off uint64, data []byte, inline bool) error {
	p.usage.Bytes += int64(len(data))
	p.usage.Records++
	if inline {
		p.val = appendInline(p.val[:0], array, off, data)
		return p.set(minor)
	}
	p.sums = segment.Sums(p.sums[:0], data, object.Granule)
	seg, pos, err := p.w.Append(data)
	if err != nil {
		return err
	}
	p.val = appendStored(p.val[:0], array, off, uint64(len(data)), seg, pos, p.sums)
	if err := p.set(minor); err != nil {
		return err
	}
	both := make([]byte, 0, len(p.key)+len(p.val))
	both = append(append(both, p.key...), p.val...)
	p.stored = append(p.stored, storedEntry{seg, segment.Entry{Key: both[:len(p.key):len(p.key)], Value: both[len(p.key):]}})
	return nil
}

// rows adds everything of the batch that is not a version.
func (p *preparation) rows() error {
	b := p.b
	if err := mergeUsage(p.batch, b.Dataset, p.usage); err != nil {
		return err
	}
	if len(b.Participants) > 0 {
		if err := p.batch.Set(txKey(b.Epoch), encodeRow(b, &p.keys), nil); err != nil {
			return err
		}
	}
	if b.Deferred {
		if err := p.batch.Set(deferredKey(b.Epoch, b.Dataset), encodeRow(b, &p.keys), nil); err != nil {
			return err
		}
	}
	if !b.Request.IsZero() {
		v := binary.BigEndian.AppendUint64(nil, uint64(b.Epoch))
		key := requestKey(b.Dataset, b.Request)
		p.mark(key)
		if err := p.batch.Set(key, append(v, b.Answer...), nil); err != nil {
			return err
		}
	}
	if uint64(b.Epoch) > p.t.ceiling.Load() {
		return p.batch.Merge(ceilingKey(), binary.BigEndian.AppendUint64(nil, ceilingFor(b.Epoch)), nil)
	}
	return nil
}

// ceilingFor is a second above e, so that not every batch raises the ceiling.
func ceilingFor(e object.Epoch) uint64 {
	const second = 1_000_000 << 12
	if uint64(e) > math.MaxUint64-second-1 {
		return math.MaxUint64 - 1
	}
	return uint64(e) + second
}

func raise(v interface {
	Load() uint64
	CompareAndSwap(old, new uint64) bool
}, to uint64) {
	for {
		have := v.Load()
		if have >= to || v.CompareAndSwap(have, to) {
			return
		}
	}
}

// commit is what follows when the batch is durable.
func (p *preparation) commit() {
	t, b := p.t, p.b
	p.done = true
	if p.raises {
		// Only now: a batch beside this one must not rely on a ceiling that is
		// not durable before it.
		raise(&t.ceiling, ceilingFor(b.Epoch))
	}
	if len(b.Participants) > 0 {
		t.rows.add(b.Epoch)
	}
	t.usage.add(b.Dataset, p.usage)
	t.sweeps.changed(b.Dataset)
	for i := range p.stored {
		p.w.Commit(p.stored[i].segment, p.stored[i].entry)
	}
	if b.Deferred {
		t.deferred.add(deferredKey(b.Epoch, b.Dataset))
	}
}

func (p *preparation) end() {
	// After a failed sync the punches may be in the index all the same.
	if !p.done && p.t.guard.Failed() == nil {
		for _, pl := range p.punched {
			p.t.punches.remove(pl)
		}
	}
	if p.w != nil {
		p.w.End()
	}
	if p.batch != nil {
		_ = p.batch.Close()
	}
	p.t.leave()
}

// failedWrite is the outcome of a failed write to a segment.
func (t *Target) failedWrite(err error) error {
	if e := t.guard.Failed(); e != nil {
		return e
	}
	return t.indexError("vos.prepare", err)
}
