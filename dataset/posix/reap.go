package posix

import (
	"context"
	"encoding/binary"

	"daos/engine/object"
	"daos/internal/fault"
)

// Reaped counts what Reap did.
type Reaped struct {
	Entries int  // removed from the trash
	Chunks  int  // punched
	Staged  int  // dropped, their time had come
	More    bool // the budget ended before the work
}

// reapBatch bounds one transaction of the reaper.
const reapBatch = 512

// Reap frees what removals have left behind: the content of directories removed
// recursively, the bytes of long files, staged files whose time has come. It
// stops after about budget entries and chunks. Any number may run at once.
func (f *FS) Reap(ctx context.Context, budget int) (Reaped, error) {
	r := reaper{f: f, left: budget}
	err := r.staged(ctx)
	if err == nil {
		err = r.trash(ctx)
	}
	if err == nil {
		err = r.bytes(ctx)
	}
	r.done.More = r.left <= 0
	return r.done, err
}

type reaper struct {
	f    *FS
	left int
	done Reaped
}

func (r *reaper) staged(ctx context.Context) error {
	v, err := r.f.Head(ctx, 0)
	if err != nil {
		return err
	}
	now := r.f.opts.Now().UnixNano()
	var dead []uint64
	err = r.f.store.List(ctx, v.at, metaID(metaStaged), object.ListOptions{Akey: akeyUntil}, func(it object.Item) bool {
		if len(it.Dkey) == 8 && len(it.Value) == 8 && int64(binary.LittleEndian.Uint64(it.Value)) < now {
			dead = append(dead, binary.BigEndian.Uint64(it.Dkey))
		}
		return len(dead) < r.left
	})
	for _, inode := range dead {
		if err != nil {
			break
		}
		dropped := false
		_, err = r.f.mutate(ctx, "posix.reap", "staged file "+utoa(inode), object.RequestID{}, func(c *change) error {
			dropped = false
			b, _, err := r.f.store.Get(ctx, c.v.at, metaID(metaStaged), chunkKey(inode), akeyUntil)
			if fault.Is(err, fault.NotFound) {
				return nil
			}
			if err != nil || len(b) != 8 || int64(binary.LittleEndian.Uint64(b)) >= now {
				return err
			}
			c.tx.Reads = append(c.tx.Reads, object.Read{OID: metaID(metaStaged), Point: true, From: chunkKey(inode)})
			c.discard(inode)
			dropped = true
			return nil
		})
		if dropped {
			r.done.Staged++
			r.left--
		}
	}
	return err
}

// trash empties the directories in the trash, depth first.
func (r *reaper) trash(ctx context.Context) error {
	for r.left > 0 {
		n, err := r.empty(ctx, r.f.trashID())
		if err != nil || n == 0 {
			return err
		}
	}
	return nil
}

// empty removes up to one batch of entries of a directory, after emptying the
// directories among them, and returns how many were removed.
func (r *reaper) empty(ctx context.Context, dir object.ID) (int, error) {
	v, err := r.f.Head(ctx, 0)
	if err != nil {
		return 0, err
	}
	var names []string
	var subdirs []object.ID
	err = v.eachEntry(ctx, dir, "", reapBatch, func(name string, rec *record) error {
		names = append(names, name)
		if rec.typ == TypeDir {
			subdirs = append(subdirs, rec.oid())
		}
		return nil
	})
	if err != nil || len(names) == 0 {
		return 0, err
	}
	for _, sub := range subdirs {
		for n := 1; n > 0; {
			if r.left <= 0 {
				return 0, nil
			}
			if n, err = r.empty(ctx, sub); err != nil {
				return 0, err
			}
		}
	}
	removed := 0
	_, err = r.f.mutate(ctx, "posix.reap", "trash", object.RequestID{}, func(c *change) error {
		removed = 0
		for _, name := range names {
			rec, ok, err := c.entry(ctx, dir, name)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			p := place{dir: dir, name: name, rec: rec, held: rec.linked()}
			switch {
			case rec.typ == TypeDir:
				if err := c.dropDir(ctx, &rec, name); err != nil {
					if fault.Is(err, fault.NotEmpty) {
						continue // not all of it fitted into the budget
					}
					return err
				}
			case p.held:
				if p.rec, err = c.inodeOf(ctx, rec.oid()); err != nil {
					return err
				}
				c.drop(&p)
			default:
				c.drop(&p)
			}
			c.leave(dir, name)
			removed++
		}
		return nil
	})
	if err == nil {
		r.left -= removed
		r.done.Entries += removed
	}
	return removed, err
}

// bytes punches the chunks of files that were too long to punch at once.
// Nobody can write to them any more.
func (r *reaper) bytes(ctx context.Context) error {
	for r.left > 0 {
		v, err := r.f.Head(ctx, 0)
		if err != nil {
			return err
		}
		var oid object.ID
		err = r.f.store.List(ctx, v.at, metaID(metaReap), object.ListOptions{Akey: akeyReap, Limit: 1}, func(it object.Item) bool {
			if len(it.Dkey) == 8 && len(it.Value) == 2 {
				oid = object.MakeID(object.Class(it.Value[1]), useFile, binary.BigEndian.Uint64(it.Dkey))
			}
			return false
		})
		if err != nil || oid.IsZero() {
			return err
		}
		_, err = r.f.mutate(ctx, "posix.reap", "inode "+utoa(oid.Lo), object.RequestID{}, func(c *change) error {
			n := 0
			err := r.f.store.ListArrays(ctx, c.v.at, oid, object.ListOptions{Limit: reapBatch}, func(dkey, akey []byte) bool {
				c.write(object.Write{Op: object.OpPunchDkey, OID: oid, Dkey: append([]byte(nil), dkey...)})
				n++
				return true
			})
			if n < reapBatch {
				c.write(object.Write{Op: object.OpPunchDkey, OID: metaID(metaReap), Dkey: chunkKey(oid.Lo)})
			}
			r.done.Chunks += n
			r.left -= n + 1
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
