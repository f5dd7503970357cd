package posix

import (
	"context"

	"daos/engine/object"
	"daos/internal/fault"
)

// change is one mutation under way: a transaction that grows, read through the
// view it was begun at. Everything that it looks at goes into the transaction's
// reads, every name on the way of a path too, so that what commits is what a
// caller would have got who stopped the world. It sees its own writes.
type change struct {
	fs     *FS
	v      *View
	tx     *object.Tx
	now    int64
	names  map[nameKey]*record  // entries read or written; nil: absent
	inodes map[object.ID]record // inode records read or written
	fresh  map[object.ID]bool   // directories made here: nothing to read there
	answer []byte
}

type nameKey struct {
	dir  object.ID
	name string
}

// mutate runs build until its transaction commits: again after each conflict,
// on what is there then. A build without writes commits nothing.
//
// A request id that has committed before gives its first answer. Commit sees to
// that where the call is made again as a whole; but what the first call did may
// be in the way of the second (an exclusive create finds its own file), so that
// the id is looked for before any failure is believed. It is looked for after
// the failure: the first call may have been under way until then.
func (f *FS) mutate(ctx context.Context, op, resource string, req object.RequestID, build func(*change) error) (object.Result, error) {
	for attempt := 1; ; attempt++ {
		res, err := f.try(ctx, req, build)
		if err == nil {
			return res, nil
		}
		if res, ok, rerr := f.replay(ctx, req); ok || rerr != nil {
			return res, fault.Wrap(rerr, op, resource)
		}
		// EpochGone: it took so long that the state it began on has been swept.
		if !fault.Is(err, fault.Conflict, fault.EpochGone) {
			return object.Result{}, fault.Wrap(err, op, resource)
		}
		if attempt >= f.opts.Attempts {
			return object.Result{}, fault.New(fault.KindOf(err), op, resource, "lost against other writers %d times", attempt).
				Because(err).Do("try again, with fewer writers of the same entry")
		}
		if err := f.opts.Backoff(ctx, attempt); err != nil {
			return object.Result{}, fault.Wrap(err, op, resource)
		}
	}
}

func (f *FS) replay(ctx context.Context, req object.RequestID) (object.Result, bool, error) {
	if req.IsZero() || ctx.Err() != nil {
		return object.Result{}, false, nil
	}
	return f.store.Replay(ctx, req)
}

// try builds a transaction on the state of now and commits it.
func (f *FS) try(ctx context.Context, req object.RequestID, build func(*change) error) (object.Result, error) {
	v, err := f.Head(ctx, 0)
	if err != nil {
		return object.Result{}, err
	}
	c := &change{
		fs: f, v: v, now: f.opts.Now().UnixNano(),
		tx:     &object.Tx{Request: req, ReadAt: v.at},
		names:  map[nameKey]*record{},
		inodes: map[object.ID]record{},
	}
	if err := build(c); err != nil {
		return object.Result{}, err
	}
	if len(c.tx.Writes) == 0 {
		if res, ok, err := f.replay(ctx, req); ok || err != nil {
			return res, err
		}
		return object.Result{Epoch: v.at, Answer: c.answer}, nil
	}
	c.tx.Answer = c.answer
	return f.store.Commit(ctx, c.tx)
}

func (c *change) entry(ctx context.Context, dir object.ID, name string) (record, bool, error) {
	k := nameKey{dir, name}
	if r, ok := c.names[k]; ok {
		if r == nil {
			return record{}, false, nil
		}
		return *r, true, nil
	}
	if c.fresh[dir] {
		return record{}, false, nil
	}
	r, ok, err := c.v.entry(ctx, dir, name)
	if err != nil {
		return record{}, false, err
	}
	c.tx.Reads = append(c.tx.Reads, point(dir, []byte(name), akeyEntry))
	if ok {
		c.names[k] = &r
	} else {
		c.names[k] = nil
	}
	return r, ok, nil
}

func (c *change) inodeOf(ctx context.Context, oid object.ID) (record, error) {
	if r, ok := c.inodes[oid]; ok {
		return r, nil
	}
	r, err := c.v.inodeOf(ctx, oid)
	if err != nil {
		return record{}, err
	}
	c.tx.Reads = append(c.tx.Reads, point(oid, home(oid), akeyInode))
	c.inodes[oid] = r
	return r, nil
}

// find resolves a path that must be there.
func (c *change) find(ctx context.Context, path string, follow bool) (place, error) {
	p, err := c.fs.walk(ctx, c, path, follow, nil)
	if err == nil && !p.found {
		err = notFound(path)
	}
	return p, err
}

// spot resolves a path that may be missing, making its parents if asked.
func (c *change) spot(ctx context.Context, path string, follow, parents bool) (place, error) {
	if !parents {
		return c.fs.walk(ctx, c, path, follow, nil)
	}
	return c.fs.walk(ctx, c, path, follow, func(dir object.ID, name string) (record, error) {
		return c.makeDir(ctx, dir, name, DirMode, 0, 0)
	})
}

func (c *change) ref(ctx context.Context, r Ref, follow bool) (place, error) {
	if r.Inode != 0 {
		return c.fs.findInode(ctx, c, r.Inode, c.v.self)
	}
	return c.find(ctx, r.Path, follow)
}

func (c *change) write(w ...object.Write) { c.tx.Writes = append(c.tx.Writes, w...) }

// enter writes the entry of a name.
func (c *change) enter(dir object.ID, name string, r record) {
	c.names[nameKey{dir, name}] = &r
	c.write(put(dir, []byte(name), akeyEntry, r.encode()))
}

// leave removes the entry of a name.
func (c *change) leave(dir object.ID, name string) {
	c.names[nameKey{dir, name}] = nil
	c.write(object.Write{Op: object.OpPunchAkey, OID: dir, Dkey: []byte(name), Akey: akeyEntry})
}

// hold writes the inode record into its object.
func (c *change) hold(r record) {
	oid := r.oid()
	c.inodes[oid] = r
	c.write(put(oid, home(oid), akeyInode, r.encode()))
}

// hang writes an object's self record.
func (c *change) hang(oid object.ID, s self) {
	if oid.Use() == useDir {
		c.write(put(oid, dkeySelf, akeySelf, s.encode()))
		return
	}
	c.write(object.Write{Op: object.OpWrite, OID: oid, Dkey: dkeyChunk0, Akey: akeySelf, Data: s.encode()})
}

// store writes a changed inode to where it lives.
func (c *change) store(p *place) {
	if p.held {
		c.hold(p.rec)
		return
	}
	c.enter(p.dir, p.name, p.rec)
}

// made begins the record of a new entry.
func (c *change) made(ctx context.Context, t Type, mode, uid, gid uint32) (record, error) {
	n, err := c.fs.number(ctx, 1)
	if err != nil {
		return record{}, err
	}
	return c.fs.fresh(t, n, mode, uid, gid, c.now), nil
}

func (f *FS) fresh(t Type, inode uint64, mode, uid, gid uint32, now int64) record {
	r := record{typ: t, class: f.props.FileClass, mode: mode & 0o7777, uid: uid, gid: gid, nlink: 1, inode: inode, mtime: now, ctime: now}
	switch t {
	case TypeDir:
		r.class = f.props.DirClass
	case TypeFile:
		r.chunk = f.props.ChunkSize
	}
	return r
}

// makeDir makes a directory under a name that is known to be absent.
func (c *change) makeDir(ctx context.Context, dir object.ID, name string, mode, uid, gid uint32) (record, error) {
	if err := CheckName(name); err != nil {
		return record{}, err
	}
	r, err := c.made(ctx, TypeDir, mode, uid, gid)
	if err != nil {
		return record{}, err
	}
	if c.fresh == nil {
		c.fresh = map[object.ID]bool{}
	}
	c.fresh[r.oid()] = true
	c.enter(dir, name, r)
	c.hang(r.oid(), self{parent: dir, name: name})
	return r, nil
}

// emptyDir makes sure that a directory is empty and stays so until the commit.
func (c *change) emptyDir(ctx context.Context, dir object.ID, path string) error {
	some := false
	if !c.fresh[dir] {
		err := c.fs.store.List(ctx, c.v.at, dir, object.ListOptions{From: dkeyNames, Akey: akeyEntry, Limit: 1, KeysOnly: true},
			func(object.Item) bool { some = true; return false })
		if err != nil {
			return err
		}
	}
	if some {
		return fault.New(fault.NotEmpty, "posix.remove", show(path), "the directory is not empty").Do("remove it recursively")
	}
	c.tx.Reads = append(c.tx.Reads, object.Read{OID: dir, From: dkeyNames})
	return nil
}

// bytes adds writes of data at an offset of a file.
func (c *change) bytes(oid object.ID, chunk uint32, off uint64, data []byte) {
	c.tx.Writes = appendBytes(c.tx.Writes, oid, uint64(chunk), off, data)
}

func appendBytes(ws []object.Write, oid object.ID, chunk, off uint64, data []byte) []object.Write {
	for len(data) > 0 {
		n := min(uint64(len(data)), chunk-off%chunk)
		ws = append(ws, object.Write{Op: object.OpWrite, OID: oid, Dkey: chunkKey(off / chunk), Akey: akeyData, Offset: off % chunk, Data: data[:n]})
		data, off = data[n:], off+n
	}
	return ws
}

// done keeps the attributes as the answer.
func (c *change) done(r *record) { c.answer = r.encode() }

// attrOf reads the answer of a mutation that ended with done.
func attrOf(res object.Result, err error, where string) (Attr, error) {
	if err != nil {
		return Attr{}, err
	}
	r, err := decodeRecord(res.Answer, res.Epoch)
	if err != nil {
		return Attr{}, fault.New(fault.Invalid, "posix.replay", where, "this request id was used by another call").Do("use a new request id for each call")
	}
	return r.attr(), nil
}
