package posix

import (
	"context"
	"encoding/binary"

	"daos/engine/object"
	"daos/internal/fault"
)

// This file is what a scan needs: the rows of the namespace plane as they lie
// there, without a copy, and the way from a directory to its path.

// Raw is a checked entry or inode record; its fields are read in place.
type Raw []byte

// ParseRaw checks b. The error names no resource.
func ParseRaw(b []byte) (Raw, error) { return Raw(b), checkRecord(b) }

// Type is the type of the entry.
func (r Raw) Type() Type { return Type(r[1]) }

// Linked reports whether the inode lies in the object: see View.LinkedInode.
func (r Raw) Linked() bool { return r[2]&flagLinked != 0 }

// Mode has the permission bits.
func (r Raw) Mode() uint32 { return binary.LittleEndian.Uint32(r[4:]) }

// UID is the owner.
func (r Raw) UID() uint32 { return binary.LittleEndian.Uint32(r[8:]) }

// GID is the group.
func (r Raw) GID() uint32 { return binary.LittleEndian.Uint32(r[12:]) }

// Nlink is the number of names.
func (r Raw) Nlink() uint32 { return binary.LittleEndian.Uint32(r[16:]) }

// Inode is the inode number.
func (r Raw) Inode() uint64 { return binary.LittleEndian.Uint64(r[24:]) }

// Size is the number of bytes.
func (r Raw) Size() uint64 { return binary.LittleEndian.Uint64(r[32:]) }

// Mtime is in nanoseconds since 1970.
func (r Raw) Mtime() int64 { return int64(binary.LittleEndian.Uint64(r[40:])) }

// Ctime is in nanoseconds since 1970.
func (r Raw) Ctime() int64 { return int64(binary.LittleEndian.Uint64(r[48:])) }

// Target is the target of a symbolic link.
func (r Raw) Target() []byte { return r[recordSize:] }

// RowKind says what a row of the namespace plane is.
type RowKind uint8

// The kinds of rows.
const (
	RowOther RowKind = iota // counters, leases, attributes
	RowEntry                // an entry of a directory: Dkey is its name, Value a Raw
	RowSelf                 // a directory's self record, before all of its entries
)

// KindOfRow classifies a row.
func KindOfRow(r *object.Row) RowKind {
	if r.OID.Use() != useDir || len(r.Akey) != 1 || len(r.Dkey) == 0 {
		return RowOther
	}
	switch {
	case r.Akey[0] == akeyEntry[0] && r.Dkey[0] != 0:
		return RowEntry
	case r.Akey[0] == akeySelf[0] && len(r.Dkey) == 1 && r.Dkey[0] == 0:
		return RowSelf
	}
	return RowOther
}

// Anchors splits a scan of the namespace into at most n parts.
func (f *FS) Anchors(n int) []object.Anchor { return f.store.Anchors(n) }

// Scan passes over the rows of the namespace plane at the view's epoch.
func (v *View) Scan(ctx context.Context, a object.Anchor, fn func(object.Row) bool) (object.Anchor, error) {
	return v.fs.store.Scan(ctx, v.at, a, fn)
}

// Mark is the object.Marker of an engine that holds trees: the mtime of an entry.
// An entry whose inode lies in the object, and one that does not lie in the index,
// may have any.
func Mark(oid object.ID, dkey, akey, value []byte) (s object.Span, ok bool) {
	if oid.Use() != useDir || len(akey) != 1 || akey[0] != akeyEntry[0] || len(dkey) == 0 || dkey[0] == 0 {
		return s, false
	}
	r, err := ParseRaw(value)
	if err != nil || r.Linked() {
		return object.Everything(), true
	}
	return object.Span{Min: r.Mtime(), Max: r.Mtime()}, true
}

// ScanTimes is a Scan of the entries that may have an mtime in a span, and of
// nothing else: those whose inode lies elsewhere come with any mtime. A store
// without marks gives all rows.
func (v *View) ScanTimes(ctx context.Context, a object.Anchor, mtime object.Span, fn func(object.Row) bool) (object.Anchor, error) {
	if m, ok := v.fs.store.(object.MarkScanner); ok {
		next, err := m.ScanMarked(ctx, v.at, a, mtime, fn)
		if !fault.Is(err, fault.Unsupported) {
			return next, err
		}
	}
	return v.Scan(ctx, a, fn)
}

// Below is an entry of a directory as Entries gives it; its slices are valid
// during the call.
type Below struct {
	Name  []byte
	Epoch object.Epoch
	Value []byte // a Raw, unchecked; nil if it does not lie in the index: see View.EntryRaw
}

// Entries calls fn for the entries of a directory with names from `from` on
// (nil: all) up to but without `to` (nil: no end), in byte order of the names,
// until it returns false.
func (v *View) Entries(ctx context.Context, dir object.ID, from, to []byte, fn func(Below) bool) error {
	if len(from) == 0 {
		from = dkeyNames
	}
	o := object.ListOptions{From: from, To: to, Akey: akeyEntry, KeysOnly: true}
	return v.fs.store.List(ctx, v.at, dir, o, func(it object.Item) bool {
		return fn(Below{Name: it.Dkey, Epoch: it.Epoch, Value: it.Value})
	})
}

// Real resolves a path of directories without following links: ok is false
// where one of its names is missing or is no directory.
func (v *View) Real(ctx context.Context, names []string) (dir object.ID, ok bool, err error) {
	dir = v.fs.rootID()
	for _, n := range names {
		if CheckName(n) != nil {
			return dir, false, nil
		}
		rec, found, err := v.entry(ctx, dir, n)
		if err != nil || !found || rec.typ != TypeDir {
			return dir, false, err
		}
		dir = rec.oid()
	}
	return dir, true, nil
}

// DirOf is the object of the directory that an entry is; ok is false for other
// types.
func DirOf(r Raw) (dir object.ID, ok bool) {
	if r.Type() != TypeDir {
		return dir, false
	}
	return object.MakeID(object.Class(r[3]), useDir, r.Inode()), true
}

// CountScan is the number of rows that a whole Scan from a meets.
func (v *View) CountScan(ctx context.Context, a object.Anchor) (int64, error) {
	return v.fs.store.CountScan(ctx, v.at, a)
}

// Root is the object of the root directory.
func (f *FS) Root() object.ID { return f.rootID() }

// Parent says where a directory hangs. Neither the root nor the hidden trash
// has a parent; their parent is zero.
func (v *View) Parent(ctx context.Context, dir object.ID) (parent object.ID, name string, err error) {
	s, err := v.self(ctx, dir)
	if err != nil {
		if fault.Is(err, fault.NotFound) {
			err = corrupt("inode "+utoa(dir.Lo), "a directory with entries, but without a self record")
		}
		return object.ID{}, "", err
	}
	return s.parent, s.name, nil
}

// ParseSelf reads the value of a RowSelf.
func ParseSelf(b []byte) (parent object.ID, name string, err error) {
	s, err := decodeSelf(b, "self record")
	return s.parent, s.name, err
}

// LinkedInode reads the inode of an entry that is Linked, and its epoch.
func (v *View) LinkedInode(ctx context.Context, r Raw) (Raw, object.Epoch, error) {
	oid := object.MakeID(object.Class(r[3]), useFile, r.Inode())
	b, e, err := v.fs.store.Get(ctx, v.at, oid, home(oid), akeyInode)
	if err != nil {
		if fault.Is(err, fault.NotFound) {
			err = corrupt("inode "+utoa(r.Inode()), "an entry points at it, but there is no inode record")
		}
		return nil, 0, err
	}
	raw, err := ParseRaw(b)
	return raw, e, fault.Wrap(err, "posix.inode", "inode "+utoa(r.Inode()))
}

// EntryRaw reads the record of an entry whose row came without a value.
func (v *View) EntryRaw(ctx context.Context, dir object.ID, name []byte) (Raw, error) {
	b, _, err := v.fs.store.Get(ctx, v.at, dir, name, akeyEntry)
	if err != nil {
		return nil, err
	}
	return ParseRaw(b)
}

// Dir resolves a path to a directory's object and its path without links ("" is
// the root).
func (v *View) Dir(ctx context.Context, path string) (object.ID, string, error) {
	p, err := v.find(ctx, path, true)
	if err != nil {
		return object.ID{}, "", err
	}
	if p.rec.typ != TypeDir {
		return object.ID{}, "", fault.New(fault.NotDirectory, "posix.lookup", show(path), "a %s, not a directory", p.rec.typ)
	}
	real, err := v.Path(ctx, p.rec.inode)
	return p.rec.oid(), real, err
}
