package array

import (
	"context"
	"encoding/binary"
	"encoding/json"

	"daos/engine/object"
	"daos/internal/fault"
)

// CreateOptions are the terms of Create and CreateGroup.
type CreateOptions struct {
	Request    object.RequestID
	Attributes map[string]json.RawMessage
	// Overwrite replaces an array of this path (Create).
	Overwrite bool
	// ExistOK: a group that is there is no error (CreateGroup).
	ExistOK bool
}

// above puts the groups above a path into the transaction, where they are not there.
func (d *Dataset) above(ctx context.Context, c *change, path string) error {
	for p, ok := parent(path); ok && p != ""; p, ok = parent(p) {
		n, err := d.node(ctx, c.tx.ReadAt, p)
		c.reads(catalogOID, nodeKey(p), akeySpec)
		switch {
		case fault.Is(err, fault.NotFound):
			c.put(catalogOID, nodeKey(p), akeySpec, encodeSpec(0, nil))
		case err != nil:
			return err
		case n.Spec != nil:
			return fault.New(fault.NotDirectory, "array.create", d.where(p), "it is an array, not a group").Do("choose another path")
		default:
			return nil // and so are those above it
		}
	}
	return nil
}

// CreateGroup makes a group, and the groups above it.
func (d *Dataset) CreateGroup(ctx context.Context, path string, o CreateOptions) (Done, error) {
	attrs, err := encodeAttributes(d.where(path), o.Attributes)
	if err != nil {
		return Done{}, err
	}
	k := newCall(opGroup, o.Request, []byte(path), attrs)
	done, _, err := d.once(ctx, k, 0, func(done *Done) error {
		c, err := d.change(ctx, o.Request, k.answer())
		if err != nil {
			return err
		}
		n, err := d.node(ctx, c.tx.ReadAt, path)
		switch {
		case err == nil && n.Spec == nil && o.ExistOK:
			done.Epoch = c.tx.ReadAt
			return errNothing
		case err == nil:
			return fault.New(fault.Exists, "array.create", d.where(path), "it is there already").Do("choose another path")
		case !fault.Is(err, fault.NotFound):
			return err
		}
		c.reads(catalogOID, nodeKey(path), akeySpec)
		if err := d.above(ctx, c, path); err != nil {
			return err
		}
		c.put(catalogOID, nodeKey(path), akeySpec, encodeSpec(0, nil))
		if len(o.Attributes) > 0 {
			c.put(catalogOID, nodeKey(path), akeyAttrs, attrs)
		}
		done.Epoch, err = d.commit(ctx, "array.create", path, c)
		return err
	})
	return done, err
}

// Create makes an array, and the groups above it. It returns the array's number.
func (d *Dataset) Create(ctx context.Context, path string, s Spec, o CreateOptions) (uint64, Done, error) {
	if err := CheckPath(path); err != nil {
		return 0, Done{}, err
	}
	if path == "" {
		return 0, Done{}, fault.New(fault.Invalid, "array.create", d.name, "an array needs a path; the root is a group").Do("name it (%s/NAME)", d.name)
	}
	if err := s.check(d.where(path)); err != nil {
		return 0, Done{}, err
	}
	attrs, err := encodeAttributes(d.where(path), o.Attributes)
	if err != nil {
		return 0, Done{}, err
	}
	k := newCall(opCreate, o.Request, []byte(path), attrs, encodeSpec(0, &s), extent{shape: s.Shape}.encode())
	var id uint64
	done, v, err := d.once(ctx, k, 1, func(done *Done) error {
		c, err := d.change(ctx, o.Request, nil)
		if err != nil {
			return err
		}
		n, err := d.node(ctx, c.tx.ReadAt, path)
		switch {
		case err == nil && (n.Spec == nil || !o.Overwrite):
			return fault.New(fault.Exists, "array.create", d.where(path), "it is there already").Do("choose another path, or replace it (--overwrite; overwrite=True)")
		case err == nil:
			c.remove(n)
		case !fault.Is(err, fault.NotFound):
			return err
		}
		c.reads(catalogOID, nodeKey(path), akeySpec)
		if err := d.above(ctx, c, path); err != nil {
			return err
		}
		if id, err = d.number(ctx, c); err != nil {
			return err
		}
		c.tx.Answer = k.answer(id)
		c.put(catalogOID, nodeKey(path), akeySpec, encodeSpec(id, &s))
		c.put(catalogOID, nodeKey(path), akeyShape, extent{shape: s.Shape}.encode())
		if len(o.Attributes) > 0 {
			c.put(catalogOID, nodeKey(path), akeyAttrs, attrs)
		}
		done.Epoch, err = d.commit(ctx, "array.create", path, c)
		return err
	})
	if done.Replayed {
		id = v[0]
	}
	return id, done, err
}

// number takes the next array number.
func (d *Dataset) number(ctx context.Context, c *change) (uint64, error) {
	b, _, err := d.st.Get(ctx, c.tx.ReadAt, catalogOID, keyHead, akeyValue)
	next := uint64(1)
	switch {
	case err == nil && len(b) == 9 && b[0] == recordVersion:
		next = binary.LittleEndian.Uint64(b[1:])
	case err == nil:
		return 0, corrupt(d.name, "the catalog's head is not readable")
	case !fault.Is(err, fault.NotFound):
		return 0, fault.Wrap(err, "array.create", d.name)
	}
	c.reads(catalogOID, keyHead, akeyValue)
	c.put(catalogOID, keyHead, akeyValue, binary.LittleEndian.AppendUint64([]byte{recordVersion}, next+1))
	return next, nil
}
