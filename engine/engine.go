package engine

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"daos/engine/hlc"
	"daos/engine/journal"
	"daos/engine/kernel"
	"daos/engine/object"
	"daos/engine/placement"
	"daos/engine/target"
	"daos/internal/fault"
)

// Options of an engine. The zero value of each field but Root is a default.
type Options struct {
	Root    string
	Targets int    // 0: as many as there are, 4 in a new root
	FS      vfs.FS // nil: the operating system's
	Now     func() time.Time
	Logger  *slog.Logger
	// Window is how long versions stay readable that nothing pins; 0: ten minutes.
	Window time.Duration
	// SweepEvery is the pause between two rounds of the sweeper; 0: half a
	// minute; negative: only Sweep sweeps.
	SweepEvery time.Duration
	// SyncEvery bounds how long deferred writes stay volatile; 0: a second.
	SyncEvery time.Duration
	// CacheBytes is the index cache, shared by all targets; 0: 256 MiB.
	CacheBytes int64
	// JournalBytes is the size of a file of the journal that is used much, of
	// which there are two; 0: 32 MiB.
	JournalBytes int64
	// Marker makes ScanMarked possible; nil: it is not.
	Marker object.Marker
	// OpenTarget replaces engine/vos, for tests.
	OpenTarget func(id uint16, dir string) (target.Target, error)
}

const (
	defaultTargets = 4
	maxTargets     = 1024
	defaultWindow  = 10 * time.Minute
	defaultSweep   = 30 * time.Second
	defaultSync    = time.Second
	defaultCache   = 256 << 20
)

// Engine is the storage of one rank, open.
type Engine struct {
	opts    Options
	log     *slog.Logger
	lock    io.Closer
	clock   *hlc.Source
	ceiling *clockFile
	reg     *registry
	cache   *pebble.Cache
	journal *journal.Log // nil with targets that are not engine/vos
	targets []target.Target
	counts  []counters
	layout  *placement.Layout
	ledger  ledger

	mu       sync.RWMutex
	datasets map[object.DatasetID]*Dataset
	pools    map[object.PoolID]*account
	closing  bool

	generation uint64       // of this opening
	start      object.Epoch // not below anything that was there at open
	swept      sweepCounts
	rows       atomic.Int64 // transactions of several targets since the last settle
	background context.CancelFunc
	wg         sync.WaitGroup
}

// counters of one target.
type counters struct {
	prepares, failures, aborts atomic.Int64
	bytes                      atomic.Int64
}

// TargetStats is the state of a target.
type TargetStats struct {
	ID       int
	Dir      string
	Failed   error // not nil: stopped writing
	Prepares int64 // batches made durable since the engine was opened
	Failures int64
	Aborts   int64
	Bytes    int64 // payload bytes of those batches
}

// Stats tells about each target.
func (e *Engine) Stats() []TargetStats {
	out := make([]TargetStats, len(e.targets))
	for i, t := range e.targets {
		c := &e.counts[i]
		out[i] = TargetStats{ID: i, Dir: e.targetDir(i), Failed: t.Failed(), Prepares: c.prepares.Load(),
			Failures: c.failures.Load(), Aborts: c.aborts.Load(), Bytes: c.bytes.Load()}
	}
	return out
}

// Unshared is how many batches found no room in the journal since the engine was
// opened: each was synced on its own.
func (e *Engine) Unshared() int64 {
	if e.journal == nil {
		return 0
	}
	return e.journal.NoRoom()
}

// Targets is the number of targets.
func (e *Engine) Targets() int { return len(e.targets) }

// MapVersion is the version of the pool map that placement follows.
func (e *Engine) MapVersion() uint64 { return e.layout.Version }

func (e *Engine) targetDir(i int) string {
	return e.opts.FS.PathJoin(e.opts.Root, fmt.Sprintf("target-%d", i))
}

// CreateDataset adds an empty dataset to a pool. Ids are never used twice.
func (e *Engine) CreateDataset(ctx context.Context, id object.DatasetID, pool object.PoolID) (*Dataset, error) {
	if err := ctx.Err(); err != nil {
		return nil, fault.Wrap(err, "engine.create", datasetName(id))
	}
	if id == 0 {
		return nil, fault.New(fault.Invalid, "engine.create", datasetName(id), "0 is not a dataset id")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing {
		return nil, errClosed()
	}
	if e.datasets[id] != nil {
		return nil, fault.New(fault.Exists, "engine.create", datasetName(id), "the id is in use")
	}
	if err := e.reg.change(func(d *registryData) { d.dataset(id).Pool = pool; d.pool(pool) }); err != nil {
		return nil, err
	}
	d := e.newDataset(datasetEntry{ID: id, Pool: pool})
	d.pinned.Store(true) // nothing can be pinned in it yet
	e.datasets[id] = d
	return d, nil
}

// OpenDataset returns the handle of a dataset; all callers share one.
func (e *Engine) OpenDataset(id object.DatasetID) (*Dataset, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	d := e.datasets[id]
	switch {
	case e.closing:
		return nil, errClosed()
	case d == nil:
		return nil, fault.New(fault.NotFound, "engine.open", datasetName(id), "no such dataset on this engine")
	}
	return d, nil
}

// Datasets are the ids known here.
func (e *Engine) Datasets() []object.DatasetID {
	e.reg.mu.Lock()
	defer e.reg.mu.Unlock()
	var out []object.DatasetID
	for _, d := range e.reg.data.Datasets {
		if !d.Destroying {
			out = append(out, d.ID)
		}
	}
	return out
}

// DestroyDataset removes a dataset with all its versions, pinned or not. After
// a crash in the middle the next Open finishes it.
func (e *Engine) DestroyDataset(ctx context.Context, id object.DatasetID) error {
	d, err := e.OpenDataset(id)
	if err != nil {
		return err
	}
	gone := fault.New(fault.NotFound, "engine.destroy", datasetName(id), "the dataset has been destroyed")
	d.gone.Store(gone)
	if err := d.drain(ctx, gone); err != nil {
		return err // again: it finds the same state
	}
	d.sweeping.Lock()
	defer d.sweeping.Unlock()
	if err := e.reg.change(func(r *registryData) { r.dataset(id).Destroying = true }); err != nil {
		return err
	}
	if err := e.destroy(id); err != nil {
		return err
	}
	e.ledger.add(-e.ledger.used(&d.account), d.pool)
	e.mu.Lock()
	delete(e.datasets, id)
	e.mu.Unlock()
	return nil
}

func (e *Engine) destroy(id object.DatasetID) error {
	for _, t := range e.targets {
		if err := t.Destroy(id); err != nil {
			return err
		}
	}
	return e.reg.change(func(r *registryData) { r.remove(id) })
}

// SetQuota bounds the payload bytes of a dataset, all versions counted; 0
// removes the bound. Below what is used it only stops growth.
func (e *Engine) SetQuota(id object.DatasetID, bytes int64) error {
	d, err := e.OpenDataset(id)
	if err != nil {
		return err
	}
	if bytes < 0 {
		return fault.New(fault.Invalid, "engine.quota", datasetName(id), "negative quota %d", bytes)
	}
	if e.ledger.quota(&d.account) == bytes {
		return nil // told again at every start
	}
	if err := e.reg.change(func(r *registryData) { r.dataset(id).Quota = bytes }); err != nil {
		return err
	}
	e.ledger.setQuota(&d.account, bytes)
	return nil
}

// SetPoolQuota bounds the payload bytes of all datasets of a pool; 0 removes
// the bound.
func (e *Engine) SetPoolQuota(id object.PoolID, bytes int64) error {
	if bytes < 0 {
		return fault.New(fault.Invalid, "engine.quota", poolName(id), "negative quota %d", bytes)
	}
	e.mu.Lock()
	known := e.ledger.quota(e.pool(id))
	e.mu.Unlock()
	if known == bytes {
		return nil
	}
	if err := e.reg.change(func(r *registryData) { r.pool(id).Quota = bytes }); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ledger.setQuota(e.pool(id), bytes)
	return nil
}

// pool returns the account of a pool; the caller holds mu.
func (e *Engine) pool(id object.PoolID) *account {
	a := e.pools[id]
	if a == nil {
		a = &account{name: poolName(id)}
		e.pools[id] = a
	}
	return a
}

// Usage is what a dataset holds, read from the counters on the targets.
func (e *Engine) Usage(id object.DatasetID) (object.Usage, error) {
	if _, err := e.OpenDataset(id); err != nil {
		return object.Usage{}, err
	}
	return e.usage(id)
}

func (e *Engine) usage(id object.DatasetID) (object.Usage, error) {
	var sum object.Usage
	for _, t := range e.targets {
		u, err := t.Usage(id)
		if err != nil {
			return object.Usage{}, err
		}
		sum.Bytes += u.Bytes
		sum.Records += u.Records
	}
	return sum, nil
}

// PoolUsage is what all datasets of a pool hold.
func (e *Engine) PoolUsage(id object.PoolID) (object.Usage, error) {
	e.mu.RLock()
	var ids []object.DatasetID
	for _, d := range e.datasets {
		if d.poolID == id {
			ids = append(ids, d.id)
		}
	}
	e.mu.RUnlock()
	var sum object.Usage
	for _, id := range ids {
		u, err := e.usage(id)
		if err != nil {
			return object.Usage{}, err
		}
		sum.Bytes += u.Bytes
		sum.Records += u.Records
	}
	return sum, nil
}

// Scrub reads every record of a dataset (0: of all) and reports each that does
// not match its checksum. It returns how many were read.
func (e *Engine) Scrub(ctx context.Context, id object.DatasetID, report func(error)) (records int64, err error) {
	ids := []object.DatasetID{id}
	if id == 0 {
		ids = e.Datasets()
	} else if _, err := e.OpenDataset(id); err != nil {
		return 0, err
	}
	for _, id := range ids {
		for _, t := range e.targets {
			n, err := t.Scrub(ctx, id, report)
			records += n
			if err != nil {
				return records, err
			}
		}
	}
	return records, nil
}

func errClosed() error {
	return fault.New(fault.Unreachable, "engine", "engine", "the engine is closed")
}

func (e *Engine) newDataset(entry datasetEntry) *Dataset {
	d := &Dataset{
		e: e, id: entry.ID, poolID: entry.Pool, pool: e.pool(entry.Pool),
		account: account{name: datasetName(entry.ID), quota: entry.Quota},
		kernel:  kernel.New(e.clock.Next), calls: map[uint64]*call{},
	}
	d.horizon.Store(uint64(entry.Horizon))
	d.kept = entry.Pins
	d.pins.Store(&entry.Pins)
	return d
}
