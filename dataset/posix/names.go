package posix

import (
	"context"
	"slices"
	"strconv"

	"daos/engine/object"
	"daos/internal/fault"
)

// MakeDirOptions say how a directory is made.
type MakeDirOptions struct {
	Mode     uint32 // 0: DirMode
	UID, GID uint32
	Parents  bool // make missing parents, and no error if the directory is there
}

// MakeDir makes a directory.
func (f *FS) MakeDir(ctx context.Context, req object.RequestID, path string, o MakeDirOptions) (Attr, error) {
	if o.Mode == 0 {
		o.Mode = DirMode
	}
	res, err := f.mutate(ctx, "posix.mkdir", show(path), req, func(c *change) error {
		p, err := c.spot(ctx, path, false, o.Parents)
		if err != nil {
			return err
		}
		if p.found {
			if o.Parents && p.rec.typ == TypeSymlink {
				if p, err = c.find(ctx, path, true); err != nil {
					return err
				}
			}
			if !o.Parents || p.rec.typ != TypeDir {
				return exists(path, p.rec.typ)
			}
			c.done(&p.rec)
			return nil
		}
		rec, err := c.makeDir(ctx, p.dir, p.name, o.Mode, o.UID, o.GID)
		c.done(&rec)
		return err
	})
	return attrOf(res, err, show(path))
}

func exists(path string, t Type) error {
	return fault.New(fault.Exists, "posix.make", show(path), "there is a %s of this name", t)
}

// Symlink makes a symbolic link; its target is text that is not checked.
func (f *FS) Symlink(ctx context.Context, req object.RequestID, target, path string) (Attr, error) {
	if target == "" || len(target) > MaxTarget {
		return Attr{}, fault.New(fault.Invalid, "posix.symlink", show(path), "a target of %d bytes", len(target)).Do("use 1 to %d bytes", MaxTarget)
	}
	res, err := f.mutate(ctx, "posix.symlink", show(path), req, func(c *change) error {
		p, err := c.spot(ctx, path, false, false)
		if err != nil {
			return err
		}
		if p.found {
			return exists(path, p.rec.typ)
		}
		rec, err := c.made(ctx, TypeSymlink, 0o777, 0, 0)
		if err != nil {
			return err
		}
		rec.target, rec.size = target, uint64(len(target))
		c.enter(p.dir, p.name, rec)
		c.hang(rec.oid(), self{parent: p.dir, name: p.name})
		c.done(&rec)
		return nil
	})
	return attrOf(res, err, show(path))
}

// Link makes a second name of a file (or of a symbolic link itself). The inode
// moves into the object with the first Link and stays there.
func (f *FS) Link(ctx context.Context, req object.RequestID, oldPath, newPath string) (Attr, error) {
	res, err := f.mutate(ctx, "posix.link", show(oldPath), req, func(c *change) error {
		from, err := c.find(ctx, oldPath, false)
		if err != nil {
			return err
		}
		if from.rec.typ == TypeDir {
			return fault.New(fault.IsDirectory, "posix.link", show(oldPath), "a directory has one name").Do("make a symbolic link")
		}
		to, err := c.spot(ctx, newPath, false, false)
		if err != nil {
			return err
		}
		if to.found {
			return exists(newPath, to.rec.typ)
		}
		rec := from.rec
		if rec.nlink >= MaxNlink {
			return fault.New(fault.TooBig, "posix.link", show(oldPath), "it has %d names already", rec.nlink)
		}
		rec.nlink++
		rec.ctime = max(rec.ctime, c.now)
		if !from.held {
			c.enter(from.dir, from.name, pointer(&rec))
			c.hang(rec.oid(), self{held: true, parent: from.dir, name: from.name})
		}
		c.hold(rec)
		c.enter(to.dir, to.name, pointer(&rec))
		c.done(&rec)
		return nil
	})
	return attrOf(res, err, show(oldPath))
}

// pointer is the entry of a name whose inode lies in the object.
func pointer(r *record) record {
	return record{typ: r.typ, flags: flagLinked, class: r.class, inode: r.inode}
}

// Rename moves an entry, replacing what has the new name as rename(2) does;
// with exclusive that is fault.Exists.
func (f *FS) Rename(ctx context.Context, req object.RequestID, oldPath, newPath string, exclusive bool) (object.Epoch, error) {
	res, err := f.mutate(ctx, "posix.rename", show(oldPath), req, func(c *change) error {
		from, err := c.find(ctx, oldPath, false)
		if err != nil {
			return err
		}
		to, err := c.spot(ctx, newPath, false, false)
		if err != nil {
			return err
		}
		if from.isRoot() || to.isRoot() {
			return rootStays("posix.rename")
		}
		if from.rec.typ == TypeDir && slices.Contains(to.chain, from.rec.oid()) {
			return fault.New(fault.Invalid, "posix.rename", show(oldPath), "%s lies inside of it", show(newPath)).
				Do("a directory can't be moved into itself")
		}
		if to.found {
			if exclusive {
				return exists(newPath, to.rec.typ)
			}
			if to.rec.inode == from.rec.inode {
				return nil
			}
			if err := c.replace(ctx, &from, &to, newPath); err != nil {
				return err
			}
		}
		c.move(&from, to.dir, to.name)
		return nil
	})
	return res.Epoch, err
}

func rootStays(op string) error {
	return fault.New(fault.Invalid, op, "/", "the root directory can be neither moved, replaced nor removed")
}

// replace removes what a rename ends on, all but its entry.
func (c *change) replace(ctx context.Context, from, to *place, path string) error {
	fromDir, toDir := from.rec.typ == TypeDir, to.rec.typ == TypeDir
	switch {
	case fromDir && !toDir:
		return fault.New(fault.NotDirectory, "posix.rename", show(path), "a directory can't replace a %s", to.rec.typ)
	case !fromDir && toDir:
		return fault.New(fault.IsDirectory, "posix.rename", show(path), "a %s can't replace a directory", from.rec.typ)
	case toDir:
		return c.dropDir(ctx, &to.rec, path)
	}
	c.drop(to)
	return nil
}

// move gives an entry another directory and name.
func (c *change) move(from *place, dir object.ID, name string) {
	rec := from.rec
	rec.ctime = max(rec.ctime, c.now)
	c.leave(from.dir, from.name)
	if from.held {
		c.hold(rec)
		c.enter(dir, name, pointer(&rec))
	} else {
		c.enter(dir, name, rec)
	}
	c.hang(rec.oid(), self{held: from.held, parent: dir, name: name})
}

// RemoveOptions say what may be removed.
type RemoveOptions struct {
	Recursive bool // a directory with all below it
	Directory bool // a directory only: fault.NotDirectory for anything else
}

// Remove removes a file, a link or an empty directory; recursively also a
// directory that is not empty: that is one rename into a hidden directory,
// whose content Reap frees.
func (f *FS) Remove(ctx context.Context, req object.RequestID, path string, o RemoveOptions) (object.Epoch, error) {
	res, err := f.mutate(ctx, "posix.remove", show(path), req, func(c *change) error {
		p, err := c.find(ctx, path, false)
		if err != nil {
			return err
		}
		if p.isRoot() {
			return rootStays("posix.remove")
		}
		if p.rec.typ != TypeDir {
			if o.Directory {
				return fault.New(fault.NotDirectory, "posix.remove", show(path), "a %s, not a directory", p.rec.typ)
			}
			c.drop(&p)
			c.leave(p.dir, p.name)
			return nil
		}
		err = c.dropDir(ctx, &p.rec, path)
		if fault.Is(err, fault.NotEmpty) && o.Recursive {
			c.move(&p, f.trashID(), trashName(p.rec.inode))
			return nil
		}
		c.leave(p.dir, p.name)
		return err
	})
	return res.Epoch, err
}

func trashName(inode uint64) string { return strconv.FormatUint(inode, 16) }

// dropDir removes an empty directory, all but its entry.
func (c *change) dropDir(ctx context.Context, r *record, path string) error {
	if err := c.emptyDir(ctx, r.oid(), path); err != nil {
		return err
	}
	c.write(object.Write{Op: object.OpPunchObject, OID: r.oid()})
	return nil
}

// drop takes one name from a file or symbolic link, all but its entry; with the
// last one go its bytes.
func (c *change) drop(p *place) {
	if p.held && p.rec.nlink > 1 {
		rec := p.rec
		rec.nlink--
		rec.ctime = max(rec.ctime, c.now)
		c.hold(rec)
		return
	}
	c.punch(&p.rec)
}

// punchNow is how many chunks a transaction punches without looking which are
// there; a longer file is left to Reap.
const punchNow = 64

func (c *change) punch(r *record) {
	oid := r.oid()
	delete(c.inodes, oid)
	c.write(object.Write{Op: object.OpPunchDkey, OID: oid, Dkey: dkeyChunk0})
	if r.typ != TypeFile {
		return
	}
	n := chunks(r.size, r.chunk)
	if n > punchNow {
		c.write(put(metaID(metaReap), chunkKey(r.inode), akeyReap, []byte{recordVersion, byte(r.class)}))
		return
	}
	for i := uint64(1); i < n; i++ {
		c.write(object.Write{Op: object.OpPunchDkey, OID: oid, Dkey: chunkKey(i)})
	}
}

// chunks is the number of chunks of a file of a size.
func chunks(size uint64, chunk uint32) uint64 {
	return (size + uint64(chunk) - 1) / uint64(chunk)
}
