package vos

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"daos/engine/journal"
	"daos/engine/object"
	"daos/engine/segment"
	"daos/engine/target"
	"daos/internal/fault"
	"daos/internal/guardfs"
)

// pebbleFormat is pinned: a newer library must not upgrade files by itself.
const pebbleFormat = pebble.FormatValueSeparation

// Options of a target.
type Options struct {
	Dir string // the target's folder
	FS  vfs.FS // index and segments; nil: the operating system's
	ID  uint16
	// Cache is shared between targets; nil: 64 MiB of its own.
	Cache  *pebble.Cache
	Logger *slog.Logger // nil: slog.Default()
	// SegmentCap is the size of a full segment; 0: segment.DefaultCap.
	SegmentCap uint64
	// MemTable is the size of pebble's write buffer; 0: 16 MiB.
	MemTable uint64
	// MergeFrom is how many extents within one MiB of an array a sweep merges;
	// 0: 16.
	MergeFrom int
	// Marker makes ScanMarked possible; nil: it is not.
	Marker object.Marker
	// Journal is the redo log that the targets of a disk share; it is open, and
	// started after they are. nil: the index's own log is synced.
	Journal *journal.Log
	// ReserveBytes of free disk are never used: below, writes are refused
	// with fault.NoSpace while the index still has room to work. 0: the
	// smaller of 256 MiB and 5 % of the disk; negative: none.
	ReserveBytes int64
}

// Target is a storage target on disk.
type Target struct {
	opts  Options
	guard *guardfs.FS
	db    *pebble.DB
	cache *pebble.Cache // own one, or nil
	segs  *segment.Set
	log   *slog.Logger

	usage    usageTable
	punches  punchSet
	ceiling  atomic.Uint64 // epoch ceiling that is surely in the index
	newest   atomic.Uint64 // highest epoch met
	gen      atomic.Uint64
	numbers  numbers
	deferred deferredList
	redo     redoState
	backlog  backlog
	rows     txRows
	space    spaceGauge
	owners   owners

	zones  zoneTable
	sweeps sweepTable
	moving sync.Mutex // between taking versions back and moving records

	rebuilding bool // RebuildIndex: the index is empty, the segments are not

	inside atomic.Int64 // calls in progress
	closed atomic.Bool
	idle   chan struct{} // a call has left a closed target
}

var (
	_ target.Target     = (*Target)(nil)
	_ target.ArrayEnder = (*Target)(nil)
	_ target.Stager     = (*Target)(nil)
)

// Open opens or creates a target.
func Open(o Options) (*Target, error) {
	t := newTarget(o)
	if err := t.open(); err != nil {
		_ = t.shut()
		return nil, err
	}
	return t, nil
}

func newTarget(o Options) *Target {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.MemTable == 0 {
		o.MemTable = 16 << 20
	}
	if o.MergeFrom == 0 {
		o.MergeFrom = mergeFrom
	}
	t := &Target{opts: o, backlog: newBacklog(), idle: make(chan struct{}, 1), log: o.Logger.With("target", o.ID)}
	t.guard = guardfs.New(o.FS, "target")
	t.guard.StopAtLog()
	return t
}

func (t *Target) open() error {
	o, f := t.opts, vfs.FS(t.guard)
	comparer := newComparer()
	schema, schemas := newKeySchema(comparer)
	want := superblock{
		target: o.ID, pebbleFormat: uint32(pebbleFormat), comparer: comparerName, schema: schema, merger: mergerName,
	}
	sbName := f.PathJoin(o.Dir, superblockName)
	sb, found, err := readSuperblock(f, sbName)
	if err != nil {
		return err
	}
	indexDir, segDir := f.PathJoin(o.Dir, "index"), f.PathJoin(o.Dir, "seg")
	if !found {
		for _, d := range []string{indexDir, segDir} {
			if _, err := f.Stat(d); err == nil {
				return fault.New(fault.Corrupt, "vos.open", sbName, "the superblock is missing, but %s is there", d).
					Do("restore the superblock from a backup, or remove the folder to start an empty target")
			}
		}
		if err := f.MkdirAll(o.Dir, 0o700); err != nil {
			return fault.New(fault.KindOf(err), "vos.open", o.Dir, "the folder can't be made").Because(err)
		}
		if err := guardfs.SyncDir(f, f.PathDir(o.Dir)); err != nil {
			return fault.New(fault.KindOf(err), "vos.open", o.Dir, "the folder can't be made durable").Because(err)
		}
		sb = want
		sb.state, sb.id = stateCreating, newTargetID()
		if err := writeSuperblock(f, o.Dir, sb); err != nil {
			return err
		}
	}
	if err := sb.check(sbName, want); err != nil {
		return err
	}
	if sb.state != stateReady {
		if err := t.checkUnfinished(sbName, segDir); err != nil {
			return err
		}
		// A crash while the target was made: nothing was ever answered from it.
		if err := f.RemoveAll(indexDir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fault.New(fault.KindOf(err), "vos.open", indexDir, "a half-made index can't be removed").Because(err)
		}
	}
	if _, err := f.Stat(indexDir); sb.state == stateReady && errors.Is(err, fs.ErrNotExist) {
		return t.indexError("vos.open", pebble.ErrDBDoesNotExist) // before pebble makes the folder
	}
	if err := t.guard.OpenLedger(o.Dir, indexDir); err != nil {
		return err
	}
	cache := o.Cache
	if cache == nil {
		cache = pebble.NewCache(64 << 20)
		t.cache = cache
	}
	po := &pebble.Options{
		FS: f, Cache: cache, Comparer: comparer, Merger: newMerger(),
		KeySchema: schema, KeySchemas: schemas,
		FormatMajorVersion: pebbleFormat,
		ErrorIfNotExists:   sb.state == stateReady,
		MemTableSize:       o.MemTable,
		// Two buffers fill while one is flushed.
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       40,
		MaxOpenFiles:                500,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
		Logger:                      pebbleLogger{t},
		EventListener:               t.listener(),
	}
	for i := range po.Levels {
		po.Levels[i].BlockSize = 16 << 10
		po.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	db, err := t.openIndex(indexDir, po)
	if err != nil {
		return t.indexError("vos.open", err)
	}
	t.db = db
	if err := t.replay(); err != nil {
		return err
	}
	t.segs, err = segment.Open(segment.Options{
		FS: f, Dir: segDir, Target: o.ID, Cap: o.SegmentCap, Number: t.nextNumber,
	})
	if err != nil {
		return err
	}
	if sb.state != stateReady && !t.rebuilding {
		sb.state = stateReady
		if err := writeSuperblock(f, o.Dir, sb); err != nil {
			return err
		}
	}
	return t.load()
}

// checkUnfinished refuses a target without an index that has segments: there a
// rebuild was begun and not finished.
func (t *Target) checkUnfinished(sbName, segDir string) error {
	names, err := t.guard.List(segDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.KindOf(err), "vos.open", segDir, "can't be listed").Because(err)
	}
	if len(names) > 0 && !t.rebuilding {
		return fault.New(fault.Corrupt, "vos.open", sbName, "a rebuild of the index was begun and not finished").
			Do("rebuild the index again")
	}
	return nil
}

// load reads the rows that are kept in memory and finishes what a crash left.
func (t *Target) load() error {
	v, err := t.readCounter(ceilingKey())
	if err != nil {
		return err
	}
	t.ceiling.Store(v)
	t.newest.Store(v)
	if t.numbers.next, err = t.readCounter(numberKey()); err != nil {
		return err
	}
	t.numbers.end = t.numbers.next
	t.space.init(t.guard, t.opts.Dir, t.opts.ReserveBytes)
	if err := t.loadUsage(); err != nil {
		return err
	}
	if err := t.loadPunches(); err != nil {
		return err
	}
	if err := t.loadTxRows(); err != nil {
		return err
	}
	if err := t.recoverDeferred(); err != nil {
		return err
	}
	if err := t.dropOrphanFolders(); err != nil {
		return err
	}
	return nil
}

func (t *Target) readCounter(key []byte) (uint64, error) {
	b, c, err := t.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, t.indexError("vos.open", err)
	}
	defer c.Close()
	if len(b) < 8 {
		return 0, t.badKey("vos.open", key)
	}
	return binary.BigEndian.Uint64(b), nil
}

// dropOrphanFolders unlinks segments of datasets that the index does not know:
// a crash before the first commit or in the middle of Destroy.
func (t *Target) dropOrphanFolders() error {
	if t.rebuilding {
		return nil
	}
	all, err := t.segs.Datasets()
	if err != nil {
		return err
	}
	for _, ds := range all {
		if !t.usage.known(object.DatasetID(ds)) {
			if err := t.segs.RemoveDataset(ds); err != nil {
				return err
			}
		}
	}
	return nil
}

// numbers gives out segment numbers; [next, end) are reserved in the index.
type numbers struct {
	mu        sync.Mutex
	next, end uint64
}

const numberBlock = 256

func (t *Target) nextNumber() (uint64, error) {
	n := &t.numbers
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.next == n.end {
		b := binary.BigEndian.AppendUint64(nil, n.end+numberBlock)
		if err := t.setNumber(b); err != nil {
			return 0, err
		}
		n.end += numberBlock
	}
	n.next++
	return n.next, nil // numbers begin at 1
}

func (t *Target) setNumber(v []byte) error {
	b := t.db.NewBatch()
	if err := b.Set(numberKey(), v, nil); err != nil {
		return t.indexError("vos.number", err)
	}
	if err := t.begin(b, pebble.Sync); err != nil {
		return t.applied(err)
	}
	return t.applied(errors.Join(t.synced(b), b.Close()))
}

// enter guards a call against Close; every public method begins with it. It
// is no lock: a callback may call other methods while Close waits.
func (t *Target) enter() error {
	t.inside.Add(1)
	if t.closed.Load() {
		t.leave()
		return fault.New(fault.Unreachable, "vos", t.opts.Dir, "the target is closed")
	}
	return nil
}

func (t *Target) leave() {
	if t.inside.Add(-1) == 0 && t.closed.Load() {
		select {
		case t.idle <- struct{}{}:
		default:
		}
	}
}

// Generation changes whenever a record may have moved or gone.
func (t *Target) Generation() uint64 { return t.gen.Load() }

// MaxEpoch is an epoch not below any version here.
func (t *Target) MaxEpoch() (object.Epoch, error) { return object.Epoch(t.newest.Load()), nil }

// Segment maps a segment read-only.
func (t *Target) Segment(ds object.DatasetID, n uint64) (object.Mapping, error) {
	if err := t.enter(); err != nil {
		return nil, err
	}
	defer t.leave()
	m, err := t.segs.Map(uint64(ds), n)
	if err != nil {
		return nil, err
	}
	return m, nil
}

// Close waits for calls in progress, makes everything durable and closes.
func (t *Target) Close() error {
	if t.closed.Swap(true) {
		return nil
	}
	for t.inside.Load() > 0 {
		<-t.idle
	}
	var first error
	whole := t.rest()
	if t.guard.Failed() == nil {
		first = t.syncDeferred()
		if first == nil {
			first = t.absorb()
		}
		if first == nil {
			// An empty log at rest: nothing in it can rot.
			if first = t.guard.Failed(); first == nil {
				first = t.applied(t.db.Flush())
			}
		}
	}
	if !whole || t.backlog.broken.Load() {
		t.db = nil // it can't even be closed
	}
	if err := t.shut(); first == nil {
		first = err
	}
	return first
}

func (t *Target) shut() (first error) {
	if t.segs != nil {
		first = t.segs.Close()
	}
	if t.db != nil {
		if err := t.db.Close(); err != nil && first == nil {
			first = t.indexError("vos.close", err)
		}
	}
	t.guard.CloseLedger()
	if t.cache != nil {
		t.cache.Unref()
	}
	return first
}
