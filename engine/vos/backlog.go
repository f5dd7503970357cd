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
// Who reads or writes the index calls absorb first, or ready, which lets a look
// at one dkey pass where the backlog has nothing of it. So the index is always
// seen as if every batch had gone there at once.
//
// A target that has stopped writes nothing any more, and pebble ends the process
// where its log can't go on: what waits then is laid over the index for those who
// read (held), and goes there from the journal at the next start.
type backlog struct {
	// turn is held by who moves a pile into the index: one at a time, in order.
	turn   sync.Mutex
	held   []*pile
	broken bool // pebble has panicked: it may hold locks for ever

	mu    sync.RWMutex // taken after turn
	open  *pile        // takes what comes; nil: none
	going *pile        // on its way into the index
	spare []byte       // memory of one that was moved

	waiting atomic.Bool                  // there is a pile
	overlay atomic.Pointer[pebble.Batch] // of held
	moving  sync.WaitGroup
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
	return t.absorb()
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

// absorb returns when the index has everything that was enqueued before the call.
func (t *Target) absorb() error {
	l := &t.backlog
	if !l.waiting.Load() {
		return nil
	}
	l.turn.Lock()
	defer l.turn.Unlock()
	l.mu.Lock()
	p := l.open
	l.open, l.going = nil, p
	l.waiting.Store(p != nil)
	l.mu.Unlock()
	if p == nil {
		return nil
	}
	spare, err := t.moveOrHold(p)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.going, l.spare = nil, spare
	l.waiting.Store(l.open != nil) // what has come meanwhile came after the call
	return err
}

// moveOrHold returns memory that is free again.
func (t *Target) moveOrHold(p *pile) ([]byte, error) {
	l := &t.backlog
	if t.guard.Failed() == nil {
		err := t.move(p)
		if err == nil {
			return p.repr, nil
		}
		l.broken = true
		t.guard.Fail(t.guard.PathJoin(t.opts.Dir, "index"), "write of what is in the journal", err)
	}
	l.held = append(l.held, p)
	over := t.db.NewIndexedBatch()
	for _, p := range l.held {
		var b pebble.Batch
		if err := errors.Join(p.fill(&b), over.Apply(&b, nil)); err != nil {
			return nil, t.indexError("vos.read", err)
		}
	}
	l.overlay.Store(over)
	return nil, nil
}

// fail stops the target, but not while a pile is on its way.
func (t *Target) fail(name, what string, err error) {
	t.backlog.turn.Lock()
	defer t.backlog.turn.Unlock()
	t.guard.Fail(name, what, err)
}

// index is where to read what absorb or ready has been called for.
func (t *Target) index() pebble.Reader {
	if over := t.backlog.overlay.Load(); over != nil {
		return over
	}
	return t.db
}

// newIter is an iterator over the index with everything in it.
func (t *Target) newIter(o *pebble.IterOptions) (*pebble.Iterator, error) {
	if err := t.absorb(); err != nil {
		return nil, err
	}
	return t.index().NewIter(o)
}

// lookup is Get of the index, with everything in it that the key is about.
func (t *Target) lookup(key []byte) ([]byte, io.Closer, error) {
	look := t.absorb
	switch key[8] {
	case planeName, planeExtent, planeRequest:
		look = func() error { return t.ready(key) }
	}
	if err := look(); err != nil {
		return nil, nil, err
	}
	return t.index().Get(key)
}

// apply writes to the index behind everything that was enqueued.
func (t *Target) apply(b *pebble.Batch, o *pebble.WriteOptions) error {
	if err := t.absorb(); err != nil {
		return err
	}
	if err := t.guard.Failed(); err != nil {
		return err
	}
	return t.db.Apply(b, o)
}

// stuck reports whether pebble can't even be closed.
func (l *backlog) stuck() bool {
	l.turn.Lock()
	defer l.turn.Unlock()
	return l.broken
}

// move puts a pile into the index, as one batch.
func (t *Target) move(p *pile) (err error) {
	defer func() {
		if r := recover(); r != nil { // pebble's way to say that its log can't be written
			err = fault.New(fault.Internal, "vos.write", t.opts.Dir, "panic: %v", r)
		}
	}()
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
	defer b.Close()
	if err := b.SetRepr(repr); err != nil {
		return err
	}
	return t.db.Apply(b, pebble.NoSync)
}

// fill makes b the batch with all entries.
func (p *pile) fill(b *pebble.Batch) error {
	binary.LittleEndian.PutUint32(p.repr[batchHead-4:], p.count)
	return b.SetRepr(p.repr)
}

// op is one entry of a batch: its key, and all of its bytes.
type op struct{ key, bytes []byte }

// sorted is the entries of a pile in the order of their keys, those of one key
// as they came, with the number that they bring the index to. Most batches come
// sorted: their runs are merged.
func (p *pile) sorted() ([]op, error) {
	var b pebble.Batch
	if err := p.fill(&b); err != nil {
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
