package posix

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"time"

	"daos/dataset/race"
	"daos/engine/object"
	"daos/internal/fault"
)

// Limits of names and requests.
const (
	MaxName     = 255
	MaxPath     = 4096
	MaxLinks    = 40 // symbolic links followed in one path
	MaxTarget   = 4095
	MaxXattr    = 64 << 10
	MaxWrite    = 64 << 20 // bytes of one Write, WriteStaged or Create
	MaxImport   = 1 << 14  // entries of one Import
	MaxFile     = uint64(1) << 60
	MaxNlink    = 1 << 20
	DefaultMode = 0o644
	DirMode     = 0o755
)

// Store is what the tree needs of an object store.
type Store interface {
	object.Clock
	object.Reader
	object.Lister
	object.Scanner
	object.Committer
}

// Properties are fixed when a dataset is created.
type Properties struct {
	ChunkSize uint32       // bytes of a file in one dkey; 0: 1 MiB
	FileClass object.Class // 0: SX
	DirClass  object.Class // 0: S1, so that a directory lists in order from one target
}

// Options open a dataset.
type Options struct {
	// Session names this run of the server: staged bytes of an earlier run may
	// be lost, so their files can't be published any more. 0: a random one.
	Session uint64
	// Now is the clock of file times. nil: time.Now.
	Now func() time.Time
	// Backoff waits before attempt n (from 1) of a transaction that lost
	// against another. nil: jittered, exponential, up to 20 ms.
	Backoff func(ctx context.Context, attempt int) error
	// Attempts bounds the tries of one mutation. 0: 256.
	Attempts int
}

// FS is the tree of one dataset. Its methods are safe for concurrent use.
type FS struct {
	store Store
	props Properties
	opts  Options

	// numbers is the rest of the block of inode numbers leased by this FS.
	// Losing it loses numbers, nothing else.
	numbers struct {
		sync.Mutex
		next, end uint64
	}
}

// Attr describes an entry.
type Attr struct {
	Type      Type
	Mode      uint32
	UID, GID  uint32
	Size      uint64
	Mtime     int64 // ns since 1970
	Ctime     int64
	Inode     uint64
	Nlink     uint32
	Target    string       // of a symlink
	Epoch     object.Epoch // of the version read; after a mutation, of the change
	ChunkSize uint32
	Object    object.ID // holds the bytes of a file, the entries of a directory
}

// Entry is a named Attr.
type Entry struct {
	Name string
	Attr Attr
}

// Ref names a file by path or, where Inode is not 0, by inode number.
type Ref struct {
	Path  string
	Inode uint64
}

// ByPath names a file by its path.
func ByPath(p string) Ref { return Ref{Path: p} }

// ByInode names a file by its inode number.
func ByInode(n uint64) Ref { return Ref{Inode: n} }

func (r Ref) String() string {
	if r.Inode != 0 {
		return "inode " + utoa(r.Inode)
	}
	return show(r.Path)
}

const (
	superVersion = 1
	minChunk     = 4 << 10
	maxChunk     = 64 << 20
)

// Check fills defaults in and refuses what can't be.
func (p *Properties) Check() error {
	if p.ChunkSize == 0 {
		p.ChunkSize = 1 << 20
	}
	if p.FileClass == 0 {
		p.FileClass = object.ClassSX
	}
	if p.DirClass == 0 {
		p.DirClass = object.ClassS1
	}
	if p.ChunkSize < minChunk || p.ChunkSize > maxChunk || p.ChunkSize&(p.ChunkSize-1) != 0 {
		return fault.New(fault.Invalid, "posix.create", "chunk size", "%d is not a power of two from %d to %d", p.ChunkSize, minChunk, maxChunk)
	}
	return nil
}

// Create lays an empty tree out in an empty store.
func Create(ctx context.Context, s Store, p Properties) error {
	if err := p.Check(); err != nil {
		return err
	}
	at, err := s.ReadEpoch(ctx, 0)
	if err != nil {
		return err
	}
	super := make([]byte, 8)
	super[0], super[1], super[2] = superVersion, byte(p.FileClass), byte(p.DirClass)
	binary.LittleEndian.PutUint32(super[4:], p.ChunkSize)
	now := at.Time().UnixNano()
	root := record{typ: TypeDir, class: p.DirClass, mode: DirMode, nlink: 1, inode: rootInode, mtime: now, ctime: now}
	trash := record{typ: TypeDir, class: p.DirClass, inode: trashInode}
	top := self{held: true}
	meta := metaID(metaSuper)
	tx := &object.Tx{
		ReadAt: at,
		Conds:  []object.Cond{{Kind: object.AkeyAbsent, OID: meta, Dkey: dkeySuper, Akey: akeyState}},
		Writes: []object.Write{
			put(meta, dkeySuper, akeyState, super),
			put(root.oid(), dkeySelf, akeyInode, root.encode()),
			put(root.oid(), dkeySelf, akeySelf, top.encode()),
			put(trash.oid(), dkeySelf, akeySelf, top.encode()),
		},
	}
	_, err = s.Commit(ctx, tx)
	return err
}

// Open reads the layout of a dataset that Create made.
func Open(ctx context.Context, s Store, o Options) (*FS, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Backoff == nil {
		o.Backoff = race.Pause
	}
	if o.Attempts <= 0 {
		o.Attempts = 256
	}
	if o.Session == 0 {
		o.Session = rand.Uint64() | 1
	}
	at, err := s.ReadEpoch(ctx, 0)
	if err != nil {
		return nil, err
	}
	b, _, err := s.Get(ctx, at, metaID(metaSuper), dkeySuper, akeyState)
	if err != nil {
		if fault.Is(err, fault.NotFound) {
			return nil, fault.New(fault.NotFound, "posix.open", "dataset", "there is no POSIX tree in it").Do("create it with type posix")
		}
		return nil, err
	}
	if len(b) < 8 || b[0] != superVersion {
		return nil, fault.New(fault.Unsupported, "posix.open", "dataset", "superblock of an unknown version").Do("use a newer version of daos")
	}
	p := Properties{FileClass: object.Class(b[1]), DirClass: object.Class(b[2]), ChunkSize: binary.LittleEndian.Uint32(b[4:])}
	if err := p.Check(); err != nil {
		return nil, err
	}
	return &FS{store: s, props: p, opts: o}, nil
}

// Properties returns what the dataset was created with.
func (f *FS) Properties() Properties { return f.props }

// At is the tree at an epoch: a snapshot's, or one that ReadEpoch has given.
func (f *FS) At(at object.Epoch) *View { return &View{fs: f, at: at} }

// Head is the tree as it is now, not older than seen.
func (f *FS) Head(ctx context.Context, seen object.Epoch) (*View, error) {
	at, err := f.store.ReadEpoch(ctx, seen)
	if err != nil {
		return nil, err
	}
	return f.At(at), nil
}

func (f *FS) rootID() object.ID  { return object.MakeID(f.props.DirClass, useDir, rootInode) }
func (f *FS) trashID() object.ID { return object.MakeID(f.props.DirClass, useDir, trashInode) }

func metaID(n uint64) object.ID { return object.MakeID(object.ClassS1, useMeta, n) }

// lease is how many inode numbers are taken at once.
const lease = 1 << 14

// number gives out n inode numbers in a row and returns the first. A block is
// taken by a transaction before any number of it is used.
func (f *FS) number(ctx context.Context, n uint64) (uint64, error) {
	f.numbers.Lock()
	defer f.numbers.Unlock()
	if f.numbers.end-f.numbers.next < n {
		first, err := f.takeNumbers(ctx, max(n, lease))
		if err != nil {
			return 0, err
		}
		f.numbers.next, f.numbers.end = first, first+max(n, lease)
	}
	first := f.numbers.next
	f.numbers.next += n
	return first, nil
}

func (f *FS) takeNumbers(ctx context.Context, n uint64) (uint64, error) {
	meta := metaID(metaSuper)
	for attempt := 1; ; attempt++ {
		at, err := f.store.ReadEpoch(ctx, 0)
		if err != nil {
			return 0, err
		}
		next := uint64(firstInode)
		b, _, err := f.store.Get(ctx, at, meta, dkeyInodes, akeyNext)
		switch {
		case err == nil && len(b) == 8:
			next = binary.LittleEndian.Uint64(b)
		case err == nil:
			return 0, corrupt("inode numbers", "counter of %d bytes", len(b))
		case !fault.Is(err, fault.NotFound):
			return 0, err
		}
		_, err = f.store.Commit(ctx, &object.Tx{
			ReadAt: at,
			Reads:  []object.Read{point(meta, dkeyInodes, akeyNext)},
			Writes: []object.Write{put(meta, dkeyInodes, akeyNext, binary.LittleEndian.AppendUint64(nil, next+n))},
		})
		if err == nil {
			return next, nil
		}
		if !fault.Is(err, fault.Conflict, fault.EpochGone) || attempt >= f.opts.Attempts {
			return 0, err
		}
		if err := f.opts.Backoff(ctx, attempt); err != nil {
			return 0, err
		}
	}
}

func put(oid object.ID, dkey, akey, b []byte) object.Write {
	return object.Write{Op: object.OpPut, OID: oid, Dkey: dkey, Akey: akey, Data: b}
}

func point(oid object.ID, dkey, akey []byte) object.Read {
	return object.Read{OID: oid, Point: true, From: dkey, Akey: akey}
}
