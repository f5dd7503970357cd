package engine

import (
	"context"
	"slices"

	"daos/engine/kernel"
	"daos/engine/object"
	"daos/engine/target"
	"daos/internal/fault"
)

// readable checks that at may be read: closed, and not swept.
func (d *Dataset) readable(ctx context.Context, at object.Epoch) error {
	if g := d.gone.Load(); g != nil {
		return g
	}
	if err := ctx.Err(); err != nil {
		return fault.Wrap(err, "object.read", datasetName(d.id))
	}
	if at > object.Epoch(d.closed.Load()) {
		if _, err := d.ReadEpoch(ctx, at); err != nil {
			return err
		}
	}
	return d.above(at)
}

// above is asked before a read, and again after it: the sweeper raises the
// horizon before it drops anything, so what was read in between is whole.
func (d *Dataset) above(at object.Epoch) error {
	if g := d.gone.Load(); g != nil {
		return g
	}
	h := object.Epoch(d.horizon.Load())
	if at >= h {
		return nil
	}
	if _, pinned := slices.BinarySearch(*d.pins.Load(), at); pinned {
		return nil
	}
	return d.swept(at)
}

func (d *Dataset) swept(at object.Epoch) error {
	h := object.Epoch(d.horizon.Load())
	return fault.New(fault.EpochGone, "object.read", datasetName(d.id), "versions at epoch %d have been swept (horizon %d, %s)",
		uint64(at), uint64(h), h.Time().Format("2006-01-02T15:04:05Z")).
		Do("read at a newer epoch; to keep one readable, take a snapshot of it within the window")
}

func (d *Dataset) place(oid object.ID, dkey []byte) (target.Place, target.Target) {
	p, id := kernel.Place(d.e.layout, d.id, oid, oid.Class().Group(dkey))
	return p, d.e.targets[id]
}

// Get implements object.Reader.
func (d *Dataset) Get(ctx context.Context, at object.Epoch, oid object.ID, dkey, akey []byte) ([]byte, object.Epoch, error) {
	if err := object.CheckKey(oid, dkey, akey); err != nil {
		return nil, 0, err
	}
	if err := d.readable(ctx, at); err != nil {
		return nil, 0, err
	}
	p, t := d.place(oid, dkey)
	v, err := t.Get(at, p, dkey, akey)
	data := v.Record.Inline
	if err == nil && data == nil {
		data = make([]byte, v.Record.Length)
		err = t.ReadRecord(d.id, v.Record, 0, data)
	}
	if gone := d.above(at); gone != nil {
		return nil, 0, gone
	}
	if err != nil {
		return nil, 0, err
	}
	return data, v.Epoch, nil
}

// Extents implements object.Reader.
func (d *Dataset) Extents(ctx context.Context, at object.Epoch, oid object.ID, dkey, akey []byte, off, n uint64) ([]object.Extent, error) {
	if err := object.CheckRange(oid, dkey, akey, off, n); err != nil {
		return nil, err
	}
	if err := d.readable(ctx, at); err != nil {
		return nil, err
	}
	p, t := d.place(oid, dkey)
	xs, err := t.Extents(at, p, dkey, akey, off, n)
	if gone := d.above(at); gone != nil {
		return nil, gone
	}
	return xs, err
}

// ReadArray implements object.Reader.
func (d *Dataset) ReadArray(ctx context.Context, at object.Epoch, oid object.ID, dkey, akey []byte, off uint64, b []byte) error {
	if err := object.CheckRange(oid, dkey, akey, off, uint64(len(b))); err != nil {
		return err
	}
	if err := d.readable(ctx, at); err != nil {
		return err
	}
	p, t := d.place(oid, dkey)
	err := d.readArray(ctx, t, at, p, dkey, akey, off, b)
	if gone := d.above(at); gone != nil {
		return gone
	}
	return err
}

func (d *Dataset) readArray(ctx context.Context, t target.Target, at object.Epoch, p target.Place, dkey, akey []byte, off uint64, b []byte) error {
	xs, err := t.Extents(at, p, dkey, akey, off, uint64(len(b)))
	if err != nil {
		return err
	}
	pos := uint64(0) // everything of b before it is filled
	for i := range xs {
		x := &xs[i]
		if i%64 == 63 {
			if err := ctx.Err(); err != nil {
				return fault.Wrap(err, "object.read", datasetName(d.id))
			}
		}
		at := x.Offset - off
		clear(b[pos:at])
		pos = at + x.Length
		if err := t.ReadRecord(d.id, x.Record, x.Skip, b[at:pos]); err != nil {
			return err
		}
	}
	clear(b[pos:])
	return nil
}

// ArrayEnd implements object.Reader.
func (d *Dataset) ArrayEnd(ctx context.Context, at object.Epoch, oid object.ID, dkey, akey []byte) (uint64, error) {
	if err := object.CheckKey(oid, dkey, akey); err != nil {
		return 0, err
	}
	if err := d.readable(ctx, at); err != nil {
		return 0, err
	}
	p, t := d.place(oid, dkey)
	end, err := arrayEnd(t, at, p, dkey, akey)
	if gone := d.above(at); gone != nil {
		return 0, gone
	}
	return end, err
}

func arrayEnd(t target.Target, at object.Epoch, p target.Place, dkey, akey []byte) (uint64, error) {
	if a, ok := t.(target.ArrayEnder); ok {
		return a.ArrayEnd(at, p, dkey, akey)
	}
	xs, err := t.Extents(at, p, dkey, akey, 0, object.MaxArray)
	if err != nil || len(xs) == 0 {
		return 0, err
	}
	last := &xs[len(xs)-1]
	return last.Offset + last.Length, nil
}

// Segment implements object.Bulk.
func (d *Dataset) Segment(t uint16, segment uint64) (object.Mapping, error) {
	if g := d.gone.Load(); g != nil {
		return nil, g
	}
	if int(t) >= len(d.e.targets) {
		return nil, fault.New(fault.NotFound, "object.segment", datasetName(d.id), "no target %d", t)
	}
	return d.e.targets[t].Segment(d.id, segment)
}

// Generation implements object.Bulk. A restart changes it too: what has moved
// right before is not known then.
func (d *Dataset) Generation() uint64 {
	g := d.e.generation << 32
	for _, t := range d.e.targets {
		g += t.Generation()
	}
	return g
}
