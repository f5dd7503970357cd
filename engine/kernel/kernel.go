package kernel

import (
	"daos/engine/object"
	"daos/internal/fault"
)

// ActionKind says what the driver has to do.
type ActionKind uint8

// The actions. ID is that of the Begin or ReadEpoch that they belong to.
const (
	// Validate: run Check at Epoch, then call Validated.
	Validate ActionKind = 1
	// Prepare: give each participant its batch at Epoch, and call Prepared for
	// each that has answered.
	Prepare ActionKind = 2
	// Abort: take the transaction back on Targets, and call Aborted for each.
	Abort ActionKind = 3
	// Done: answer with Result, or with Err. The ID is free again.
	Done ActionKind = 4
	// Closed: a ReadEpoch that waited gets Epoch, or Err.
	Closed ActionKind = 5
)

// Action is what a step of the kernel asks for.
type Action struct {
	Kind    ActionKind
	ID      uint64
	Epoch   object.Epoch
	Targets []uint16
	Result  object.Result
	Err     error
	// Doomed: Err is a conflict found while waiting. The request id has not
	// been looked up: if it happened before, that is the answer.
	Doomed bool
}

// Kernel is the state of one dataset's transactions. It is not safe for
// concurrent use: the driver calls it under a mutex that no I/O is made under.
// Every method appends what is to be done to out and returns it.
type Kernel struct {
	next func() (object.Epoch, bool)

	claims   claimTable
	txns     map[uint64]*txn
	requests map[object.RequestID]*txn
	arrivals uint64

	undecided epochQueue // has an epoch, may still commit or abort
	unsettled epochQueue // has rows on targets that must stay
	deferred  []*txn     // committed, not yet known to be durable
	synced    uint64     // how many were there before

	answered object.Epoch // highest epoch of a commit that was answered
	readers  []reader     // waiting, by need
	stuck    error        // no transaction is taken any more
}

type state uint8

const (
	waiting    state = iota // for others, or for the first of its request id
	validating              // has its epoch
	preparing
	aborting
	decided
	unknown // a participant stopped: only a restart will tell
)

type txn struct {
	id      uint64
	plan    *Plan
	arrival uint64
	state   state
	left    bool // the caller is gone (canceled while waiting)

	blockers                     int
	afterValidated, afterDecided []*txn
	dooms                        []*txn // have read what this one is writing
	gatheredBy                   uint64 // arrival of the last one that gathered it
	gathered                     mode
	held                         []held
	validated, settled           bool
	epoch                        object.Epoch
	waiting                      int // answers still to come from participants
	prepared                     []uint16
	err                          error
	duplicates                   []*txn
	duplicateOf                  *txn
}

type reader struct {
	id   uint64
	need object.Epoch
	seen object.Epoch
}

// epochQueue holds transactions in order of epoch and forgets finished ones
// from its head.
type epochQueue struct{ all []*txn }

func (q *epochQueue) push(t *txn) { q.all = append(q.all, t) }

func (q *epochQueue) trim(gone func(*txn) bool) {
	i := 0
	for i < len(q.all) && gone(q.all[i]) {
		q.all[i] = nil
		i++
	}
	q.all = q.all[i:]
}

// New returns the kernel of a dataset. next gives epochs, each above all before;
// ok is false when the clock can't.
func New(next func() (e object.Epoch, ok bool)) *Kernel {
	return &Kernel{
		next: next, claims: claimTable{objects: map[object.ID]*objectClaims{}},
		txns: map[uint64]*txn{}, requests: map[object.RequestID]*txn{},
	}
}

// Begin takes a transaction. Its plan must not change until Done.
func (k *Kernel) Begin(id uint64, p *Plan, out []Action) []Action {
	if k.stuck != nil {
		return append(out, Action{Kind: Done, ID: id, Err: k.stuck})
	}
	t := &txn{id: id, plan: p}
	k.txns[id] = t
	return k.arrive(t, out)
}

func (k *Kernel) arrive(t *txn, out []Action) []Action {
	if r := t.plan.Tx.Request; !r.IsZero() {
		if first := k.requests[r]; first != nil {
			t.duplicateOf = first
			first.duplicates = append(first.duplicates, t)
			return out
		}
		k.requests[r] = t
	}
	k.arrivals++
	t.arrival = k.arrivals
	var met []*txn
	gather := func(u *txn, until mode) {
		if until == 0 || until == reading && u.validated {
			return
		}
		if u.gatheredBy != t.arrival {
			u.gatheredBy, u.gathered = t.arrival, 0
			met = append(met, u)
		}
		u.gathered |= until
	}
	if k.claims.empty() {
		k.claims.note(t)
		return k.admit(t, out)
	}
	k.claims.enter()
	claims := t.plan.claimed()
	for i := range claims {
		k.claims.blockers(&claims[i], gather)
	}
	for _, u := range met {
		if u.gathered&dooming != 0 {
			u.dooms = append(u.dooms, t)
		}
		switch {
		case u.gathered&writing != 0:
			u.afterDecided = append(u.afterDecided, t)
			t.blockers++
		case u.gathered&reading != 0:
			u.afterValidated = append(u.afterValidated, t)
			t.blockers++
		}
	}
	k.claims.add(t)
	if t.blockers == 0 {
		return k.admit(t, out)
	}
	return out
}

// admit gives t its epoch: everything that it could conflict with at a lower
// epoch is decided.
func (k *Kernel) admit(t *txn, out []Action) []Action {
	if t.left || k.stuck != nil {
		return k.decide(t, k.stuck, out)
	}
	e, ok := k.next()
	if !ok {
		return k.decide(t, fault.New(fault.Internal, "tx.begin", "clock", "the clock's ceiling can't be kept").
			Do("check the disk that the engine's root lies on"), out)
	}
	t.epoch, t.state = e, validating
	k.undecided.push(t)
	if len(t.plan.Batches) > 1 {
		k.unsettled.push(t)
	}
	return append(out, Action{Kind: Validate, ID: t.id, Epoch: e})
}

// Validated says what Check found: nothing, an error, or that the request had
// been committed before.
func (k *Kernel) Validated(id uint64, replay *object.Result, err error, out []Action) []Action {
	t := k.txns[id]
	t.validated = true
	out = k.release(t, reading, out)
	if replay != nil {
		t.settled = true
		return k.finish(t, *replay, nil, out)
	}
	if err != nil {
		t.settled = true
		return k.finish(t, object.Result{}, err, out)
	}
	p := t.plan
	if len(p.Batches) == 0 {
		return k.commit(t, out)
	}
	for i := range p.Batches {
		p.Batches[i].Epoch = t.epoch
	}
	t.state, t.waiting = preparing, len(p.Batches)
	return append(out, Action{Kind: Prepare, ID: t.id, Epoch: t.epoch, Targets: p.Targets})
}

// Prepared is the answer of one participant. clean says that an error left
// nothing behind; else only a restart will tell.
func (k *Kernel) Prepared(id uint64, target uint16, err error, clean bool, out []Action) []Action {
	t := k.txns[id]
	t.waiting--
	switch {
	case err == nil:
		t.prepared = append(t.prepared, target)
	case t.err == nil || !clean:
		t.err = err
	}
	if err != nil && !clean {
		t.state = unknown
	}
	if t.waiting > 0 {
		return out
	}
	switch {
	case t.state == unknown:
		return k.stop(t, out)
	case t.err == nil:
		return k.commit(t, out)
	case len(t.prepared) == 0:
		t.settled = true
		return k.finish(t, object.Result{}, t.err, out)
	}
	t.state, t.waiting = aborting, len(t.prepared)
	return append(out, Action{Kind: Abort, ID: t.id, Epoch: t.epoch, Targets: t.prepared})
}

// Aborted is the answer of one participant to Abort.
func (k *Kernel) Aborted(id uint64, err error, out []Action) []Action {
	t := k.txns[id]
	t.waiting--
	if err != nil {
		t.state, t.err = unknown, err
	}
	if t.waiting > 0 {
		return out
	}
	if t.state == unknown {
		return k.stop(t, out)
	}
	t.settled = true
	return k.finish(t, object.Result{}, t.err, out)
}

func (k *Kernel) commit(t *txn, out []Action) []Action {
	k.answered = max(k.answered, t.epoch)
	if t.plan.Tx.Deferred && len(t.plan.Batches) > 0 {
		k.deferred = append(k.deferred, t)
	} else {
		t.settled = true
	}
	out = k.doom(t, out)
	return k.finish(t, object.Result{Epoch: t.epoch, Answer: cloneBytes(t.plan.Tx.Answer)}, nil, out)
}

// doom answers those that wait with reads that t's commit outdates: all at
// once, not one after the other as their turn comes. Like canceled ones they
// keep their place until then.
func (k *Kernel) doom(t *txn, out []Action) []Action {
	for _, d := range t.dooms {
		if d.state == waiting && !d.left && d.plan.Tx.ReadAt < t.epoch {
			d.left = true
			delete(k.txns, d.id)
			out = append(out, Action{Kind: Done, ID: d.id, Doomed: true, Err: fault.New(fault.Conflict, "tx.commit", "transaction",
				"what it read at %d changed at epoch %d while it waited", uint64(d.plan.Tx.ReadAt), uint64(t.epoch)).Do("read again and retry")})
		}
	}
	t.dooms = nil
	return out
}

// finish answers t and those that asked the same.
func (k *Kernel) finish(t *txn, r object.Result, err error, out []Action) []Action {
	out = append(out, Action{Kind: Done, ID: t.id, Epoch: t.epoch, Result: r, Err: err})
	delete(k.txns, t.id)
	dups := t.duplicates
	t.duplicates = nil
	out = k.decide(t, nil, out)
	t.plan = nil // the caller's memory
	for _, d := range dups {
		switch {
		case d.left:
			continue
		case err != nil:
			// It did not happen: the next one tries, the rest wait for that one.
			d.duplicateOf = nil
			out = k.arrive(d, out)
			continue
		}
		delete(k.txns, d.id)
		out = append(out, Action{Kind: Done, ID: d.id, Epoch: r.Epoch,
			Result: object.Result{Epoch: r.Epoch, Answer: cloneBytes(r.Answer), Replayed: true}})
	}
	return out
}

// decide takes t out of everybody's way. err is the answer of one that never
// got its epoch.
func (k *Kernel) decide(t *txn, err error, out []Action) []Action {
	was := t.state
	t.state, t.validated = decided, true
	if r := t.plan.Tx.Request; !r.IsZero() && k.requests[r] == t {
		delete(k.requests, r)
	}
	if was == waiting && !t.left {
		out = append(out, Action{Kind: Done, ID: t.id, Err: err})
	}
	delete(k.txns, t.id)
	k.undecided.trim(func(t *txn) bool { return t.state == decided })
	k.unsettled.trim(func(t *txn) bool { return t.settled })
	out = k.release(t, reading|writing, out)
	dups := t.duplicates
	t.duplicates = nil
	for _, d := range dups {
		if !d.left {
			d.duplicateOf = nil
			out = k.arrive(d, out)
		}
	}
	return k.wake(out)
}

// release drops claims of t and admits those that waited for that.
func (k *Kernel) release(t *txn, m mode, out []Action) []Action {
	k.claims.drop(t, m)
	free := t.afterValidated
	t.afterValidated = nil
	if m&writing != 0 {
		free = append(free, t.afterDecided...)
		t.afterDecided = nil
	}
	for _, w := range free {
		w.blockers--
		if w.blockers == 0 {
			out = k.admit(w, out)
		}
	}
	return out
}

// Cancel takes back a transaction that still waits; it reports whether it did.
// One that has its epoch runs to its end.
func (k *Kernel) Cancel(id uint64) bool {
	t := k.txns[id]
	if t == nil || t.state != waiting {
		return false
	}
	// It keeps its place: others may count on it waiting for those before it.
	t.left = true
	delete(k.txns, id)
	return true
}

// stop is the end of a transaction whose outcome is unknown. It stays
// undecided, so that nothing of it is ever read, and nothing new begins.
func (k *Kernel) stop(t *txn, out []Action) []Action {
	delete(k.txns, t.id)
	k.claims.enter() // its plan is the caller's memory
	out = append(out, Action{Kind: Done, ID: t.id, Epoch: t.epoch, Err: t.err})
	return k.Stop(fault.New(fault.KindOf(t.err), "tx.commit", "dataset", "a target has stopped, writes are refused").
		Because(t.err).Do("check the disk and restart the server; reads go on at the last closed epoch"), out)
}

// Stop refuses everything that has no epoch yet, now and later; what has one
// runs to its end.
func (k *Kernel) Stop(why error, out []Action) []Action {
	if k.stuck == nil {
		k.stuck = why
	}
	var all []*txn
	for _, t := range k.txns {
		if t.state == waiting && !t.left {
			all = append(all, t)
		}
	}
	sortByID(all)
	for _, t := range all {
		t.left = true
		delete(k.txns, t.id)
		out = append(out, Action{Kind: Done, ID: t.id, Err: k.stuck})
	}
	return k.wake(out)
}

// Idle reports whether nothing at all is kept: no transaction, no claim.
func (k *Kernel) Idle() bool {
	return len(k.txns) == 0 && k.claims.empty() && len(k.requests) == 0 && len(k.undecided.all) == 0
}

// Busy reports whether a transaction is under way.
func (k *Kernel) Busy() bool { return len(k.txns) > 0 }
