package kv

import (
	"context"

	"daos/engine/object"
	"daos/internal/fault"
)

// Define declares the schema of a dataset that has no pairs; from then on a
// value that does not fit is refused. fault.Exists if there is a schema,
// fault.NotEmpty if there are pairs.
func (d *Dataset) Define(ctx context.Context, req object.RequestID, s Schema) (object.Epoch, error) {
	s.Fields = append([]Field(nil), s.Fields...)
	if err := s.prepare(); err != nil {
		return 0, err
	}
	res, err := d.mutate(ctx, "kv.define", req, func(c *change) error {
		if len(c.super.schema) > 0 {
			return fault.New(fault.Exists, "kv.define", "schema", "the dataset has a schema").Do("make a new dataset for values with other fields")
		}
		some := false
		err := d.st.List(ctx, c.at, d.values, object.ListOptions{Limit: 1, KeysOnly: true}, func(object.Item) bool { some = true; return false })
		if err != nil {
			return err
		}
		if some {
			return fault.New(fault.NotEmpty, "kv.define", "dataset", "there are pairs already, which may not fit").Do("declare the schema of an empty dataset")
		}
		c.tx.Reads = append(c.tx.Reads, object.Read{OID: d.values})
		next := c.super
		next.schema = s.encode()
		c.write(object.Write{Op: object.OpPut, OID: metaOID, Dkey: keySuper, Akey: akeyState, Data: next.encode()})
		return nil
	})
	return res.Epoch, err
}
