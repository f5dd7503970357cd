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
