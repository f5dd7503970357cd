package posix

import (
	"context"
	"encoding/binary"

	"daos/engine/object"
	"daos/internal/fault"
)

// CreateOptions say how a file is made or opened.
type CreateOptions struct {
	Mode      uint32 // of a new file; 0: DefaultMode
	UID, GID  uint32
	Exclusive bool   // fault.Exists if it is there
	Truncate  bool   // cut an existing file to nothing
	Parents   bool   // make missing parents
	Content   []byte // not empty: the whole content, in the same transaction
}

// Create makes a file, or opens the one that is there. Unless Exclusive, a
// symbolic link at the end is followed, also to a file that is not there yet.
func (f *FS) Create(ctx context.Context, req object.RequestID, path string, o CreateOptions) (Attr, error) {
	if o.Mode == 0 {
		o.Mode = DefaultMode
	}
	if err := checkRange(path, 0, len(o.Content)); err != nil {
		return Attr{}, err
	}
	res, err := f.mutate(ctx, "posix.create", show(path), req, func(c *change) error {
		p, err := c.spot(ctx, path, !o.Exclusive, o.Parents)
		if err != nil {
			return err
		}
		if !p.found {
			if p.rec, err = c.made(ctx, TypeFile, o.Mode, o.UID, o.GID); err != nil {
				return err
			}
			p.rec.size = uint64(len(o.Content))
			c.enter(p.dir, p.name, p.rec)
			c.hang(p.rec.oid(), self{parent: p.dir, name: p.name})
			c.bytes(p.rec.oid(), p.rec.chunk, 0, o.Content)
			c.done(&p.rec)
			return nil
		}
		if o.Exclusive {
			return exists(path, p.rec.typ)
		}
		if err := wantFile(p.rec.typ, show(path)); err != nil {
			return err
		}
		if o.Truncate || len(o.Content) > 0 {
			if err := c.cut(ctx, &p.rec, 0); err != nil {
				return err
			}
			p.rec.size = uint64(len(o.Content))
			p.rec.mtime, p.rec.ctime = c.now, max(p.rec.ctime, c.now)
			c.bytes(p.rec.oid(), p.rec.chunk, 0, o.Content)
			c.store(&p)
		}
		c.done(&p.rec)
		return nil
	})
	return attrOf(res, err, show(path))
}

// WriteOptions say where bytes go.
type WriteOptions struct {
	Offset uint64
	Append bool // at the end, atomically among writers; Offset is not used
}

// Written says what a Write did.
type Written struct {
	Offset uint64 // where the bytes begin
	Size   uint64 // of the file after it
	Epoch  object.Epoch
}

// Write writes bytes into a file that is there. The file's size and time reach
// its entry in the same transaction, as maxima.
func (f *FS) Write(ctx context.Context, req object.RequestID, r Ref, o WriteOptions, data []byte) (Written, error) {
	if o.Append {
		o.Offset = 0
	}
	if err := checkRange(r.String(), o.Offset, len(data)); err != nil {
		return Written{}, err
	}
	res, err := f.mutate(ctx, "posix.write", r.String(), req, func(c *change) error {
		p, err := c.ref(ctx, r, true)
		if err != nil {
			return err
		}
		if err := wantFile(p.rec.typ, r.String()); err != nil {
			return err
		}
		off := o.Offset
		if o.Append {
			off = p.rec.size
			if err := checkRange(r.String(), off, len(data)); err != nil {
				return err
			}
		}
		if len(data) > 0 {
			c.bytes(p.rec.oid(), p.rec.chunk, off, data)
			p.rec.size = max(p.rec.size, off+uint64(len(data)))
			p.rec.mtime, p.rec.ctime = max(p.rec.mtime, c.now), max(p.rec.ctime, c.now)
			c.store(&p)
		}
		c.answer = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, off), p.rec.size)
		return nil
	})
	if err != nil {
		return Written{}, err
	}
	if len(res.Answer) != 16 {
		return Written{}, misused(r.String())
	}
	le := binary.LittleEndian
	return Written{Offset: le.Uint64(res.Answer), Size: le.Uint64(res.Answer[8:]), Epoch: res.Epoch}, nil
}

func misused(where string) error {
	return fault.New(fault.Invalid, "posix.replay", where, "this request id was used by another call").Do("use a new request id for each call")
}

func checkRange(where string, off uint64, n int) error {
	if n > MaxWrite {
		return fault.New(fault.TooBig, "posix.write", where, "%d bytes in one call, at most %d are allowed", n, MaxWrite).Do("write in pieces")
	}
	if off > MaxFile || off+uint64(n) > MaxFile {
		return fault.New(fault.Invalid, "posix.write", where, "%d bytes at %d end beyond %d, the largest size of a file", n, off, MaxFile)
	}
	return nil
}

// Truncate sets a file's size; a new part reads as zeros.
func (f *FS) Truncate(ctx context.Context, req object.RequestID, r Ref, size uint64) (object.Epoch, error) {
	if err := checkRange(r.String(), size, 0); err != nil {
		return 0, err
	}
	res, err := f.mutate(ctx, "posix.truncate", r.String(), req, func(c *change) error {
		p, err := c.ref(ctx, r, true)
		if err != nil {
			return err
		}
		if err := wantFile(p.rec.typ, r.String()); err != nil {
			return err
		}
		if err := c.cut(ctx, &p.rec, size); err != nil {
			return err
		}
		p.rec.size = size
		p.rec.mtime, p.rec.ctime = c.now, max(p.rec.ctime, c.now)
		c.store(&p)
		return nil
	})
	return res.Epoch, err
}

// cutMax is how many chunks one truncation punches.
const cutMax = 100_000

// cut punches the bytes of a file from size on. Whoever writes bytes writes the
// inode too, so that what is found here is all there is at the commit.
func (c *change) cut(ctx context.Context, r *record, size uint64) error {
	if size >= r.size {
		return nil
	}
	oid, chunk := r.oid(), uint64(r.chunk)
	first, last := size/chunk, chunks(r.size, r.chunk)
	if size%chunk != 0 {
		c.write(object.Write{Op: object.OpPunchRange, OID: oid, Dkey: chunkKey(first), Akey: akeyData, Offset: size % chunk})
		first++
	}
	if last-min(first, last) <= punchNow {
		for i := first; i < last; i++ {
			c.punchChunk(oid, chunkKey(i))
		}
		return nil
	}
	return c.punchFrom(ctx, oid, first)
}

// punchFrom punches the chunks that are there from one on.
func (c *change) punchFrom(ctx context.Context, oid object.ID, first uint64) error {
	n := 0
	err := c.fs.store.ListArrays(ctx, c.v.at, oid, object.ListOptions{From: chunkKey(first), Akey: akeyData, Limit: cutMax + 1},
		func(dkey, _ []byte) bool {
			c.punchChunk(oid, append([]byte(nil), dkey...))
			n++
			return true
		})
	if err == nil && n > cutMax {
		err = fault.New(fault.TooBig, "posix.truncate", "inode "+utoa(oid.Lo), "more than %d chunks to remove in one step", cutMax).
			Do("truncate in steps from the end, or remove the file")
	}
	return err
}

func (c *change) punchChunk(oid object.ID, dkey []byte) {
	c.write(object.Write{Op: object.OpPunchAkey, OID: oid, Dkey: dkey, Akey: akeyData})
}
