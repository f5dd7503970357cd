package engine

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"daos/engine/kernel"
	"daos/engine/object"
	"daos/engine/target"
	"daos/internal/fault"
)

// Dataset is one dataset of an engine: an object.Store. It stays valid until
// the dataset is destroyed or the engine closed.
type Dataset struct {
	e       *Engine
	id      object.DatasetID
	poolID  object.PoolID
	pool    *account
	account account

	mu     sync.Mutex // the kernel and calls; never held over I/O
	kernel *kernel.Kernel
	calls  map[uint64]*call
	lastID uint64
	buf    []kernel.Action
	idle   chan struct{} // closed when the last transaction has ended; nil: nobody waits

	closed  atomic.Uint64 // an epoch that ReadEpoch has given
	horizon atomic.Uint64 // below it only pinned epochs are readable
	pins    atomic.Pointer[[]object.Epoch]
	pinned  atomic.Bool // SetPins has been called: the sweeper may come
	gone    atomic.Pointer[fault.Error]

	pinning  sync.Mutex     // horizon, pins and what follows change under it
	kept     []object.Epoch // below the horizon: what is left of the versions there
	done     bool           // swept since the engine was opened,
	donePins []object.Epoch // with these pins
	sweeping sync.Mutex     // held over a sweep
}

var _ object.Store = (*Dataset)(nil)

// call is a goroutine that waits for the kernel. It has at most one action
// under way at a time.
type call struct{ actions chan kernel.Action }

var callPool = sync.Pool{New: func() any { return &call{make(chan kernel.Action, 1)} }}

// ID is the id of the dataset.
func (d *Dataset) ID() object.DatasetID { return d.id }

// enter registers a call; the caller holds mu.
func (d *Dataset) enter() (uint64, *call) {
	c := callPool.Get().(*call)
	d.lastID++
	d.calls[d.lastID] = c
	return d.lastID, c
}

// run makes one step of the kernel and hands out what it asks for. What it asks
// of the caller's own id comes back directly.
func (d *Dataset) run(id uint64, step func(k *kernel.Kernel, out []kernel.Action) []kernel.Action) (own kernel.Action, has bool) {
	d.mu.Lock()
	own, has = d.stepLocked(id, step)
	d.mu.Unlock()
	return own, has
}

func (d *Dataset) stepLocked(id uint64, step func(k *kernel.Kernel, out []kernel.Action) []kernel.Action) (own kernel.Action, has bool) {
	d.buf = step(d.kernel, d.buf[:0])
	for _, a := range d.buf {
		c := d.calls[a.ID]
		if a.Kind == kernel.Done || a.Kind == kernel.Closed {
			delete(d.calls, a.ID)
		}
		switch {
		case a.ID == id:
			own, has = a, true
		case c != nil:
			c.actions <- a
		}
	}
	clear(d.buf)
	if d.idle != nil && !d.kernel.Busy() {
		close(d.idle)
		d.idle = nil
	}
	return own, has
}

// Commit implements object.Committer.
func (d *Dataset) Commit(ctx context.Context, tx *object.Tx) (object.Result, error) {
	if err := d.admissible(ctx, tx); err != nil {
		return object.Result{}, err
	}
	if tx.Barrier {
		if err := d.flush(); err != nil {
			return object.Result{}, err
		}
	}
	plan := kernel.NewPlan(d.id, tx, d.e.layout)
	if err := d.e.ledger.reserve(plan.Bytes, removes(tx), &d.account, d.pool); err != nil {
		// A retry of what has happened needs no space.
		if r, ok, rerr := d.Replay(ctx, tx.Request); ok && rerr == nil {
			return r, nil
		}
		return object.Result{}, err
	}
	res, err := d.transact(ctx, plan)
	d.e.ledger.settle(plan.Bytes, err == nil && !res.Replayed, &d.account, d.pool)
	return res, err
}

// admissible checks all that can be checked before the kernel.
func (d *Dataset) admissible(ctx context.Context, tx *object.Tx) error {
	if g := d.gone.Load(); g != nil {
		return g
	}
	if err := tx.Validate(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fault.Wrap(err, "tx.commit", datasetName(d.id))
	}
	if len(tx.Reads) > 0 {
		if err := d.readable(ctx, tx.ReadAt); err != nil {
			return err
		}
	}
	return d.e.clock.Ensure()
}

// transact drives one transaction through the kernel.
func (d *Dataset) transact(ctx context.Context, plan *kernel.Plan) (object.Result, error) {
	d.mu.Lock()
	if d.kernel.Busy() {
		d.mu.Unlock()
		plan.Claim() // not under the mutex
		d.mu.Lock()
	}
	id, c := d.enter()
	a, has := d.stepLocked(id, func(k *kernel.Kernel, out []kernel.Action) []kernel.Action { return k.Begin(id, plan, out) })
	d.mu.Unlock()
	done := ctx.Done()
	for {
		if !has {
			select {
			case a = <-c.actions:
			case <-done:
				done = nil
				d.mu.Lock()
				left := d.kernel.Cancel(id)
				if left {
					delete(d.calls, id)
				}
				d.mu.Unlock()
				if left {
					callPool.Put(c)
					return object.Result{}, fault.Wrap(ctx.Err(), "tx.commit", datasetName(d.id))
				}
				continue
			}
		}
		switch a.Kind {
		case kernel.Validate:
			replay, err := d.check(plan, a.Epoch)
			a, has = d.run(id, func(k *kernel.Kernel, out []kernel.Action) []kernel.Action { return k.Validated(id, replay, err, out) })
		case kernel.Prepare:
			a, has = d.prepare(ctx, id, plan)
		case kernel.Abort:
			a, has = d.abort(ctx, id, a)
		case kernel.Done:
			callPool.Put(c)
			if a.Doomed {
				if r, ok, err := d.Replay(ctx, plan.Tx.Request); ok && err == nil {
					return r, nil
				}
			}
			return a.Result, a.Err
		}
	}
}

func (d *Dataset) check(plan *kernel.Plan, at object.Epoch) (replay *object.Result, err error) {
	err = contained(func() error {
		var err error
		replay, err = kernel.Check(plan, at, d.e.layout, d.e.targets)
		return err
	})
	if err == nil && replay == nil && len(plan.Tx.Reads) > 0 {
		// The sweeper may have dropped the traces of a conflict meanwhile.
		err = d.above(plan.Tx.ReadAt)
	}
	return replay, err
}

// prepare gives each participant its batch. The caller's context ends here:
// what has begun to be written is written.
func (d *Dataset) prepare(ctx context.Context, id uint64, plan *kernel.Plan) (kernel.Action, bool) {
	ctx = context.WithoutCancel(ctx)
	n := len(plan.Batches)
	var few [4]error
	errs := few[:]
	if n > len(few) {
		errs = make([]error, n)
	}
	if n > 1 {
		d.e.rows.Add(1)
	}
	d.write(ctx, plan, errs)
	return d.run(id, func(k *kernel.Kernel, out []kernel.Action) []kernel.Action {
		for i, t := range plan.Targets {
			clean := errs[i] != nil && d.e.targets[t].Failed() == nil && !isPanic(errs[i])
			out = k.Prepared(id, t, errs[i], clean, out)
		}
		return out
	})
}

// alone is up to how many writes, without bulk data, a transaction is written by
// one goroutine: others would not have begun before it is through.
const alone = 256

// write makes the batches durable, all together: they are encoded side by side,
// logged in order, and waited for at once.
func (d *Dataset) write(ctx context.Context, plan *kernel.Plan, errs []error) {
	n := len(plan.Batches)
	var few [4]target.Staged
	staged := few[:min(n, len(few))]
	if n > len(few) {
		staged = make([]target.Staged, n)
	}
	stage := func(i int) { staged[i], errs[i] = d.stage(ctx, &plan.Batches[i], plan.Targets[i]) }
	if len(plan.Tx.Writes) <= alone && !bulk(plan.Tx) {
		for i := range n {
			stage(i)
		}
	} else {
		d.each(n, stage)
	}
	apply := func(i int) { errs[i] = contained(func() error { staged[i].Apply(); return nil }) }
	var slow []int
	for i := range n { // rising: see target.Staged
		switch {
		case staged[i] == nil:
		case staged[i].Log():
			apply(i)
		default:
			slow = append(slow, i)
		}
	}
	if len(slow) > 0 {
		d.each(len(slow), func(i int) { apply(slow[i]) })
	}
	for i := range n {
		if staged[i] != nil {
			if err := contained(staged[i].Wait); errs[i] == nil {
				errs[i] = err
			}
		}
		d.count(&plan.Batches[i], plan.Targets[i], errs[i])
	}
}

// bulk reports whether there are bytes that go to a segment and are synced there.
func bulk(tx *object.Tx) bool {
	for i := range tx.Writes {
		if len(tx.Writes[i].Data) > object.InlineMax {
			return true
		}
	}
	return false
}

// stage begins to write the batch of a participant. Without an error and with
// nothing staged it is durable.
func (d *Dataset) stage(ctx context.Context, b *target.Batch, t uint16) (s target.Staged, err error) {
	err = contained(func() (err error) {
		if st, ok := d.e.targets[t].(target.Stager); ok {
			s, err = st.Stage(ctx, b)
			return err
		}
		return d.e.targets[t].Prepare(ctx, b)
	})
	if err != nil {
		s = nil
	}
	return s, err
}

// count adds the outcome of a batch to the counters of its target.
func (d *Dataset) count(b *target.Batch, t uint16, err error) {
	c := &d.e.counts[t]
	if err != nil {
		c.failures.Add(1)
		return
	}
	c.prepares.Add(1)
	var n int64
	for i := range b.Writes {
		n += int64(len(b.Writes[i].Data))
	}
	c.bytes.Add(n)
}

func (d *Dataset) abort(ctx context.Context, id uint64, a kernel.Action) (kernel.Action, bool) {
	ctx = context.WithoutCancel(ctx)
	errs := make([]error, len(a.Targets))
	d.each(len(a.Targets), func(i int) {
		errs[i] = contained(func() error { return d.e.targets[a.Targets[i]].Abort(ctx, d.id, a.Epoch) })
		d.e.counts[a.Targets[i]].aborts.Add(1)
	})
	return d.run(id, func(k *kernel.Kernel, out []kernel.Action) []kernel.Action {
		for _, err := range errs {
			out = k.Aborted(id, err, out)
		}
		return out
	})
}

// each runs fn for 0 to n-1 side by side, the last in this goroutine.
func (d *Dataset) each(n int, fn func(int)) {
	var wg sync.WaitGroup
	for i := range n - 1 {
		wg.Go(func() { fn(i) })
	}
	fn(n - 1)
	wg.Wait()
}

// panicked is a panic inside a target: the transaction's outcome is unknown,
// but the dataset must not hang on it.
type panicked struct{ err error }

func (p panicked) Error() string { return p.err.Error() }
func (p panicked) Unwrap() error { return p.err }

func isPanic(err error) bool {
	var p panicked
	return errors.As(err, &p)
}

func contained(fn func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = panicked{fault.New(fault.Internal, "tx.commit", "target", "panic: %v", r).
				Do("report this with the log, and restart the server")}
		}
	}()
	return fn()
}

// Replay implements object.Committer.
func (d *Dataset) Replay(ctx context.Context, id object.RequestID) (object.Result, bool, error) {
	if g := d.gone.Load(); g != nil {
		return object.Result{}, false, g
	}
	if id.IsZero() {
		return object.Result{}, false, nil
	}
	if err := ctx.Err(); err != nil {
		return object.Result{}, false, fault.Wrap(err, "tx.replay", datasetName(d.id))
	}
	var epoch object.Epoch
	for _, t := range d.e.targets {
		r, ok, err := t.Request(d.id, id)
		if err != nil {
			return object.Result{}, false, err
		}
		if ok && d.e.remembers(r) {
			// It may belong to a transaction that is still undecided.
			epoch = r.Epoch
			break
		}
	}
	if epoch == 0 {
		return object.Result{}, false, nil
	}
	if _, err := d.ReadEpoch(ctx, epoch); err != nil {
		return object.Result{}, false, err
	}
	for _, t := range d.e.targets {
		r, ok, err := t.Request(d.id, id)
		if err != nil {
			return object.Result{}, false, err
		}
		if ok && d.e.remembers(r) {
			r.Replayed = true
			return r, true, nil
		}
	}
	return object.Result{}, false, nil
}

// remembers reports whether a request row is young enough to count.
func (e *Engine) remembers(r object.Result) bool {
	return r.Epoch >= object.EpochAt(e.opts.Now().Add(-kernel.RequestWindow))
}

// ReadEpoch implements object.Clock.
func (d *Dataset) ReadEpoch(ctx context.Context, seen object.Epoch) (object.Epoch, error) {
	if g := d.gone.Load(); g != nil {
		return 0, g
	}
	if err := ctx.Err(); err != nil {
		return 0, fault.Wrap(err, "clock.read", datasetName(d.id))
	}
	// Without room for new epochs reads go on at those that are closed.
	_ = d.e.clock.Ensure()
	if seen > object.Epoch(d.closed.Load()) {
		if err := d.e.clock.Observe(seen); err != nil {
			return 0, err
		}
	}
	d.mu.Lock()
	id, c := d.enter()
	a, has := d.stepLocked(id, func(k *kernel.Kernel, out []kernel.Action) []kernel.Action { return k.ReadEpoch(id, seen, out) })
	d.mu.Unlock()
	if !has {
		select {
		case a = <-c.actions:
		case <-ctx.Done():
			d.mu.Lock()
			_, waits := d.calls[id]
			if waits {
				d.kernel.CancelRead(id)
				delete(d.calls, id)
			}
			d.mu.Unlock()
			if waits {
				callPool.Put(c)
				return 0, fault.Wrap(ctx.Err(), "clock.read", datasetName(d.id))
			}
			a = <-c.actions
		}
	}
	callPool.Put(c)
	if a.Err != nil {
		return 0, a.Err
	}
	for {
		have := d.closed.Load()
		if uint64(a.Epoch) <= have || d.closed.CompareAndSwap(have, uint64(a.Epoch)) {
			return a.Epoch, nil
		}
	}
}

// drain refuses new transactions with why and waits for those under way.
func (d *Dataset) drain(ctx context.Context, why error) error {
	d.mu.Lock()
	d.stepLocked(0, func(k *kernel.Kernel, out []kernel.Action) []kernel.Action { return k.Stop(why, out) })
	var idle chan struct{}
	if d.kernel.Busy() {
		if d.idle == nil {
			d.idle = make(chan struct{})
		}
		idle = d.idle
	}
	d.mu.Unlock()
	if idle == nil {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return fault.Wrap(ctx.Err(), "engine.drain", datasetName(d.id))
	}
}
