package vos

import (
	"daos/engine/object"
	"daos/engine/target"
)

var _ target.ManyGetter = (*Target)(nil)

// GetMany is Get for several values, with one iterator: making one costs as much
// as the look-up. fn is called for those that are there.
func (t *Target) GetMany(at object.Epoch, names []target.Named, fn func(i int, v target.Version) error) error {
	if err := t.enter(); err != nil {
		return err
	}
	defer t.leave()
	for i := range names {
		if err := t.readyAt(names[i].Place, names[i].Dkey, planeName); err != nil {
			return err
		}
	}
	c, err := t.bareCursor()
	if err != nil {
		return err
	}
	defer c.close()
	for i := range names {
		n := &names[i]
		cover, err := t.objectCover(at, n.Place)
		if err != nil {
			return err
		}
		v, r, ok, err := c.single(at, n.Place, cover, n.Dkey, n.Akey)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if err := fn(i, target.Version{Epoch: v.epoch, Record: r.object(t.opts.ID)}); err != nil {
			return err
		}
	}
	return nil
}
