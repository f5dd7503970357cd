package object

import "context"

// Clock gives the epochs that reads are made at.
type Clock interface {
	// ReadEpoch returns a closed epoch that is not below seen and not below
	// any epoch that Commit has answered in this process. It waits, for
	// microseconds, for undecided older transactions. A seen from the future
	// (beyond the clock's bound) is fault.Invalid.
	ReadEpoch(ctx context.Context, seen Epoch) (Epoch, error)
}

// Reader reads one dataset at an epoch. Below the sweep horizon (versions
// already dropped, and no pin there) every method returns fault.EpochGone.
type Reader interface {
	// Get returns the single value visible at an epoch, verified against its
	// checksum, and the epoch that wrote it. The slice is the caller's.
	// fault.NotFound if there is none or it is punched; fault.Corrupt if the
	// stored bytes do not match.
	Get(ctx context.Context, at Epoch, oid ID, dkey, akey []byte) ([]byte, Epoch, error)
	// ReadArray fills p from a byte array at off; holes read as zeros. It
	// never says how long the array is: see ArrayEnd.
	ReadArray(ctx context.Context, at Epoch, oid ID, dkey, akey []byte, off uint64, p []byte) error
	// ArrayEnd is the end of the last visible byte of an array, 0 if there is none.
	ArrayEnd(ctx context.Context, at Epoch, oid ID, dkey, akey []byte) (uint64, error)
	// Extents returns what is visible of [off, off+n) as pieces of records, in
	// order of offset; holes are left out.
	Extents(ctx context.Context, at Epoch, oid ID, dkey, akey []byte, off, n uint64) ([]Extent, error)
}

// Extent is a visible piece of a byte array: Length bytes at Offset of the
// array, which are the bytes [Skip, Skip+Length) of Record.
type Extent struct {
	Offset, Length uint64
	Skip           uint64
	Record         Record
}

// Record is where one stored value lies. Inline is not nil for a value that
// lies in the index itself; else it is Length bytes at Pos of a segment file.
// Sums are CRC32C (Castagnoli): one over the whole record up to Granule bytes,
// else one per Granule.
type Record struct {
	Target  uint16
	Segment uint64
	Pos     uint64
	Length  uint64
	Sums    []uint32
	Inline  []byte
}

// Item is one single value met by List.
type Item struct {
	Dkey, Akey []byte
	Epoch      Epoch
	Value      []byte
	Size       uint64 // of the value, also where Value is left out
	Record     Record // where it lies, with ListOptions.Records; may be kept
}

// ListOptions bound a List.
type ListOptions struct {
	After   []byte // start after this dkey (exclusive), nil: from the first
	From    []byte // start at this dkey (inclusive); After wins
	To      []byte // end before this dkey, nil: no bound
	Prefix  []byte // only dkeys with this prefix
	Akey    []byte // only this akey, nil: all
	Reverse bool   // in falling order within the same bounds (go on with To = the last dkey)
	Limit   int    // at most this many items, 0: no limit
	// KeysOnly leaves Item.Value nil where it would have to be read from a segment.
	KeysOnly bool
	// Records asks for Item.Record; it means KeysOnly.
	Records bool
}

// Lister walks the single values of one object in byte order of (dkey, akey),
// whatever its class.
type Lister interface {
	// List calls fn for each visible single value until it returns false. The
	// item's slices are valid during the call only.
	List(ctx context.Context, at Epoch, oid ID, o ListOptions, fn func(Item) bool) error
	// ListArrays calls fn for each (dkey, akey) that has visible array bytes, in
	// rising order only: Reverse is fault.Unsupported.
	ListArrays(ctx context.Context, at Epoch, oid ID, o ListOptions, fn func(dkey, akey []byte) bool) error
}

// Anchor is an opaque, resumable position of a scan: a range of placement
// groups and a key, never a target. Anchors survive restarts and rebuilds. A
// nil anchor is the whole dataset; an empty non-nil one means "at the end".
type Anchor []byte

// AtEnd reports whether nothing is left at a.
func (a Anchor) AtEnd() bool { return a != nil && len(a) == 0 }

// Row is one single value met by Scan, whatever object it belongs to.
type Row struct {
	OID        ID
	Dkey, Akey []byte
	Epoch      Epoch
	// Value is nil if the value lies in a segment (longer than InlineMax);
	// then Size says how long it is and Get reads it.
	Value []byte
	Size  uint64
}

// Scanner passes linearly over the namespace plane of one dataset.
type Scanner interface {
	// Anchors splits the dataset into at most n anchors (at least one), whose
	// union is everything and which are disjoint.
	Anchors(n int) []Anchor
	// Scan calls fn for each visible single value from a on, until fn returns
	// false or ctx ends; it returns the anchor to go on from, after the last
	// row for which fn returned true. The order is a function of the keys
	// alone. The row's slices are valid during the call only. An error means
	// that rows may be missing; there is no short result without one.
	Scan(ctx context.Context, at Epoch, a Anchor, fn func(Row) bool) (Anchor, error)
	// CountScan is the number of rows that a full Scan from a meets, for proofs
	// of completeness; it costs about as much as the scan.
	CountScan(ctx context.Context, at Epoch, a Anchor) (int64, error)
}

// Committer executes transactions.
type Committer interface {
	// Commit executes tx atomically. When it returns nil error the writes are
	// on disk (unless tx.Deferred) and visible at Result.Epoch and above.
	// fault.Conflict: something in Reads changed, read again and retry.
	// fault.Exists, fault.NotFound: a condition failed. fault.NoSpace: quota
	// or disk. fault.TooBig, fault.Invalid: the transaction is malformed.
	Commit(ctx context.Context, tx *Tx) (Result, error)
	// Replay returns the result of a request id that was committed in the last
	// ten minutes; ok is false if it was not.
	Replay(ctx context.Context, id RequestID) (res Result, ok bool, err error)
}

// Bulk gives readers that keep locations (the loader's manifest) direct access
// to segment bytes.
type Bulk interface {
	// Segment maps a segment of this dataset read-only. The mapping stays
	// valid until Release, also when the segment is unlinked meanwhile; bytes
	// of committed records in it never change. Touching a page that can't be
	// read raises SIGBUS: callers run under debug.SetPanicOnFault and turn the
	// panic into fault.Corrupt.
	Segment(target uint16, segment uint64) (Mapping, error)
	// Generation changes whenever a record may have moved (compaction,
	// rebuild, sweep): locations kept under an older one must be derived anew.
	Generation() uint64
}

// Mapping is a read-only view of one segment file.
type Mapping interface {
	Bytes() []byte
	Name() string // file name, for errors
	Release()
}

// Name names a single value of an object.
type Name struct{ Dkey, Akey []byte }

// ManyGetter is an ability that a store may have beside Store: it looks several
// single values up for less than one after another.
type ManyGetter interface {
	// GetMany calls fn for those of names that are there, in any order; value is
	// fn's to keep.
	GetMany(ctx context.Context, at Epoch, oid ID, names []Name, fn func(i int, value []byte, version Epoch)) error
}

// Store is everything that one dataset offers. Packages above take the parts
// they need.
type Store interface {
	Clock
	Reader
	Lister
	Scanner
	Committer
	Bulk
}

// Usage is what a dataset or a pool holds, all kept versions counted.
type Usage struct {
	Bytes   int64 // payload bytes of all kept versions
	Records int64 // versions kept
}
