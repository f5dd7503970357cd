// Package target is the vocabulary of one storage target: what the transaction
// kernel and the engine ask of it. engine/vos implements it on pebble and
// segment files; the kernel's simulator implements it in memory with crashes.
//
// A target knows nothing of other targets. It keeps versions, and a row for
// each transaction that spans targets: {id, epoch, participants}. A
// transaction is committed if and only if every participant has its row or is
// past it; the engine decides that, the target only obeys.
package target

import (
	"context"

	"daos/engine/object"
)

// TxID names a transaction that spans targets: its commit epoch is unique in
// the engine, so it serves.
type TxID = object.Epoch

// Placed is one write with its place: redundancy group, placement hash.
type Placed struct {
	object.Write
	Group uint16
	Hash  uint32 // hash32(oid, group); its top bits are the placement group
}

// Batch is what one transaction does on one target.
type Batch struct {
	Dataset object.DatasetID
	Epoch   object.Epoch
	// Writes take effect in their order: what comes later in the list wins,
	// a punch removes what came before it, at this epoch too.
	Writes []Placed
	// Participants lists all targets of the transaction, this one too; empty
	// for a transaction of one target, which needs no row.
	Participants []uint16
	// Request is kept with the batch on the first participant only.
	Request object.RequestID
	Answer  []byte
	// Deferred leaves out both syncs.
	Deferred bool
}

// TxRow is the row of a transaction as found on a target.
type TxRow struct {
	ID           TxID
	Dataset      object.DatasetID
	Participants []uint16
}

// Place addresses one object's redundancy group on a target.
type Place struct {
	Dataset object.DatasetID
	Hash    uint32
	OID     object.ID
	Group   uint16
}

// Version is a version met by a read.
type Version struct {
	Epoch  object.Epoch
	Record object.Record
}

// Target is one storage target.
type Target interface {
	// Prepare makes a batch durable: bytes longer than object.InlineMax to a
	// segment, fdatasync, then one durable index batch with the versions, the
	// transaction row, the request row and the usage counters. Concurrent
	// calls share both syncs. On error nothing of the batch is visible or will
	// become so.
	Prepare(ctx context.Context, b *Batch) error
	// Abort removes the versions and the row of an undecided transaction, durably.
	Abort(ctx context.Context, ds object.DatasetID, id TxID) error
	// Settle drops the transaction rows at or below upTo and remembers upTo, in
	// one batch without a sync. The caller has made sure that each of those
	// transactions is either durable on every participant or durably aborted on
	// every participant. So a row that is missing on a target does not mean
	// "never prepared here" if the target is past it.
	Settle(upTo TxID) error
	// Settled is the highest upTo that is known here, 0 if none.
	Settled() (TxID, error)
	// Undecided returns the rows present, for recovery at open.
	Undecided() ([]TxRow, error)
	// Sync makes everything deferred durable.
	Sync() error

	// Request returns the row of a request id, if it is kept here.
	Request(ds object.DatasetID, id object.RequestID) (object.Result, bool, error)

	// Get returns the newest visible single value at or below an epoch.
	// fault.NotFound if absent or punched.
	Get(at object.Epoch, p Place, dkey, akey []byte) (Version, error)
	// Newest returns the epoch of the newest change (write or punch, of the
	// key or of anything above it) to what a Read names; 0 if there never was any.
	Newest(p Place, r object.Read) (object.Epoch, error)
	// Exists reports whether a dkey (akey nil) or an akey has anything visible.
	Exists(at object.Epoch, p Place, dkey, akey []byte) (bool, error)
	// Extents returns visible pieces of [off, off+n), in order of offset.
	Extents(at object.Epoch, p Place, dkey, akey []byte, off, n uint64) ([]object.Extent, error)
	// List walks the single values of one redundancy group in key order.
	List(ctx context.Context, at object.Epoch, p Place, o object.ListOptions, fn func(object.Item) bool) error
	// ListArrays walks the (dkey, akey) of one group that have visible array bytes.
	ListArrays(ctx context.Context, at object.Epoch, p Place, o object.ListOptions, fn func(dkey, akey []byte) bool) error
	// Scan walks the namespace plane of a dataset over hashes [from, to] (both
	// inclusive) in key order, starting after the position resume (opaque to
	// the caller, nil: at from); fn gets the position of its row.
	Scan(ctx context.Context, ds object.DatasetID, at object.Epoch, from, to uint32, resume []byte,
		fn func(r object.Row, pos []byte) bool) error
	// ReadRecord reads and verifies bytes [skip, skip+len(p)) of a record.
	ReadRecord(ds object.DatasetID, r object.Record, skip uint64, p []byte) error
	// Segment maps a segment.
	Segment(ds object.DatasetID, segment uint64) (object.Mapping, error)

	// Usage is the counter of a dataset here.
	Usage(ds object.DatasetID) (object.Usage, error)
	// Sweep drops versions of a dataset that no epoch in keep (rising; reads
	// happen at these and at or above floor) can see, expired request rows,
	// and segments without live records. It works in small paced steps until
	// ctx ends or nothing is left.
	Sweep(ctx context.Context, ds object.DatasetID, keep []object.Epoch, floor object.Epoch) (SweepStats, error)
	// Scrub re-reads every record and reports each that does not verify.
	Scrub(ctx context.Context, ds object.DatasetID, report func(error)) (records int64, err error)
	// Destroy removes a dataset: a range delete and unlinks.
	Destroy(ds object.DatasetID) error
	// MaxEpoch is an epoch not below any version on this target, so that the
	// clock never goes back.
	MaxEpoch() (object.Epoch, error)
	// Failed is not nil once the target has stopped writing for good (a sync
	// failed). A Prepare that was in progress then has an unknown outcome: its
	// versions may be visible here, and may be there after a restart.
	Failed() error
	// Generation changes whenever a record may have moved or gone.
	Generation() uint64
	Close() error
}

// Stager is implemented by targets whose Prepare can be taken apart, so that
// the batches of several targets become durable together.
type Stager interface {
	// Stage begins a Prepare: bulk bytes are durable in their segment, the rest
	// is ready to be written. Without an error Log, Apply and Wait must be
	// called, in this order.
	Stage(ctx context.Context, b *Batch) (Staged, error)
}

// Staged is a batch on its way to the disk.
type Staged interface {
	// Log hands the batch to the journal, and reports whether that has taken it:
	// Apply is quick then. The target takes no other until Apply: who logs on
	// several targets does so in rising order of target.
	Log() bool
	// Apply makes the batch a part of the index.
	Apply()
	// Wait returns when the batch is durable, with the outcome of Prepare.
	Wait() error
}

// RegionReader is implemented by targets that verify bytes of a record where
// they lie, so that they can be sent without a copy.
type RegionReader interface {
	// Regions appends the verified bytes [skip, skip+n) of a record to out.
	Regions(ds object.DatasetID, r object.Record, skip, n uint64, out *object.Regions) error
}

// Named names a single value.
type Named struct {
	Place
	Dkey, Akey []byte
}

// ManyGetter is implemented by targets that look several single values up for
// less than one after another.
type ManyGetter interface {
	// GetMany calls fn for those of names that are there, until it fails.
	GetMany(at object.Epoch, names []Named, fn func(i int, v Version) error) error
}

// ArrayEnder is implemented by targets that find the end of the last visible
// byte of an array (0: none) without listing its extents.
type ArrayEnder interface {
	ArrayEnd(at object.Epoch, p Place, dkey, akey []byte) (uint64, error)
}

// MarkScanner is implemented by targets that know between which marks
// (object.Marker) the values of a part of the index are.
type MarkScanner interface {
	// ScanMarked is Scan of exactly the rows whose marks meet want.
	ScanMarked(ctx context.Context, ds object.DatasetID, at object.Epoch, from, to uint32, resume []byte, want object.Span,
		fn func(r object.Row, pos []byte) bool) error
}

// SweepStats counts what a sweep did.
type SweepStats struct {
	Versions int64 // versions dropped
	Bytes    int64 // payload bytes dropped
	Segments int64 // segment files unlinked or rewritten
}
