package engine

import (
	"context"

	"daos/engine/object"
	"daos/engine/target"
	"daos/internal/fault"
)

var _ object.RegionReader = (*Dataset)(nil)

// ReadRegions implements object.RegionReader.
func (d *Dataset) ReadRegions(ctx context.Context, at object.Epoch, oid object.ID, dkey, akey []byte, off, n uint64, out *object.Regions) error {
	if err := object.CheckRange(oid, dkey, akey, off, n); err != nil {
		return err
	}
	if err := d.readable(ctx, at); err != nil {
		return err
	}
	p, t := d.place(oid, dkey)
	err := d.readRegions(ctx, t, at, p, dkey, akey, off, n, out)
	if gone := d.above(at); gone != nil {
		return gone
	}
	return err
}

func (d *Dataset) readRegions(ctx context.Context, t target.Target, at object.Epoch, p target.Place, dkey, akey []byte, off, n uint64, out *object.Regions) error {
	xs, err := t.Extents(at, p, dkey, akey, off, n)
	if err != nil {
		return err
	}
	regions, ok := t.(target.RegionReader)
	pos := off
	for i := range xs {
		x := &xs[i]
		if i%64 == 63 {
			if err := ctx.Err(); err != nil {
				return fault.Wrap(err, "object.read", datasetName(d.id))
			}
		}
		out.AddZeros(x.Offset - pos)
		pos = x.Offset + x.Length
		if ok {
			err = regions.Regions(d.id, x.Record, x.Skip, x.Length, out)
		} else {
			b := make([]byte, x.Length)
			err = t.ReadRecord(d.id, x.Record, x.Skip, b)
			out.Add(b)
		}
		if err != nil {
			return err
		}
	}
	out.AddZeros(off + n - pos)
	return nil
}
