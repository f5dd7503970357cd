package engine

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"daos/engine/object"
	"daos/engine/target"
	"daos/internal/fault"
)

// syncLoop makes deferred writes durable and drops rows of transactions that
// need none any more.
func (e *Engine) syncLoop(ctx context.Context) {
	tick := time.NewTicker(e.opts.SyncEvery)
	defer tick.Stop()
	deferred, rows := complaint{log: e.log, what: "deferred writes can't be made durable"}, complaint{log: e.log, what: "transaction rows can't be dropped"}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		deferred.now(e.syncDeferred())
		if e.rows.Swap(0) > 0 {
			rows.now(e.settle())
		}
	}
}

// complaint logs an error that may come again with every round once an hour:
// what a stopped target can't do it can't do until a restart.
type complaint struct {
	log  *slog.Logger
	what string
	said string
	at   time.Time
}

func (c *complaint) now(err error) {
	if err == nil || err.Error() == c.said && time.Since(c.at) < time.Hour {
		return
	}
	c.said, c.at = err.Error(), time.Now()
	c.log.Error(c.what, "error", err)
}

func (e *Engine) all() []*Dataset {
	e.mu.RLock()
	defer e.mu.RUnlock()
	out := make([]*Dataset, 0, len(e.datasets))
	for _, d := range e.datasets {
		out = append(out, d)
	}
	return out
}

// Sync makes everything that has been answered durable, deferred writes too.
func (e *Engine) Sync() error { return e.syncDeferred() }

func (e *Engine) syncDeferred() error {
	type mark struct {
		d *Dataset
		n uint64
	}
	var marks []mark
	for _, d := range e.all() {
		d.mu.Lock()
		if d.kernel.Unsynced() {
			marks = append(marks, mark{d, d.kernel.Deferred()})
		}
		d.mu.Unlock()
	}
	if len(marks) == 0 {
		return nil
	}
	errs := make([]error, len(e.targets))
	(*Dataset)(nil).each(len(e.targets), func(i int) { errs[i] = e.targets[i].Sync() })
	for i, err := range errs {
		if err != nil {
			return fault.Wrap(err, "engine.sync", e.targetDir(i))
		}
	}
	for _, m := range marks {
		m.d.mu.Lock()
		m.d.kernel.SyncedUpTo(m.n)
		m.d.mu.Unlock()
	}
	return nil
}

// flush makes what this dataset has deferred durable.
func (d *Dataset) flush() error {
	d.mu.Lock()
	unsynced := d.kernel.Unsynced()
	d.mu.Unlock()
	if !unsynced {
		return nil
	}
	return d.e.syncDeferred()
}

// settle drops the rows of all transactions that are durable everywhere.
func (e *Engine) settle() error {
	// First the clock: what gets an epoch after this lies above it.
	upTo := e.clock.Last()
	for _, d := range e.all() {
		d.mu.Lock()
		upTo = min(upTo, d.kernel.Settled())
		d.mu.Unlock()
	}
	var first error
	for i, t := range e.targets {
		// One that has stopped keeps its rows until the next start, which needs
		// them; the others go on.
		if err := t.Settle(upTo); err != nil && first == nil {
			first = fault.Wrap(err, "engine.settle", e.targetDir(i))
		}
	}
	return first
}

// SetPins names the epochs of a dataset that stay readable below the window:
// snapshots and leases. It replaces what was pinned before. What has been swept
// can't be pinned (fault.EpochGone). The sweeper leaves a dataset alone until
// its pins have been set once after Open.
func (e *Engine) SetPins(id object.DatasetID, epochs []object.Epoch) error {
	d, err := e.OpenDataset(id)
	if err != nil {
		return err
	}
	next := slices.Clone(epochs)
	slices.Sort(next)
	next = slices.Compact(next)
	d.pinning.Lock()
	defer d.pinning.Unlock()
	for _, p := range next {
		if _, kept := slices.BinarySearch(d.kept, p); !kept && p < object.Epoch(d.horizon.Load()) {
			return d.swept(p)
		}
	}
	d.pins.Store(&next)
	d.pinned.Store(true)
	return nil
}

func (e *Engine) sweepLoop(ctx context.Context) {
	tick := time.NewTicker(e.opts.SweepEvery)
	defer tick.Stop()
	sweep := complaint{log: e.log, what: "sweep"}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if _, err := e.Sweep(ctx); ctx.Err() == nil {
			sweep.now(err)
		}
	}
}

// sweepCounts add up what the sweeper did since the engine was opened.
type sweepCounts struct{ rounds, versions, bytes atomic.Int64 }

// Swept says how often the sweeper ran since the engine was opened, and what it
// dropped.
func (e *Engine) Swept() (rounds, versions, bytes int64) {
	return e.swept.rounds.Load(), e.swept.versions.Load(), e.swept.bytes.Load()
}

// Sweep drops, now, all versions that no pin and no epoch of the window can
// see, in all datasets whose pins are known.
func (e *Engine) Sweep(ctx context.Context) (sum target.SweepStats, err error) {
	defer func() {
		e.swept.rounds.Add(1)
		e.swept.versions.Add(sum.Versions)
		e.swept.bytes.Add(sum.Bytes)
	}()
	var due []*Dataset
	for _, d := range e.all() {
		if d.pinned.Load() && d.gone.Load() == nil && d.unswept() {
			due = append(due, d)
		}
	}
	if len(due) == 0 {
		return sum, nil
	}
	if err := e.raiseHorizons(due); err != nil {
		return sum, err
	}
	for _, d := range due {
		s, err := d.sweep(ctx)
		sum.Versions += s.Versions
		sum.Bytes += s.Bytes
		sum.Segments += s.Segments
		if err != nil {
			return sum, err
		}
	}
	return sum, nil
}

// unswept reports whether a sweep could find something: something was written
// after the last one's floor, or the pins are others.
func (d *Dataset) unswept() bool {
	d.mu.Lock()
	top := max(d.kernel.Answered(), d.e.start)
	d.mu.Unlock()
	d.pinning.Lock()
	defer d.pinning.Unlock()
	return !d.done || top >= object.Epoch(d.horizon.Load()) || !slices.Equal(*d.pins.Load(), d.donePins)
}

// raiseHorizons moves the horizons of datasets to the start of the window, and
// settles which pins below are kept: durably first, so that after a crash
// nothing is read, or pinned, that may have been dropped. Nobody pins meanwhile.
func (e *Engine) raiseHorizons(due []*Dataset) error {
	start := object.EpochAt(e.opts.Now().Add(-e.opts.Window))
	floors := make([]object.Epoch, len(due))
	kept := make([][]object.Epoch, len(due))
	changed := false
	for i, d := range due {
		d.mu.Lock()
		// Below what is undecided, not at it: it may be taken back yet, and what
		// it hides must be there then.
		floor := min(start, d.kernel.Undecided()-1)
		d.mu.Unlock()
		d.pinning.Lock()
		defer d.pinning.Unlock()
		have := object.Epoch(d.horizon.Load())
		floors[i] = max(have, floor)
		pins := *d.pins.Load()
		n, _ := slices.BinarySearch(pins, floors[i])
		kept[i] = pins[:n:n]
		changed = changed || floors[i] > have || !slices.Equal(kept[i], d.kept)
	}
	if !changed {
		return nil
	}
	err := e.reg.change(func(r *registryData) {
		for i, d := range due {
			if d.gone.Load() == nil {
				entry := r.dataset(d.id)
				entry.Horizon, entry.Pins = floors[i], kept[i]
			}
		}
	})
	if err != nil {
		return err
	}
	for i, d := range due {
		d.horizon.Store(uint64(floors[i]))
		d.kept = kept[i]
	}
	return nil
}

// sweep drops what lies below the horizon and is not pinned. An epoch pinned
// while it runs lies at or above the horizon, so it is safe.
func (d *Dataset) sweep(ctx context.Context) (target.SweepStats, error) {
	d.sweeping.Lock()
	defer d.sweeping.Unlock()
	var sum target.SweepStats
	if d.gone.Load() != nil {
		return sum, nil
	}
	d.pinning.Lock()
	floor, kept, pins := object.Epoch(d.horizon.Load()), d.kept, *d.pins.Load()
	d.pinning.Unlock()
	for i, t := range d.e.targets {
		s, err := t.Sweep(ctx, d.id, kept, floor)
		sum.Versions += s.Versions
		sum.Bytes += s.Bytes
		sum.Segments += s.Segments
		d.e.ledger.add(-s.Bytes, &d.account, d.pool)
		if err != nil {
			return sum, fault.Wrap(err, "engine.sweep", d.e.targetDir(i))
		}
	}
	d.pinning.Lock()
	d.done, d.donePins = true, pins
	d.pinning.Unlock()
	return sum, nil
}
