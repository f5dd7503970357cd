package vos

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"daos/engine/target"
	"daos/internal/fault"
)

// backlog is what the journal has and the index has not yet. A batch that the
// journal takes is put there, in one copy, and answered when the journal is
// synced; what has come together goes into the index as one sorted batch, when
// there is enough of it, or when somebody wants to read it. An index takes many
// sorted keys for a fraction of what they cost one batch after the other, and
// from half of its write buffer on for no search at all: such a batch becomes a
// table as it is.
//
// Who writes to the index calls absorb first, and who reads it calls show, or ready,
// which lets a look at one dkey pass where the backlog has nothing of it. So the
// index is always seen as if every batch had gone there at once.
//
// Readers never wait for an index that can't take anything at the moment (pebble
// stalls its writers while its tables can't be written), nor for one that never
// will (a target that has stopped writes nothing, and pebble ends the process
// where its log can't go on): what waits is laid over the index for them then.
type backlog struct {
	// turn is held by who puts something into the index: one at a time, in order,
	// and nobody behind a batch at which pebble has panicked.
	turn   chan struct{}
	broken atomic.Bool // pebble has panicked: it may hold locks for ever
	stall  stall

	mu    sync.RWMutex // taken after turn
	open  *pile        // takes what comes; nil: none
	going *pile        // on its way into the index
	held  []*pile      // of a target that has stopped
	spare []byte       // memory of one that was moved
	laid  laid         // what the overlay was made of

	waiting  atomic.Bool // there is a pile
	overlay  atomic.Pointer[pebble.Batch]
	changing sync.RWMutex // of the overlay; taken after mu
	moving   sync.WaitGroup
}

// laid is a state of the backlog.
type laid struct {
	open, going *pile
	count       uint32 // of open
	held        int
}

// stall knows whether pebble makes its writers wait.
type stall struct {
	mu    sync.Mutex
	on    bool
	begun chan struct{} // closed while on
}

func newBacklog() backlog {
	return backlog{turn: make(chan struct{}, 1), stall: stall{begun: make(chan struct{})}}
}

func (s *stall) set(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case on && !s.on:
		close(s.begun)
	case !on && s.on:
		s.begun = make(chan struct{})
	}
	s.on = on
}

// wait is closed while pebble stalls.
func (s *stall) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begun
}

func (s *stall) is() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.on
}

// Sizes of a pile.
const (
	pileEntry = 96 // what an entry takes in the write buffer, beside its bytes
	fewMarks  = 64 // are looked through one by one
	markBits  = 20
)

// pile is some batches, one behind the other.
type pile struct {
	repr    []byte // of one batch with the entries of all
	count   uint32
	last    uint64 // number of the last batch
	marks   []uint64
	filter  []uint64 // of marks, where they are many
	leaving bool     // somebody is about to move it
}

const batchHead = 12 // of pebble's batches: sequence number, count

// markOf stands for all keys with the dkey of a key.
func markOf(key []byte) uint64 { return maphash.Bytes(markSeed, key[:split(key)]) }

var markSeed = maphash.MakeSeed() //nolint:gochecknoglobals // of this process

func (p *pile) size() int { return len(p.repr) + pileEntry*int(p.count) }

func (p *pile) add(b *pebble.Batch, marks []uint64) {
	p.repr = append(p.repr, b.Repr()[batchHead:]...)
	p.count += b.Count()
	p.marks = append(p.marks, marks...)
	if len(p.marks) <= fewMarks {
		return
	}
	if p.filter == nil {
		p.filter, marks = make([]uint64, 1<<markBits/64), p.marks
	}
	for _, m := range marks {
		i, j := places(m)
		p.filter[i/64] |= 1 << (i % 64)
		p.filter[j/64] |= 1 << (j % 64)
	}
}

// places are the two bits of a mark.
func places(m uint64) (i, j uint64) { return m >> (64 - markBits), m & (1<<markBits - 1) }

// has reports whether something of a dkey may be in the pile.
func (p *pile) has(m uint64) bool {
	if p == nil {
		return false
	}
	if p.filter == nil {
		return slices.Contains(p.marks, m)
	}
	i, j := places(m)
	return p.filter[i/64]>>(i%64)&1 != 0 && p.filter[j/64]>>(j%64)&1 != 0
}

// enqueue adds a batch that is in the journal, under its number. marks are of
// all of its keys that ready is asked for. The caller is the only one.
func (t *Target) enqueue(b *pebble.Batch, marks []uint64, number uint64) {
	l := &t.backlog
	l.mu.Lock()
	p := l.open
	if p == nil {
		p = &pile{repr: append(l.spare[:0], make([]byte, batchHead)...)}
		l.open, l.spare = p, nil
		l.waiting.Store(true)
	}
	p.add(b, marks)
	p.last = number
	enough := int(t.opts.MemTable/2) + int(t.opts.MemTable/32)
	full, tooMuch := p.size() >= enough && !p.leaving, p.size() >= 2*enough
	p.leaving = p.leaving || full
	l.mu.Unlock()
	switch {
	case tooMuch:
		_ = t.absorb() // who reads it gets the error
	case full:
		l.moving.Go(func() { _ = t.absorb() })
	}
}

// ready puts the backlog into the index if it has anything with the dkey of a key.
func (t *Target) ready(key []byte) error {
	l := &t.backlog
	if !l.waiting.Load() {
		return nil
	}
	m := markOf(key)
	l.mu.RLock()
	met := l.open.has(m) || l.going.has(m)
	l.mu.RUnlock()
	if !met {
		return nil
	}
	return t.show()
}

// readyAt is ready for a dkey in one plane or more.
func (t *Target) readyAt(p target.Place, dkey []byte, planes ...byte) error {
	if !t.backlog.waiting.Load() {
		return nil
	}
	for _, plane := range planes {
		if err := t.ready(appendDkey(make([]byte, 0, 160), plane, p, dkey)); err != nil {
			return err
		}
	}
	return nil
}

// show returns when the index shows everything that was enqueued before the call.
func (t *Target) show() error {
	l := &t.backlog
	if !l.waiting.Load() {
		return nil
	}
	stalls := l.stall.wait()
	select {
	case <-stalls:
		return t.layOver()
	default:
	}
	done := make(chan error, 1)
	l.moving.Go(func() { done <- t.absorb() })
	select {
	case err := <-done:
		return err
	case <-stalls:
		return t.layOver()
	}
}

// patience is how often who waits for a stalled index looks whether it has stopped.
const patience = 50 * time.Millisecond

// take gets the turn. An error says that the target has stopped while pebble
// stalls: it will never go on.
func (t *Target) take() error {
	l := &t.backlog
	select {
	case l.turn <- struct{}{}:
		return nil
	default:
	}
	tick := time.NewTicker(patience)
	defer tick.Stop()
	for {
		select {
		case l.turn <- struct{}{}:
			return nil
		case <-tick.C:
			if err := t.guard.Failed(); err != nil && l.stall.is() {
				return err
			}
		}
	}
}

func (t *Target) leaveTurn() { <-t.backlog.turn }

// absorb returns when the index has everything that was enqueued before the call,
// or shows it, if it takes nothing any more.
func (t *Target) absorb() error {
	l := &t.backlog
	if !l.waiting.Load() {
		return nil
	}
	if err := t.take(); err != nil {
		return err
	}
	defer t.leaveTurn()
	l.mu.Lock()
	p := l.open
	l.open, l.going = nil, p
	l.waiting.Store(p != nil)
	l.mu.Unlock()
	if p == nil {
		return nil
	}
	moved := false
	if t.guard.Failed() == nil {
		err := t.move(p)
		if moved = err == nil; !moved {
			t.dies(err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.going = nil
	if moved {
		l.spare = p.repr
	} else {
		l.held = append(l.held, p)
	}
	l.waiting.Store(l.open != nil) // what has come meanwhile came after the call
	return t.layLocked(laid{held: len(l.held)})
}

// dies stops a target at whose batch pebble has panicked.
func (t *Target) dies(err error) {
	t.backlog.broken.Store(true)
	t.guard.Fail(t.guard.PathJoin(t.opts.Dir, "index"), "write to the log", err)
}

// layOver lays all that waits over the index.
func (t *Target) layOver() error {
	l := &t.backlog
	l.mu.Lock()
	defer l.mu.Unlock()
	state := laid{l.open, l.going, 0, len(l.held)}
	if l.open != nil {
		state.count = l.open.count
	}
	return t.layLocked(state)
}

// layLocked makes an overlay of what a state names; none if that is nothing.
func (t *Target) layLocked(state laid) error {
	l := &t.backlog
	if state == l.laid {
		return nil
	}
	var over *pebble.Batch
	for _, p := range append(slices.Clone(l.held), state.going, state.open) {
		if p == nil {
			continue
		}
		if over == nil {
			over = t.db.NewIndexedBatch()
		}
		b, err := p.batch()
		if err == nil {
			err = over.Apply(b, nil)
		}
		if err != nil {
			return t.indexError("vos.read", err)
		}
	}
	l.changing.Lock() // nobody has one that is gone
	defer l.changing.Unlock()
	l.overlay.Store(over)
	l.laid = state
	return nil
}

// fail stops the target, but not while a batch is on its way, unless that can't
// get on.
func (t *Target) fail(name, what string, err error) {
	select {
	case t.backlog.turn <- struct{}{}:
		defer t.leaveTurn()
	case <-t.backlog.stall.wait():
	}
	t.guard.Fail(name, what, err)
}

// bareIter is an iterator over what show or ready has been called for.
func (t *Target) bareIter(o *pebble.IterOptions) (*pebble.Iterator, error) {
	l := &t.backlog
	if l.overlay.Load() == nil {
		return t.db.NewIter(o)
	}
	l.changing.RLock()
	defer l.changing.RUnlock()
	if over := l.overlay.Load(); over != nil {
		return over.NewIter(o)
	}
	return t.db.NewIter(o)
}

// newIter is an iterator over the index with everything in it.
func (t *Target) newIter(o *pebble.IterOptions) (*pebble.Iterator, error) {
	if err := t.show(); err != nil {
		return nil, err
	}
	return t.bareIter(o)
}

// lookup is Get of the index, with everything in it that the key is about.
func (t *Target) lookup(key []byte) ([]byte, io.Closer, error) {
	look := t.show
	switch key[8] {
	case planeName, planeExtent, planeRequest:
		look = func() error { return t.ready(key) }
	}
	if err := look(); err != nil {
		return nil, nil, err
	}
	l := &t.backlog
	if l.overlay.Load() == nil {
		return t.db.Get(key)
	}
	l.changing.RLock()
	defer l.changing.RUnlock()
	if over := l.overlay.Load(); over != nil {
		return over.Get(key)
	}
	return t.db.Get(key)
}

// apply writes to the index behind everything that was enqueued.
func (t *Target) apply(b *pebble.Batch, o *pebble.WriteOptions) error {
	if err := t.absorb(); err != nil {
		return err
	}
	if err := t.begin(b, o); err != nil || !o.Sync {
		return err
	}
	return t.synced(b)
}

// begin gives a batch to pebble, and waits for no sync.
func (t *Target) begin(b *pebble.Batch, o *pebble.WriteOptions) error {
	if err := t.take(); err != nil {
		return err
	}
	defer t.leaveTurn()
	if err := t.guard.Failed(); err != nil {
		return err
	}
	err := t.survive(func() error {
		if o.Sync {
			return t.db.ApplyNoSyncWait(b, o)
		}
		return t.db.Apply(b, o)
	})
	if err != nil {
		t.dies(err)
	}
	return err
}

// synced waits for the sync of what was begun.
func (t *Target) synced(b *pebble.Batch) error {
	err := b.SyncWait()
	if err != nil {
		t.fail(t.guard.PathJoin(t.opts.Dir, "index"), "write to the log", err)
	}
	return err
}

// syncLog makes durable what the index's log has.
func (t *Target) syncLog() error {
	b := t.db.NewBatch()
	if err := b.LogData([]byte("sync"), nil); err != nil {
		return err
	}
	if err := t.begin(b, pebble.Sync); err != nil {
		return err // pebble may have it
	}
	return errors.Join(t.synced(b), b.Close())
}

// survive makes an error of pebble's way to say that its log can't be written. The
// batch may be in its queue: it must not be used again.
func (t *Target) survive(fn func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fault.New(fault.Internal, "vos.write", t.opts.Dir, "panic: %v", r)
		}
	}()
	return fn()
}

// rest waits for what is on its way, and reports whether pebble can be closed.
func (t *Target) rest() bool {
	l := &t.backlog
	done := make(chan struct{})
	go func() { l.moving.Wait(); close(done) }()
	for {
		select {
		case <-done:
			return !l.broken.Load()
		case <-time.After(patience):
			if t.guard.Failed() != nil && l.stall.is() {
				return false
			}
		}
	}
}

// move puts a pile into the index, as one batch.
func (t *Target) move(p *pile) error {
	ops, err := p.sorted()
	if err != nil {
		return err
	}
	size := batchHead
	for _, op := range ops {
		size += len(op.bytes)
	}
	repr := make([]byte, batchHead, size)
	binary.LittleEndian.PutUint32(repr[batchHead-4:], uint32(len(ops)))
	for _, op := range ops {
		repr = append(repr, op.bytes...)
	}
	b := t.db.NewBatch()
	if err := b.SetRepr(repr); err != nil {
		return err
	}
	if err := t.survive(func() error { return t.db.Apply(b, pebble.NoSync) }); err != nil {
		return err
	}
	return b.Close()
}

// batch is a copy of all entries, in the order in which they came.
func (p *pile) batch() (*pebble.Batch, error) {
	repr := append(make([]byte, batchHead, len(p.repr)), p.repr[batchHead:]...)
	binary.LittleEndian.PutUint32(repr[batchHead-4:], p.count)
	b := &pebble.Batch{}
	return b, b.SetRepr(repr)
}

// op is one entry of a batch: its key, and all of its bytes.
type op struct{ key, bytes []byte }

// sorted is the entries of a pile in the order of their keys, those of one key
// as they came, with the number that they bring the index to. Most batches come
// sorted: their runs are merged.
func (p *pile) sorted() ([]op, error) {
	var b pebble.Batch
	binary.LittleEndian.PutUint32(p.repr[batchHead-4:], p.count)
	if err := b.SetRepr(p.repr); err != nil {
		return nil, err
	}
	if err := b.Set(journalKey(), journalValue(p.last), nil); err != nil {
		return nil, err
	}
	whole := b.Repr()
	ops := make([]op, 0, p.count+1)
	var runs []int
	for r := b.Reader(); len(r) > 0; {
		at := len(whole) - len(r)
		_, key, _, ok, err := r.Next()
		if err != nil || !ok {
			return nil, fault.New(fault.Internal, "vos.write", "batch", "can't be read").Because(err)
		}
		if n := len(ops); n == 0 || bytes.Compare(ops[n-1].key, key) > 0 {
			runs = append(runs, n)
		}
		ops = append(ops, op{key, whole[at : len(whole)-len(r)]})
	}
	return mergeRuns(ops, append(runs, len(ops))), nil
}

// mergeRuns sorts ops, of which [runs[i], runs[i+1]) are in order. It is stable.
func mergeRuns(ops []op, runs []int) []op {
	other := make([]op, len(ops))
	for len(runs) > 2 {
		next := runs[:1]
		for i := 0; i+1 < len(runs); i += 2 {
			lo, mid, hi := runs[i], runs[i+1], runs[min(i+2, len(runs)-1)]
			merge(other[lo:hi], ops[lo:mid], ops[mid:hi])
			next = append(next, hi)
		}
		runs, ops, other = next, other, ops
	}
	return ops
}

func merge(out, a, b []op) {
	for len(a) > 0 && len(b) > 0 {
		if bytes.Compare(b[0].key, a[0].key) < 0 {
			out[0], b = b[0], b[1:]
		} else {
			out[0], a = a[0], a[1:]
		}
		out = out[1:]
	}
	copy(out[copy(out, a):], b)
}
