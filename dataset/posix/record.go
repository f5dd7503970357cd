package posix

import (
	"encoding/binary"

	"daos/engine/object"
	"daos/internal/fault"
)

// Type is the type of an entry; the numbers are those of the wire and the disk.
type Type uint8

// The types of an entry.
const (
	TypeFile    Type = 1
	TypeDir     Type = 2
	TypeSymlink Type = 3
)

func (t Type) String() string {
	switch t {
	case TypeFile:
		return "file"
	case TypeDir:
		return "directory"
	case TypeSymlink:
		return "symlink"
	}
	return "unknown"
}

// Uses of objects, in the use byte of their IDs. Part of the format.
const (
	useFile uint8 = 1 // files and symbolic links
	useDir  uint8 = 2
	useMeta uint8 = 3 // superblock, staged files, deferred punches
)

// Numbers with a meaning of their own. Inode numbers are given out from firstInode.
const (
	rootInode  = 1
	trashInode = 2
	firstInode = 64

	metaSuper  = 1 // number of the object that holds the superblock
	metaStaged = 2 // ... the leases of staged files
	metaReap   = 3 // ... the files whose bytes are still to be punched
)

// Akeys. One letter each: they stand in every index key.
var (
	akeyEntry = []byte("e") // of a name in a directory: entry record
	akeySelf  = []byte("p") // of an object: self record
	akeyInode = []byte("i") // of an object: inode record
	akeyData  = []byte("d") // of a chunk: bytes
	akeyState = []byte("s") // of a staged file: state; of the superblock
	akeyNext  = []byte("n") // next inode number
	akeyUntil = []byte("u") // of a staged file: expiry
	akeyReap  = []byte("r") // of a file to be reaped

	dkeySelf   = []byte{0}       // of a directory; no name begins with NUL
	dkeyChunk0 = make([]byte, 8) // of a file; its self, inode and xattrs lie beside chunk 0
	dkeySuper  = []byte("superblock")
	dkeyInodes = []byte("inodes")
	dkeyNames  = []byte{1} // not above any name

	xattrPrefix = "x:"
)

const (
	recordVersion = 1
	recordSize    = 56

	// flagLinked: the entry only points at the object, whose inode record counts.
	flagLinked = 1
)

// record is an entry or an inode.
type record struct {
	typ      Type
	flags    uint8
	class    object.Class // of the object
	mode     uint32
	uid, gid uint32
	nlink    uint32
	chunk    uint32 // chunk size; files only
	inode    uint64
	size     uint64
	mtime    int64
	ctime    int64
	target   string // symlinks only
	epoch    object.Epoch
}

func (r *record) linked() bool { return r.flags&flagLinked != 0 }

func (r *record) oid() object.ID {
	if r.typ == TypeDir {
		return object.MakeID(r.class, useDir, r.inode)
	}
	return object.MakeID(r.class, useFile, r.inode)
}

func (r *record) attr() Attr {
	return Attr{
		Type: r.typ, Mode: r.mode, UID: r.uid, GID: r.gid, Size: r.size, Mtime: r.mtime, Ctime: r.ctime,
		Inode: r.inode, Nlink: r.nlink, Target: r.target, Epoch: r.epoch, ChunkSize: r.chunk, Object: r.oid(),
	}
}

// encode lays a record out, little-endian:
//
//	0  u8  version (1)      8  u32 uid         24 u64 inode number
//	1  u8  type             12 u32 gid         32 u64 size
//	2  u8  flags            16 u32 nlink       40 i64 mtime, ns since 1970
//	3  u8  object class     20 u32 chunk size  48 i64 ctime, ns since 1970
//	4  u32 mode                                56 target of a symlink, to the end
func (r *record) encode() []byte {
	b := make([]byte, recordSize, recordSize+len(r.target))
	b[0], b[1], b[2], b[3] = recordVersion, byte(r.typ), r.flags, byte(r.class)
	le := binary.LittleEndian
	le.PutUint32(b[4:], r.mode)
	le.PutUint32(b[8:], r.uid)
	le.PutUint32(b[12:], r.gid)
	le.PutUint32(b[16:], r.nlink)
	le.PutUint32(b[20:], r.chunk)
	le.PutUint64(b[24:], r.inode)
	le.PutUint64(b[32:], r.size)
	le.PutUint64(b[40:], uint64(r.mtime))
	le.PutUint64(b[48:], uint64(r.ctime))
	return append(b, r.target...)
}

// checkRecord says whether b is a record. Its errors name no resource: the
// caller's fault.Wrap does.
func checkRecord(b []byte) error {
	switch {
	case len(b) < 1:
		return corrupt("", "empty entry record")
	case b[0] != recordVersion:
		return fault.New(fault.Unsupported, "posix.record", "", "entry record of version %d, version %d is known", b[0], recordVersion).
			Do("use a newer version of daos")
	case len(b) < recordSize:
		return corrupt("", "entry record of %d bytes, at least %d are needed", len(b), recordSize)
	case b[1] < 1 || b[1] > 3:
		return corrupt("", "entry record of unknown type %d", b[1])
	}
	return nil
}

func decodeRecord(b []byte, epoch object.Epoch) (record, error) {
	if err := checkRecord(b); err != nil {
		return record{}, err
	}
	le := binary.LittleEndian
	r := record{
		typ: Type(b[1]), flags: b[2], class: object.Class(b[3]),
		mode: le.Uint32(b[4:]), uid: le.Uint32(b[8:]), gid: le.Uint32(b[12:]), nlink: le.Uint32(b[16:]),
		chunk: le.Uint32(b[20:]), inode: le.Uint64(b[24:]), size: le.Uint64(b[32:]),
		mtime: int64(le.Uint64(b[40:])), ctime: int64(le.Uint64(b[48:])), epoch: epoch,
	}
	if r.typ == TypeSymlink {
		r.target = string(b[recordSize:])
	}
	if r.typ == TypeFile && !r.linked() && r.chunk == 0 {
		return record{}, corrupt("", "file record without a chunk size")
	}
	return r, nil
}

// self is where an object hangs in the tree.
type self struct {
	held   bool // the inode record lies in the object (root, linked files)
	parent object.ID
	name   string
}

const (
	selfVersion = 1
	selfSize    = 19
	selfMax     = selfSize + MaxName
)

// encode lays a self record out:
//
//	0  u8  version (1)           18 u8  bytes of the name
//	1  u8  flags, 1: held        19     name
//	2  16  parent, big-endian
//
// It tells its own length, because a file's lies in a byte array (so that scans
// of the namespace plane don't meet it) whose old bytes may follow.
func (s *self) encode() []byte {
	b := make([]byte, selfSize, selfSize+len(s.name))
	b[0] = selfVersion
	if s.held {
		b[1] = 1
	}
	id := s.parent.Bytes()
	copy(b[2:], id[:])
	b[18] = byte(len(s.name))
	return append(b, s.name...)
}

func decodeSelf(b []byte, where string) (self, error) {
	if len(b) >= 1 && b[0] != selfVersion {
		return self{}, fault.New(fault.Unsupported, "posix.record", where, "self record of version %d, version %d is known", b[0], selfVersion).
			Do("use a newer version of daos")
	}
	if len(b) < selfSize || len(b) < selfSize+int(b[18]) {
		return self{}, corrupt(where, "self record of %d bytes", len(b))
	}
	return self{held: b[1]&1 != 0, parent: object.IDFromBytes(b[2:]), name: string(b[selfSize : selfSize+int(b[18])])}, nil
}

func corrupt(where, format string, args ...any) error {
	return fault.New(fault.Corrupt, "posix.record", where, format, args...).
		Do("restore the dataset from a snapshot or a copy; `daos system status` names damaged segments")
}

// home is the dkey of an object under which its self, inode and xattrs lie.
func home(oid object.ID) []byte {
	if oid.Use() == useDir {
		return dkeySelf
	}
	return dkeyChunk0
}

func chunkKey(i uint64) []byte { return binary.BigEndian.AppendUint64(nil, i) }
