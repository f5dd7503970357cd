package posix

import (
	"context"
	"errors"
	"strings"

	"daos/engine/object"
	"daos/internal/fault"
)

// View is the tree at one epoch. It is a value of two words, cheap to make.
type View struct {
	fs *FS
	at object.Epoch
}

// Epoch is the epoch that the view reads at.
func (v *View) Epoch() object.Epoch { return v.at }

// looker finds the entry of a name: in a view, or in a transaction under way.
type looker interface {
	entry(ctx context.Context, dir object.ID, name string) (record, bool, error)
	inodeOf(ctx context.Context, oid object.ID) (record, error)
}

func (v *View) entry(ctx context.Context, dir object.ID, name string) (record, bool, error) {
	b, e, err := v.fs.store.Get(ctx, v.at, dir, []byte(name), akeyEntry)
	if err != nil {
		if errors.Is(err, fault.NotFound) {
			return record{}, false, nil
		}
		return record{}, false, err
	}
	r, err := decodeRecord(b, e)
	return r, err == nil, fault.Wrap(err, "posix.lookup", show(name))
}

// inodeOf reads the inode record that an object holds itself.
func (v *View) inodeOf(ctx context.Context, oid object.ID) (record, error) {
	b, e, err := v.fs.store.Get(ctx, v.at, oid, home(oid), akeyInode)
	if err != nil {
		return record{}, err
	}
	r, err := decodeRecord(b, e)
	return r, fault.Wrap(err, "posix.inode", "inode "+utoa(oid.Lo))
}

// self reads where an object hangs. fault.NotFound if it does not exist.
func (v *View) self(ctx context.Context, oid object.ID) (self, error) {
	var b []byte
	if oid.Use() == useDir {
		var err error
		if b, _, err = v.fs.store.Get(ctx, v.at, oid, dkeySelf, akeySelf); err != nil {
			return self{}, err
		}
	} else {
		b = make([]byte, selfMax)
		if err := v.fs.store.ReadArray(ctx, v.at, oid, dkeyChunk0, akeySelf, 0, b); err != nil {
			return self{}, err
		}
		if b[0] == 0 {
			return self{}, fault.New(fault.NotFound, "posix.inode", "inode "+utoa(oid.Lo), "no such file at epoch %d", uint64(v.at))
		}
	}
	return decodeSelf(b, "inode "+utoa(oid.Lo))
}

// place is where a path leads: a name in a directory, with its record if it is
// there. The root has no directory; dir is zero then.
type place struct {
	dir   object.ID
	name  string
	rec   record // of the inode; the entry's where held is false
	found bool
	held  bool        // the inode record lies in the object (root, linked files)
	chain []object.ID // the directories from the root to dir
}

func (p *place) isRoot() bool { return p.dir.IsZero() }

// frame is a directory on the way.
type frame struct {
	oid    object.ID
	parent object.ID
	name   string
	rec    record
}

// walk resolves a path. Links in the middle are followed, one at the end if
// follow is set. With a missing last name the place is where it would be; a
// missing name before that is given to mk, which makes a directory, or is
// fault.NotFound where mk is nil.
func (f *FS) walk(ctx context.Context, lk looker, path string, follow bool,
	mk func(dir object.ID, name string) (record, error)) (place, error) {
	rest, err := Split(path)
	if err != nil {
		return place{}, err
	}
	stack := []frame{{oid: f.rootID()}}
	for links := 0; len(rest) > 0; {
		top := &stack[len(stack)-1]
		name := rest[0]
		rest = rest[1:]
		if name == "." {
			continue
		}
		if name == ".." { // from the target of a link
			if len(stack) > 1 {
				stack = stack[:len(stack)-1]
			}
			continue
		}
		rec, ok, err := lk.entry(ctx, top.oid, name)
		if err != nil {
			return place{}, fault.Wrap(err, "posix.lookup", show(path))
		}
		if !ok {
			if len(rest) == 0 {
				return place{dir: top.oid, name: name, chain: chain(stack)}, nil
			}
			if mk == nil {
				return place{}, notFound(path)
			}
			if rec, err = mk(top.oid, name); err != nil {
				return place{}, err
			}
		}
		switch {
		case rec.typ == TypeDir:
			stack = append(stack, frame{oid: rec.oid(), parent: top.oid, name: name, rec: rec})
			continue
		case rec.linked():
			if len(rest) == 0 && !(rec.typ == TypeSymlink && follow) {
				in, err := lk.inodeOf(ctx, rec.oid())
				if err != nil {
					return place{}, fault.Wrap(err, "posix.lookup", show(path))
				}
				return place{dir: top.oid, name: name, rec: in, found: true, held: true, chain: chain(stack)}, nil
			}
			if rec.typ == TypeSymlink {
				if rec, err = lk.inodeOf(ctx, rec.oid()); err != nil {
					return place{}, fault.Wrap(err, "posix.lookup", show(path))
				}
			}
		}
		if rec.typ == TypeSymlink && (follow || len(rest) > 0) {
			if links++; links > MaxLinks {
				return place{}, fault.New(fault.Invalid, "posix.lookup", show(path), "more than %d symbolic links to follow", MaxLinks).
					Do("look for a link that leads back to itself")
			}
			to := fields(rec.target)
			for _, n := range to {
				if len(n) > MaxName {
					return place{}, fault.New(fault.Invalid, "posix.lookup", show(path), "symbolic link %s has a name longer than %d bytes in its target", show(name), MaxName)
				}
			}
			if strings.HasPrefix(rec.target, "/") {
				stack = stack[:1]
			}
			rest = append(to, rest...)
			continue
		}
		if len(rest) > 0 {
			return place{}, fault.New(fault.NotDirectory, "posix.lookup", show(path), "%s is a %s, not a directory", show(name), rec.typ)
		}
		return place{dir: top.oid, name: name, rec: rec, found: true, chain: chain(stack)}, nil
	}
	top := stack[len(stack)-1]
	if len(stack) == 1 {
		rec, err := lk.inodeOf(ctx, f.rootID())
		return place{rec: rec, found: err == nil, held: true}, err
	}
	return place{dir: top.parent, name: top.name, rec: top.rec, found: true, chain: chain(stack[:len(stack)-1])}, nil
}

func chain(stack []frame) []object.ID {
	ids := make([]object.ID, len(stack))
	for i := range stack {
		ids[i] = stack[i].oid
	}
	return ids
}

func notFound(path string) error {
	return fault.New(fault.NotFound, "posix.lookup", show(path), "no such file or directory")
}

// find resolves a path that must be there.
func (v *View) find(ctx context.Context, path string, follow bool) (place, error) {
	p, err := v.fs.walk(ctx, v, path, follow, nil)
	if err == nil && !p.found {
		err = notFound(path)
	}
	return p, err
}

// findInode goes from an inode number to its place, by the object's self record.
// A transaction need not keep that among its reads: nobody changes it without
// the entry or the inode that it leads to.
func (f *FS) findInode(ctx context.Context, lk looker, n uint64, selfOf func(context.Context, object.ID) (self, error)) (place, error) {
	gone := fault.New(fault.NotFound, "posix.inode", "inode "+utoa(n), "no such file or directory")
	if n == rootInode {
		return f.walk(ctx, lk, "", false, nil)
	}
	if n < firstInode {
		return place{}, gone
	}
	for _, oid := range []object.ID{object.MakeID(f.props.FileClass, useFile, n), object.MakeID(f.props.DirClass, useDir, n)} {
		s, err := selfOf(ctx, oid)
		if errors.Is(err, fault.NotFound) {
			continue
		}
		if err != nil {
			return place{}, err
		}
		if s.held {
			rec, err := lk.inodeOf(ctx, oid)
			return place{dir: s.parent, name: s.name, rec: rec, found: err == nil, held: true}, err
		}
		rec, ok, err := lk.entry(ctx, s.parent, s.name)
		if err != nil {
			return place{}, err
		}
		if !ok || rec.inode != n {
			return place{}, corrupt("inode "+utoa(n), "its entry %s is not in its directory", show(s.name))
		}
		return place{dir: s.parent, name: s.name, rec: rec, found: true}, nil
	}
	return place{}, gone
}

func (v *View) ref(ctx context.Context, r Ref, follow bool) (place, error) {
	if r.Inode != 0 {
		return v.fs.findInode(ctx, v, r.Inode, v.self)
	}
	return v.find(ctx, r.Path, follow)
}

// Stat describes an entry; follow says whether a symbolic link at the end of
// the path is followed.
func (v *View) Stat(ctx context.Context, r Ref, follow bool) (Attr, error) {
	p, err := v.ref(ctx, r, follow)
	if err != nil {
		return Attr{}, err
	}
	return p.rec.attr(), nil
}

// ListDir returns up to limit entries of a directory after a name ("" : from
// the first) in byte order of the names, and whether there are more. A limit
// of 0 is 1000.
func (v *View) ListDir(ctx context.Context, r Ref, after string, limit int) ([]Entry, bool, error) {
	p, err := v.ref(ctx, r, true)
	if err != nil {
		return nil, false, err
	}
	if p.rec.typ != TypeDir {
		return nil, false, fault.New(fault.NotDirectory, "posix.list", r.String(), "a %s, not a directory", p.rec.typ)
	}
	if limit <= 0 {
		limit = 1000
	}
	var out []Entry
	more := false
	err = v.eachEntry(ctx, p.rec.oid(), after, limit+1, func(name string, rec *record) error {
		if len(out) == limit {
			more = true
			return nil
		}
		out = append(out, Entry{Name: name, Attr: rec.attr()})
		return nil
	})
	return out, more, fault.Wrap(err, "posix.list", r.String())
}

// eachEntry calls fn for up to limit entries of a directory after a name.
// Linked entries come with their inode. fn may use the store.
func (v *View) eachEntry(ctx context.Context, dir object.ID, after string, limit int, fn func(name string, rec *record) error) error {
	o := object.ListOptions{From: dkeyNames, Akey: akeyEntry, Limit: limit}
	if after != "" {
		o.After = []byte(after)
	}
	var bad error
	type item struct {
		name string
		rec  record
	}
	var items []item
	err := v.fs.store.List(ctx, v.at, dir, o, func(it object.Item) bool {
		rec, err := decodeRecord(it.Value, it.Epoch)
		if err != nil {
			bad = fault.Wrap(err, "posix.list", show(string(it.Dkey)))
			return false
		}
		items = append(items, item{string(it.Dkey), rec})
		return true
	})
	if err == nil {
		err = bad
	}
	if err != nil {
		return err
	}
	for i := range items {
		rec := &items[i].rec
		if rec.linked() {
			if *rec, err = v.inodeOf(ctx, rec.oid()); err != nil {
				return err
			}
		}
		if err := fn(items[i].name, rec); err != nil {
			return err
		}
	}
	return nil
}

// Path goes from an inode number to a path ("" is the root), by walking the
// parents. fault.NotFound for what has been removed.
func (v *View) Path(ctx context.Context, inode uint64) (string, error) {
	p, err := v.ref(ctx, ByInode(inode), false)
	if err != nil || p.isRoot() {
		return "", err
	}
	parts := []string{p.name}
	for dir := p.dir; dir != v.fs.rootID(); {
		s, err := v.self(ctx, dir)
		if err != nil {
			return "", err
		}
		if s.parent.IsZero() { // the trash
			return "", fault.New(fault.NotFound, "posix.path", "inode "+utoa(inode), "has been removed")
		}
		if len(parts) > MaxDepth {
			return "", tooDeep("inode " + utoa(inode))
		}
		parts = append(parts, s.name)
		dir = s.parent
	}
	for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
		parts[i], parts[j] = parts[j], parts[i]
	}
	return strings.Join(parts, "/"), nil
}

// GetXattr returns an extended attribute of an entry.
func (v *View) GetXattr(ctx context.Context, r Ref, name string) ([]byte, error) {
	if err := checkXattr(name); err != nil {
		return nil, err
	}
	p, err := v.ref(ctx, r, true)
	if err != nil {
		return nil, err
	}
	b, _, err := v.fs.store.Get(ctx, v.at, p.rec.oid(), home(p.rec.oid()), []byte(xattrPrefix+name))
	if fault.Is(err, fault.NotFound) {
		return nil, fault.New(fault.NotFound, "posix.xattr", r.String(), "no extended attribute %s", show(name))
	}
	return b, err
}

// ListXattrs returns the names of the extended attributes in byte order.
func (v *View) ListXattrs(ctx context.Context, r Ref) ([]string, error) {
	p, err := v.ref(ctx, r, true)
	if err != nil {
		return nil, err
	}
	oid := p.rec.oid()
	at := home(oid)
	var names []string
	err = v.fs.store.List(ctx, v.at, oid, object.ListOptions{From: at, To: append(append([]byte(nil), at...), 0), KeysOnly: true},
		func(it object.Item) bool {
			if n, ok := strings.CutPrefix(string(it.Akey), xattrPrefix); ok {
				names = append(names, n)
			}
			return true
		})
	return names, fault.Wrap(err, "posix.xattr", r.String())
}

func checkXattr(name string) error {
	if name == "" || len(name) > MaxName || strings.IndexByte(name, 0) >= 0 {
		return fault.New(fault.Invalid, "posix.xattr", show(name), "not a name of an extended attribute").
			Do("use 1 to %d bytes without NUL", MaxName)
	}
	return nil
}
