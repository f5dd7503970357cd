package posix

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"

	"daos/engine/object"
	"daos/internal/fault"
)

// ImportEntry is one entry of an Import.
type ImportEntry struct {
	Path     string
	Type     Type
	Mode     uint32 // 0: DefaultMode or DirMode
	UID, GID uint32
	Mtime    int64  // ns since 1970; 0: now
	Content  []byte // of a file
	Target   string // of a symbolic link
}

// Imported says what an Import did.
type Imported struct {
	Epoch   object.Epoch
	Entries int
}

// Import makes many entries in one transaction, and their parents where they
// are missing. A directory that is there is no error and stays as it is; a file
// or link that is there is fault.Exists, or replaced with overwrite. Symbolic
// links in the middle of the paths are followed.
func (f *FS) Import(ctx context.Context, req object.RequestID, entries []ImportEntry, overwrite bool) (Imported, error) {
	if len(entries) > MaxImport {
		return Imported{}, fault.New(fault.TooBig, "posix.import", "import", "%d entries in one call, at most %d are allowed", len(entries), MaxImport).
			Do("import in several calls")
	}
	total := 0
	for i := range entries {
		if err := entries[i].check(); err != nil {
			return Imported{}, err
		}
		total += len(entries[i].Content)
	}
	if total > MaxWrite {
		return Imported{}, fault.New(fault.TooBig, "posix.import", "import", "%d bytes in one call, at most %d are allowed", total, MaxWrite).
			Do("import in several calls")
	}
	res, err := f.mutate(ctx, "posix.import", "import", req, func(c *change) error {
		first, err := f.number(ctx, uint64(len(entries)))
		if err != nil {
			return err
		}
		// Three writes, one condition or read: no growing in the loop.
		c.tx.Writes = make([]object.Write, 0, 3*len(entries)+16)
		im := importing{change: c, overwrite: overwrite, dirs: map[string]object.ID{}, made: make(map[nameKey]bool, len(entries))}
		for i := range entries {
			if err := im.one(ctx, &entries[i], first+uint64(i)); err != nil {
				return err
			}
		}
		if im.blocked != "" {
			return fault.New(fault.Exists, "posix.import", show(im.blocked), "there is something of this name").Do("import with overwrite, or remove it first")
		}
		c.answer = binary.LittleEndian.AppendUint64(nil, uint64(len(entries)))
		return nil
	})
	if err != nil {
		if !overwrite && errors.Is(err, fault.Exists) {
			err = f.whichExists(ctx, entries, err)
		}
		return Imported{}, err
	}
	if len(res.Answer) != 8 {
		return Imported{}, misused("import")
	}
	return Imported{Epoch: res.Epoch, Entries: int(binary.LittleEndian.Uint64(res.Answer))}, nil
}

func (e *ImportEntry) check() error {
	bad := func(format string, args ...any) error {
		return fault.New(fault.Invalid, "posix.import", show(e.Path), format, args...)
	}
	switch {
	case e.Mode > 0o7777:
		return bad("mode %#o has bits beyond 07777", e.Mode)
	case e.Type == TypeFile && e.Target != "", e.Type == TypeSymlink && len(e.Content) > 0, e.Type == TypeDir && (e.Target != "" || len(e.Content) > 0):
		return bad("content or target does not belong to a %s", e.Type)
	case e.Type == TypeSymlink && (e.Target == "" || len(e.Target) > MaxTarget):
		return bad("a target of %d bytes", len(e.Target))
	case e.Type < TypeFile || e.Type > TypeSymlink:
		return bad("unknown type %d", e.Type)
	}
	return nil
}

// importing is an import under way.
type importing struct {
	*change
	overwrite bool
	dirs      map[string]object.ID // parents found, by their paths
	made      map[nameKey]bool     // files and links of this import
	blocked   string               // path of an entry whose name is known to be taken
}

func (c *importing) one(ctx context.Context, e *ImportEntry, inode uint64) error {
	path := strings.Trim(e.Path, "/")
	if path == "" && e.Type == TypeDir {
		return nil // the root is there
	}
	if e.Type == TypeDir {
		p, err := c.spot(ctx, path, false, true)
		if err != nil {
			return err
		}
		if p.found {
			if p.rec.typ == TypeSymlink {
				if p, err = c.find(ctx, path, true); err != nil {
					return err
				}
			}
			if p.rec.typ != TypeDir {
				return exists(path, p.rec.typ)
			}
			return nil
		}
		mode := e.Mode
		if mode == 0 {
			mode = DirMode
		}
		rec, err := c.makeDir(ctx, p.dir, p.name, mode, e.UID, e.GID)
		if err == nil && e.Mtime != 0 {
			rec.mtime = e.Mtime
			c.enter(p.dir, p.name, rec)
		}
		return err
	}

	cut := strings.LastIndexByte(path, '/')
	name := path[cut+1:]
	if len(path) > MaxPath {
		_, err := Split(path)
		return err
	}
	if err := CheckName(name); err != nil {
		return fault.New(fault.Invalid, "posix.import", show(e.Path), "%q is not a name", name).Because(err)
	}
	dir, ok := c.dirs[path[:max(cut, 0)]]
	if !ok {
		var err error
		if dir, err = c.importDir(ctx, path[:max(cut, 0)]); err != nil {
			return err
		}
		c.dirs[path[:max(cut, 0)]] = dir
	}
	if c.made[nameKey{dir, name}] {
		return fault.New(fault.Exists, "posix.import", show(e.Path), "named twice in one import")
	}
	c.made[nameKey{dir, name}] = true
	switch {
	case c.fresh[dir] && c.names[nameKey{dir, name}] == nil:
	case c.overwrite:
		old, found, err := c.entry(ctx, dir, name)
		if err != nil {
			return err
		}
		if found {
			if old.typ == TypeDir {
				return fault.New(fault.IsDirectory, "posix.import", show(e.Path), "a %s can't replace a directory", e.Type)
			}
			p := place{dir: dir, name: name, rec: old, held: old.linked()}
			if p.held {
				if p.rec, err = c.inodeOf(ctx, old.oid()); err != nil {
					return err
				}
			}
			c.drop(&p)
			if old.typ == TypeSymlink {
				clear(c.dirs) // paths may have led through it
			}
		}
	case c.names[nameKey{dir, name}] != nil:
		c.blocked = path
	default:
		c.tx.Conds = append(c.tx.Conds, object.Cond{Kind: object.AkeyAbsent, OID: dir, Dkey: []byte(name), Akey: akeyEntry})
	}

	mode := e.Mode
	if mode == 0 {
		mode = DefaultMode
	}
	rec := c.fs.fresh(e.Type, inode, mode, e.UID, e.GID, c.now)
	if e.Mtime != 0 {
		rec.mtime = e.Mtime
	}
	rec.size = uint64(len(e.Content))
	if e.Type == TypeSymlink {
		rec.target, rec.size, rec.mode = e.Target, uint64(len(e.Target)), 0o777
	}
	oid := rec.oid()
	c.enter(dir, name, rec)
	c.hang(oid, self{parent: dir, name: name})
	c.bytes(oid, rec.chunk, 0, e.Content)
	return nil
}

// importDir finds the directory of a path, making what is missing.
func (c *importing) importDir(ctx context.Context, path string) (object.ID, error) {
	if path == "" {
		return c.fs.rootID(), nil
	}
	p, err := c.spot(ctx, path, true, true)
	if err != nil {
		return object.ID{}, err
	}
	if !p.found {
		if p.rec, err = c.makeDir(ctx, p.dir, p.name, DirMode, 0, 0); err != nil {
			return object.ID{}, err
		}
	}
	if p.rec.typ != TypeDir {
		return object.ID{}, fault.New(fault.NotDirectory, "posix.import", show(path), "a %s, not a directory", p.rec.typ)
	}
	return p.rec.oid(), nil
}

// whichExists names the first entry that was in an import's way.
func (f *FS) whichExists(ctx context.Context, entries []ImportEntry, err error) error {
	v, herr := f.Head(ctx, 0)
	if herr != nil {
		return err
	}
	for i := range entries {
		if entries[i].Type == TypeDir {
			continue
		}
		if a, serr := v.Stat(ctx, ByPath(entries[i].Path), false); serr == nil {
			return fault.New(fault.Exists, "posix.import", show(entries[i].Path), "there is a %s of this name", a.Type).
				Do("import with overwrite, or remove it first")
		}
	}
	return err
}
