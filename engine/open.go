package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"daos/engine/hlc"
	"daos/engine/journal"
	"daos/engine/kernel"
	"daos/engine/object"
	"daos/engine/placement"
	"daos/engine/target"
	"daos/engine/vos"
	"daos/internal/fault"
)

// superblock is the file ROOT/engine.
type superblock struct {
	Format  int
	Targets int
	Groups  int
	// Ready is false from the first write until every target has been made.
	Ready bool
}

const (
	superblockName   = "engine"
	superblockFormat = 2
	// beforeJournal is the format of roots whose targets each sync a log of
	// their own. Such a root is taken over.
	beforeJournal = 1
	journalName   = "journal"
)

// Open opens an engine, or makes one in an empty root. Transactions that a
// crash left undecided are decided before it returns.
func Open(o Options) (*Engine, error) {
	if o.Root == "" {
		return nil, fault.New(fault.Invalid, "engine.open", "engine", "no root folder given")
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Window == 0 {
		o.Window = defaultWindow
	}
	if o.SweepEvery == 0 {
		o.SweepEvery = defaultSweep
	}
	if o.SyncEvery <= 0 {
		o.SyncEvery = defaultSync
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = defaultCache
	}
	e := &Engine{opts: o, log: o.Logger, datasets: map[object.DatasetID]*Dataset{}, pools: map[object.PoolID]*account{}}
	if err := e.open(); err != nil {
		_ = e.shut() // err is what happened first
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	e.background = cancel
	e.wg.Go(func() { e.syncLoop(ctx) })
	if o.SweepEvery > 0 {
		e.wg.Go(func() { e.sweepLoop(ctx) })
	}
	return e, nil
}

func (e *Engine) open() error {
	f, root := e.opts.FS, e.opts.Root
	if err := f.MkdirAll(root, 0o700); err != nil {
		return fault.New(fault.KindOf(err), "engine.open", root, "the folder can't be made").Because(err)
	}
	_ = syncDir(f, f.PathDir(root)) // may not be ours to sync
	if err := e.lockRoot(); err != nil {
		return err
	}
	sb, err := e.superblock()
	if err != nil {
		return err
	}
	var ceiling object.Epoch
	if e.ceiling, ceiling, err = openClock(f, root, !sb.Ready); err != nil {
		return err
	}
	if e.reg, err = openRegistry(f, root, !sb.Ready); err != nil {
		return err
	}
	e.generation = e.reg.data.Opened
	if e.layout, err = placement.Uniform(sb.Targets).Compute(1); err != nil {
		return err
	}
	if err := e.openTargets(sb); err != nil {
		return err
	}
	if !sb.Ready || sb.Format != superblockFormat {
		sb.Ready, sb.Format = true, superblockFormat
		if err := writeSmall(f, root, superblockName, sb); err != nil {
			return err
		}
	}
	for i, t := range e.targets {
		top, err := t.MaxEpoch()
		if err != nil {
			return fault.Wrap(err, "engine.open", e.targetDir(i))
		}
		ceiling = max(ceiling, top)
	}
	if e.clock, err = hlc.NewSource(ceiling, e.opts.Now, e.ceiling.keep); err != nil {
		return err
	}
	e.start = e.clock.Last()
	if err := e.recover(); err != nil {
		return err
	}
	if e.journal != nil {
		if err := e.journal.Start(); err != nil {
			return err
		}
	}
	return e.openDatasets()
}

func (e *Engine) lockRoot() error {
	f, root := e.opts.FS, e.opts.Root
	lock, err := f.Lock(f.PathJoin(root, "LOCK"))
	if err != nil {
		return fault.New(fault.Overloaded, "engine.open", root, "the folder is in use").Because(err).
			Do("stop the server that has it open, or give another folder")
	}
	e.lock = lock
	return nil
}

func (e *Engine) superblock() (superblock, error) {
	f, root := e.opts.FS, e.opts.Root
	var sb superblock
	found, err := readSmall(f, root, superblockName, &sb)
	if err != nil {
		return sb, err
	}
	path := f.PathJoin(root, superblockName)
	if found {
		switch {
		case sb.Format != superblockFormat && sb.Format != beforeJournal || sb.Groups != placement.Groups:
			return sb, fault.New(fault.Unsupported, "engine.open", path, "format %d with %d placement groups is not known", sb.Format, sb.Groups).
				Do("open it with the version of daos that wrote it, or a newer one")
		case e.opts.Targets != 0 && e.opts.Targets != sb.Targets:
			return sb, fault.New(fault.Invalid, "engine.open", path, "this root was made with %d targets, %d were asked for", sb.Targets, e.opts.Targets).
				Do("start with --targets %d or without it; to change the number, export the datasets and import them into a new root", sb.Targets)
		case sb.Targets < 1 || sb.Targets > maxTargets:
			return sb, damaged(path)
		}
		return sb, nil
	}
	if _, err := f.Stat(e.targetDir(0)); err == nil {
		return sb, fault.New(fault.Corrupt, "engine.open", path, "the superblock is missing, but targets are there").
			Do("restore the file from a backup, or give an empty folder")
	}
	n := e.opts.Targets
	if n == 0 {
		n = defaultTargets
	}
	if n < 1 || n > maxTargets {
		return sb, fault.New(fault.Invalid, "engine.open", root, "%d targets", n).Do("give 1 to %d", maxTargets)
	}
	sb = superblock{Format: superblockFormat, Targets: n, Groups: placement.Groups}
	return sb, writeSmall(f, root, superblockName, sb)
}

func (e *Engine) openTargets(sb superblock) error {
	n := sb.Targets
	open := e.opts.OpenTarget
	if open == nil {
		var err error
		e.journal, err = journal.Open(journal.Options{
			FS: e.opts.FS, Dir: e.opts.FS.PathJoin(e.opts.Root, journalName), Logger: e.log, Size: e.opts.JournalBytes,
			Create: !sb.Ready || sb.Format == beforeJournal, Checkpoint: e.checkpoint,
		})
		if err != nil {
			return err
		}
		e.cache = pebble.NewCache(e.opts.CacheBytes)
		open = func(id uint16, dir string) (target.Target, error) {
			return vos.Open(vos.Options{Dir: dir, FS: e.opts.FS, ID: id, Cache: e.cache, Logger: e.log, Marker: e.opts.Marker, Journal: e.journal})
		}
	}
	e.counts = make([]counters, n)
	for i := range n {
		t, err := open(uint16(i), e.targetDir(i))
		if err != nil {
			return fault.Wrap(err, "engine.open", e.targetDir(i))
		}
		e.targets = append(e.targets, t)
	}
	return nil
}

// checkpoint makes durable in the indexes what is in the journal. A target that
// has stopped needs what it has there after a restart.
func (e *Engine) checkpoint() (stopped []uint16, err error) {
	errs := make([]error, len(e.targets))
	(*Dataset)(nil).each(len(e.targets), func(i int) {
		if t, ok := e.targets[i].(*vos.Target); ok {
			errs[i] = t.Checkpoint()
		}
	})
	for i, t := range e.targets {
		if errs[i] != nil && t.Failed() != nil {
			stopped, errs[i] = append(stopped, uint16(i)), nil
		}
	}
	return stopped, errors.Join(errs...)
}

// recover decides what a crash left undecided and settles it.
func (e *Engine) recover() error {
	found := make([]kernel.Found, len(e.targets))
	for i, t := range e.targets {
		rows, err := t.Undecided()
		if err != nil {
			return fault.Wrap(err, "engine.recover", e.targetDir(i))
		}
		settled, err := t.Settled()
		if err != nil {
			return fault.Wrap(err, "engine.recover", e.targetDir(i))
		}
		found[i] = kernel.Found{Target: uint16(i), Rows: rows, Settled: settled}
	}
	commits, aborts := 0, 0
	for _, o := range kernel.Resolve(found) {
		if o.Commit {
			commits++
			continue
		}
		aborts++
		for _, id := range o.AbortOn {
			if err := e.targets[id].Abort(context.Background(), o.Dataset, o.ID); err != nil {
				return fault.Wrap(err, "engine.recover", e.targetDir(int(id)))
			}
		}
	}
	if commits+aborts > 0 {
		e.log.Info("recovered transactions", "committed", commits, "taken back", aborts)
	}
	// All rows found are durable by now: the targets have replayed their logs
	// into tables. So everything below the clock's start is settled.
	upTo := e.clock.Last()
	for i, t := range e.targets {
		if err := t.Settle(upTo); err != nil && t.Failed() == nil {
			return fault.Wrap(err, "engine.recover", e.targetDir(i))
		}
	}
	return nil
}

func (e *Engine) openDatasets() error {
	for _, entry := range e.reg.data.Pools {
		e.pool(entry.ID).quota = entry.Quota
	}
	var half []object.DatasetID
	for _, entry := range e.reg.data.Datasets {
		if entry.Destroying {
			half = append(half, entry.ID)
			continue
		}
		d := e.newDataset(entry)
		u, err := e.usage(entry.ID)
		if err != nil {
			return fault.Wrap(err, "engine.open", datasetName(entry.ID))
		}
		e.ledger.add(u.Bytes, &d.account, d.pool)
		e.datasets[entry.ID] = d
	}
	for _, id := range half {
		if err := e.destroy(id); err != nil {
			return fault.Wrap(err, "engine.open", datasetName(id))
		}
	}
	return nil
}

// Close takes no new transactions, waits for those under way, makes everything
// durable and closes the targets.
func (e *Engine) Close() error {
	e.mu.Lock()
	if e.closing {
		e.mu.Unlock()
		return nil
	}
	e.closing = true
	var all []*Dataset
	for _, d := range e.datasets {
		all = append(all, d)
	}
	e.mu.Unlock()
	for _, d := range all {
		_ = d.drain(context.Background(), errClosed())
	}
	e.background()
	e.wg.Wait()
	first := e.Sync()
	if first == nil {
		first = e.settle()
	}
	if err := e.clock.Close(); first == nil {
		first = err
	}
	if err := e.shut(); first == nil {
		first = err
	}
	return first
}

func (e *Engine) shut() (first error) {
	keep := func(err error) {
		if first == nil {
			first = err
		}
	}
	if e.journal != nil {
		e.journal.Stop()
	}
	clean := true // all that the journal has is in the indexes
	for i, t := range e.targets {
		if err := t.Close(); err != nil {
			keep(fault.Wrap(err, "engine.close", e.targetDir(i)))
		}
		clean = clean && first == nil && t.Failed() == nil
	}
	if e.journal != nil {
		keep(e.journal.Close(clean))
	}
	if e.cache != nil {
		e.cache.Unref()
	}
	if e.ceiling != nil {
		keep(e.ceiling.close())
	}
	if e.lock != nil {
		if err := e.lock.Close(); err != nil {
			keep(fmt.Errorf("unlock %s: %w", e.opts.Root, err))
		}
	}
	return first
}
