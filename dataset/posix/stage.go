package posix

import (
	"context"
	"encoding/binary"
	"time"

	"daos/engine/object"
	"daos/internal/fault"
)

// Times to live of staged files.
const (
	DefaultTTL = 10 * time.Minute
	MaxTTL     = 24 * time.Hour
)

// A staged file has an inode number and bytes, but no name: nobody can find it.
// Its lease says until when it lives and in which session of the server its
// bytes were written: they are durable only when it is published, so that after
// a restart there may be fewer than the client was told.
//
// Lease, akey "s": u8 version, 7 zeros, u64 session, i64 time to live (ns).
// Akey "u": i64 expiry, ns since 1970; written blindly, so that parallel
// writers of one file don't meet in it.
type stagedLease struct {
	session uint64
	ttl     time.Duration
}

func (l stagedLease) encode() []byte {
	b := make([]byte, 24)
	b[0] = recordVersion
	binary.LittleEndian.PutUint64(b[8:], l.session)
	binary.LittleEndian.PutUint64(b[16:], uint64(l.ttl))
	return b
}

func decodeLease(b []byte, inode uint64) (stagedLease, error) {
	if len(b) != 24 || b[0] != recordVersion {
		return stagedLease{}, corrupt("staged file "+utoa(inode), "lease of %d bytes", len(b))
	}
	return stagedLease{binary.LittleEndian.Uint64(b[8:]), time.Duration(binary.LittleEndian.Uint64(b[16:]))}, nil
}

func i64(n int64) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(n)) }

// Stage begins a file that nobody sees and returns its inode number. A ttl of 0
// is DefaultTTL: so long after the last write it is dropped.
func (f *FS) Stage(ctx context.Context, req object.RequestID, ttl time.Duration) (uint64, error) {
	if ttl == 0 {
		ttl = DefaultTTL
	}
	if ttl < time.Second || ttl > MaxTTL {
		return 0, fault.New(fault.Invalid, "posix.stage", "staged file", "a time to live of %v", ttl).Do("use a second to %v", MaxTTL)
	}
	res, err := f.mutate(ctx, "posix.stage", "staged file", req, func(c *change) error {
		n, err := f.number(ctx, 1)
		if err != nil {
			return err
		}
		c.write(put(metaID(metaStaged), chunkKey(n), akeyState, stagedLease{f.opts.Session, ttl}.encode()),
			put(metaID(metaStaged), chunkKey(n), akeyUntil, i64(c.now+int64(ttl))))
		c.answer = chunkKey(n)
		return nil
	})
	if err != nil {
		return 0, err
	}
	if len(res.Answer) != 8 {
		return 0, misused("staged file")
	}
	return binary.BigEndian.Uint64(res.Answer), nil
}

// leaseOf reads the lease of a staged file of this session.
func (c *change) leaseOf(ctx context.Context, inode uint64) (stagedLease, error) {
	where := "staged file " + utoa(inode)
	b, _, err := c.fs.store.Get(ctx, c.v.at, metaID(metaStaged), chunkKey(inode), akeyState)
	if fault.Is(err, fault.NotFound) {
		return stagedLease{}, fault.New(fault.NotFound, "posix.stage", where, "not there: published, discarded, or not written to for too long").
			Do("stage the file again")
	}
	if err != nil {
		return stagedLease{}, err
	}
	l, err := decodeLease(b, inode)
	if err == nil && l.session != c.fs.opts.Session {
		err = fault.New(fault.Stale, "posix.stage", where, "the server has restarted since, bytes may be lost").Do("stage the file again")
	}
	c.tx.Reads = append(c.tx.Reads, point(metaID(metaStaged), chunkKey(inode), akeyState))
	return l, err
}

// WriteStaged writes into a staged file; durable only when it is published.
func (f *FS) WriteStaged(ctx context.Context, req object.RequestID, inode, off uint64, data []byte) error {
	where := "staged file " + utoa(inode)
	if err := checkRange(where, off, len(data)); err != nil {
		return err
	}
	_, err := f.mutate(ctx, "posix.stage", where, req, func(c *change) error {
		l, err := c.leaseOf(ctx, inode)
		if err != nil {
			return err
		}
		c.tx.Deferred = true
		c.bytes(object.MakeID(f.props.FileClass, useFile, inode), f.props.ChunkSize, off, data)
		b, _, err := f.store.Get(ctx, c.v.at, metaID(metaStaged), chunkKey(inode), akeyUntil)
		if err != nil {
			return err
		}
		if until := int64(binary.LittleEndian.Uint64(append(b, make([]byte, 8)...))); until-c.now < int64(l.ttl/2) {
			c.write(put(metaID(metaStaged), chunkKey(inode), akeyUntil, i64(c.now+int64(l.ttl))))
		}
		return nil
	})
	return err
}

// PublishOptions say how a staged file gets its name.
type PublishOptions struct {
	Size      uint64 // bytes that were not written read as zeros
	Mode      uint32 // 0: DefaultMode
	UID, GID  uint32
	Parents   bool  // make missing parents
	Exclusive bool  // fault.Exists if the path is there
	Mtime     int64 // 0: now
}

// Publish makes a staged file durable and visible under a path in one step,
// replacing a file that is there.
func (f *FS) Publish(ctx context.Context, req object.RequestID, inode uint64, path string, o PublishOptions) (Attr, error) {
	if o.Mode == 0 {
		o.Mode = DefaultMode
	}
	if err := checkRange(path, o.Size, 0); err != nil {
		return Attr{}, err
	}
	res, err := f.mutate(ctx, "posix.publish", show(path), req, func(c *change) error {
		if _, err := c.leaseOf(ctx, inode); err != nil {
			return err
		}
		p, err := c.spot(ctx, path, !o.Exclusive, o.Parents)
		if err != nil {
			return err
		}
		if p.found {
			if o.Exclusive {
				return exists(path, p.rec.typ)
			}
			if err := wantFile(p.rec.typ, show(path)); err != nil {
				return err
			}
			c.drop(&p)
		}
		c.tx.Barrier = true
		rec := f.fresh(TypeFile, inode, o.Mode, o.UID, o.GID, c.now)
		rec.size = o.Size
		if o.Mtime != 0 {
			rec.mtime = o.Mtime
		}
		first := o.Size / uint64(rec.chunk)
		if cut := o.Size % uint64(rec.chunk); cut != 0 {
			c.write(object.Write{Op: object.OpPunchRange, OID: rec.oid(), Dkey: chunkKey(first), Akey: akeyData, Offset: cut})
			first++
		}
		if err := c.punchFrom(ctx, rec.oid(), first); err != nil {
			return err
		}
		c.enter(p.dir, p.name, rec)
		c.hang(rec.oid(), self{parent: p.dir, name: p.name})
		c.write(object.Write{Op: object.OpPunchDkey, OID: metaID(metaStaged), Dkey: chunkKey(inode)})
		c.done(&rec)
		return nil
	})
	return attrOf(res, err, show(path))
}

// Discard drops a staged file. One that is not there is no error.
func (f *FS) Discard(ctx context.Context, inode uint64) error {
	_, err := f.mutate(ctx, "posix.discard", "staged file "+utoa(inode), object.RequestID{}, func(c *change) error {
		_, _, err := f.store.Get(ctx, c.v.at, metaID(metaStaged), chunkKey(inode), akeyState)
		if fault.Is(err, fault.NotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		c.tx.Reads = append(c.tx.Reads, point(metaID(metaStaged), chunkKey(inode), akeyState))
		c.discard(inode)
		return nil
	})
	return err
}

func (c *change) discard(inode uint64) {
	c.write(object.Write{Op: object.OpPunchDkey, OID: metaID(metaStaged), Dkey: chunkKey(inode)},
		put(metaID(metaReap), chunkKey(inode), akeyReap, []byte{recordVersion, byte(c.fs.props.FileClass)}))
}
