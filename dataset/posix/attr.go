package posix

import (
	"context"

	"daos/engine/object"
	"daos/internal/fault"
)

// SetAttr says what to set; what is nil stays.
type SetAttr struct {
	Mode     *uint32
	UID, GID *uint32
	Mtime    *int64
}

// SetAttr sets attributes of an entry; a symbolic link at the end is followed.
// Times are assigned: later writes raise them again, never lower.
func (f *FS) SetAttr(ctx context.Context, req object.RequestID, r Ref, s SetAttr) (Attr, error) {
	if s.Mode != nil && *s.Mode > 0o7777 {
		return Attr{}, fault.New(fault.Invalid, "posix.setattr", r.String(), "mode %#o has bits beyond 07777", *s.Mode)
	}
	res, err := f.mutate(ctx, "posix.setattr", r.String(), req, func(c *change) error {
		p, err := c.ref(ctx, r, true)
		if err != nil {
			return err
		}
		rec := &p.rec
		if s.Mode != nil {
			rec.mode = *s.Mode
		}
		if s.UID != nil {
			rec.uid = *s.UID
		}
		if s.GID != nil {
			rec.gid = *s.GID
		}
		if s.Mtime != nil {
			rec.mtime = *s.Mtime
		}
		rec.ctime = max(rec.ctime, c.now)
		c.store(&p)
		c.done(rec)
		return nil
	})
	return attrOf(res, err, r.String())
}

// SetXattrOptions say how an extended attribute is set.
type SetXattrOptions struct {
	Remove    bool // remove it: fault.NotFound if it is not there
	Exclusive bool // fault.Exists if it is there
}

// SetXattr sets or removes an extended attribute. They lie in the object, so
// that they follow it through renames and are shared by all its names.
func (f *FS) SetXattr(ctx context.Context, req object.RequestID, r Ref, name string, value []byte, o SetXattrOptions) (object.Epoch, error) {
	if err := checkXattr(name); err != nil {
		return 0, err
	}
	if len(value) > MaxXattr {
		return 0, fault.New(fault.TooBig, "posix.xattr", r.String(), "a value of %d bytes, at most %d are allowed", len(value), MaxXattr)
	}
	res, err := f.mutate(ctx, "posix.xattr", r.String(), req, func(c *change) error {
		p, err := c.ref(ctx, r, true)
		if err != nil {
			return err
		}
		oid := p.rec.oid()
		akey := []byte(xattrPrefix + name)
		if o.Remove || o.Exclusive {
			_, _, err := f.store.Get(ctx, c.v.at, oid, home(oid), akey)
			if err != nil && !fault.Is(err, fault.NotFound) {
				return err
			}
			if err == nil && o.Exclusive && !o.Remove {
				return fault.New(fault.Exists, "posix.xattr", r.String(), "there is an extended attribute %s", show(name))
			}
			if err != nil && o.Remove {
				return fault.New(fault.NotFound, "posix.xattr", r.String(), "no extended attribute %s", show(name))
			}
			c.tx.Reads = append(c.tx.Reads, point(oid, home(oid), akey))
		}
		if o.Remove {
			c.write(object.Write{Op: object.OpPunchAkey, OID: oid, Dkey: home(oid), Akey: akey})
		} else {
			c.write(put(oid, home(oid), akey, value))
		}
		p.rec.ctime = max(p.rec.ctime, c.now)
		c.store(&p)
		return nil
	})
	return res.Epoch, err
}
