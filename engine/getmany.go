package engine

import (
	"context"

	"daos/engine/kernel"
	"daos/engine/object"
	"daos/engine/target"
	"daos/internal/fault"
)

var _ object.ManyGetter = (*Dataset)(nil)

// manyStep is how many values are looked up before somebody who has gone away is
// noticed.
const manyStep = 256

// GetMany implements object.ManyGetter.
func (d *Dataset) GetMany(ctx context.Context, at object.Epoch, oid object.ID, names []object.Name, fn func(i int, value []byte, version object.Epoch)) error {
	if err := d.readable(ctx, at); err != nil {
		return err
	}
	err := d.getMany(ctx, at, oid, names, fn)
	if gone := d.above(at); gone != nil {
		return gone
	}
	return err
}

func (d *Dataset) getMany(ctx context.Context, at object.Epoch, oid object.ID, names []object.Name, fn func(i int, value []byte, version object.Epoch)) error {
	// Those of one target after those of another; back says which they are.
	parts := make([][]target.Named, len(d.e.targets))
	back := make([][]int, len(d.e.targets))
	for i := range names {
		if err := object.CheckKey(oid, names[i].Dkey, names[i].Akey); err != nil {
			return err
		}
		p, id := kernel.Place(d.e.layout, d.id, oid, oid.Class().Group(names[i].Dkey))
		parts[id] = append(parts[id], target.Named{Place: p, Dkey: names[i].Dkey, Akey: names[i].Akey})
		back[id] = append(back[id], i)
	}
	for id, part := range parts {
		t := d.e.targets[id]
		for from := 0; from < len(part); from += manyStep {
			if err := ctx.Err(); err != nil {
				return fault.Wrap(err, "object.read", datasetName(d.id))
			}
			some := part[from:min(from+manyStep, len(part))]
			err := getNamed(t, at, some, func(k int, v target.Version) error {
				data := v.Record.Inline
				if data == nil {
					data = make([]byte, v.Record.Length)
					if err := t.ReadRecord(d.id, v.Record, 0, data); err != nil {
						return err
					}
				}
				fn(back[id][from+k], data, v.Epoch)
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// getNamed is target.ManyGetter of any target.
func getNamed(t target.Target, at object.Epoch, names []target.Named, fn func(k int, v target.Version) error) error {
	if many, ok := t.(target.ManyGetter); ok {
		return many.GetMany(at, names, fn)
	}
	for k := range names {
		v, err := t.Get(at, names[k].Place, names[k].Dkey, names[k].Akey)
		if fault.Is(err, fault.NotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if err := fn(k, v); err != nil {
			return err
		}
	}
	return nil
}
