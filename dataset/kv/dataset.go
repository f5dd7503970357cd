package kv

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"daos/dataset/race"
	"daos/engine/object"
	"daos/internal/fault"
)

// Store is what a KV dataset needs of an object store.
type Store interface {
	object.Clock
	object.Reader
	object.Lister
	object.Committer
}

// Options open a dataset.
type Options struct {
	// Class of the values' objects. 0: SX.
	Class object.Class
	// Now is the clock that leases expire by. nil: time.Now.
	Now func() time.Time
	// Backoff waits before attempt n (from 1) of a transaction that lost
	// against another. nil: jittered, exponential, up to 20 ms.
	Backoff func(ctx context.Context, attempt int) error
	// Attempts bounds the tries of one change. 0: 256.
	Attempts int
}

// Dataset is one KV dataset. Its methods are safe for concurrent use. What it
// keeps in memory (a block of numbers, a parsed schema) can be lost and is not
// relied upon: any number of Datasets of one store, in any process, agree
// through the store.
type Dataset struct {
	st     Store
	opts   Options
	values object.ID

	numbers struct {
		sync.Mutex
		next, end uint64
	}
	parsed atomic.Pointer[parsedSchema]
	cuts   atomic.Pointer[lastCuts]
	lanes  [64]sync.Mutex // by key: see lane
}

type parsedSchema struct {
	raw    []byte
	schema *Schema
}

// Open makes a Dataset of a dataset's store. It reads nothing yet: an empty
// store is an empty dataset.
func Open(st Store, o Options) *Dataset {
	if o.Class == object.ClassUnknown {
		o.Class = object.ClassSX
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Backoff == nil {
		o.Backoff = race.Pause
	}
	if o.Attempts <= 0 {
		o.Attempts = 256
	}
	return &Dataset{st: st, opts: o, values: object.MakeID(o.Class, useValues, 1)}
}

func (d *Dataset) bulkID(number uint64) object.ID {
	return object.MakeID(d.opts.Class, useBulk, number)
}

// readSuper reads the superblock; a dataset without one is empty.
func (d *Dataset) readSuper(ctx context.Context, at object.Epoch) (super, error) {
	b, _, err := d.st.Get(ctx, at, metaOID, keySuper, akeyState)
	if fault.Is(err, fault.NotFound) {
		return super{}, nil
	}
	if err != nil {
		return super{}, err
	}
	return decodeSuper(b)
}

func (d *Dataset) schemaOf(s super) (*Schema, error) {
	if len(s.schema) == 0 {
		return nil, nil
	}
	if p := d.parsed.Load(); p != nil && bytes.Equal(p.raw, s.schema) {
		return p.schema, nil
	}
	sc, err := decodeSchema(s.schema)
	if err != nil {
		return nil, err
	}
	d.parsed.Store(&parsedSchema{raw: bytes.Clone(s.schema), schema: sc})
	return sc, nil
}

// numberBlock is how many numbers of large values are taken at once.
const numberBlock = 1 << 10

// number gives out a number. A block is taken by a transaction before any of
// it is used; losing a block loses numbers, nothing else.
func (d *Dataset) number(ctx context.Context) (uint64, error) {
	n := &d.numbers
	n.Lock()
	defer n.Unlock()
	if n.next == n.end {
		first, err := d.takeNumbers(ctx)
		if err != nil {
			return 0, err
		}
		n.next, n.end = first, first+numberBlock
	}
	n.next++
	return n.next - 1, nil
}

func (d *Dataset) takeNumbers(ctx context.Context) (first uint64, err error) {
	_, err = d.mutate(ctx, "kv.number", object.RequestID{}, func(c *change) error {
		s := c.super
		first = max(s.next, 1)
		s.next = first + numberBlock
		c.write(object.Write{Op: object.OpPut, OID: metaOID, Dkey: keySuper, Akey: akeyState, Data: s.encode()})
		return nil
	})
	return first, err
}

// change is one mutation under way: a transaction that grows, read at one
// epoch. It sees its own writes.
type change struct {
	d     *Dataset
	at    object.Epoch
	super super
	tx    *object.Tx
	rows  map[string]map[string]*slot // by key and akey: what was read or written
	spare []uint64                    // numbers taken by an attempt before
}

func (c *change) write(w ...object.Write) { c.tx.Writes = append(c.tx.Writes, w...) }

// mutate runs build until its transaction commits: again after each conflict,
// on what is there then. A build without writes commits nothing.
//
// A request id that has committed before gives its first answer. It is looked
// for before any failure is believed, as what the first call did may be in the
// way of the second (a put if absent finds its own value), and after the
// failure: the first call may have been under way until then.
func (d *Dataset) mutate(ctx context.Context, op string, req object.RequestID, build func(*change) error) (object.Result, error) {
	var spare []uint64
	for attempt := 1; ; attempt++ {
		res, left, err := d.try(ctx, req, spare, build)
		if err == nil {
			return res, nil
		}
		spare = left
		if res, ok, rerr := d.replay(ctx, req); ok || rerr != nil {
			return res, rerr
		}
		// EpochGone: it took so long that the state it began on has been swept.
		if !fault.Is(err, fault.Conflict, fault.EpochGone) || isAsked(err) {
			return object.Result{}, err
		}
		if attempt >= d.opts.Attempts {
			return object.Result{}, fault.New(fault.KindOf(err), op, "dataset", "lost against other writers %d times", attempt).
				Because(err).Do("try again, with fewer writers of the same keys")
		}
		if err := d.opts.Backoff(ctx, attempt); err != nil {
			return object.Result{}, err
		}
	}
}

func (d *Dataset) replay(ctx context.Context, req object.RequestID) (object.Result, bool, error) {
	if req.IsZero() || ctx.Err() != nil {
		return object.Result{}, false, nil
	}
	return d.st.Replay(ctx, req)
}

// asked marks a Conflict that the caller asked for (a version that is another
// one), which no further try resolves.
type asked struct{ error }

func (a asked) Unwrap() error { return a.error }

func isAsked(err error) bool {
	_, ok := err.(asked)
	return ok
}

func (d *Dataset) try(ctx context.Context, req object.RequestID, spare []uint64, build func(*change) error) (object.Result, []uint64, error) {
	at, err := d.st.ReadEpoch(ctx, 0)
	if err != nil {
		return object.Result{}, spare, err
	}
	c := &change{d: d, at: at, tx: &object.Tx{Request: req, ReadAt: at}, spare: spare}
	if c.super, err = d.readSuper(ctx, at); err != nil {
		return object.Result{}, spare, err
	}
	c.tx.Reads = append(c.tx.Reads, point(metaOID, keySuper, akeyState))
	if err := build(c); err != nil {
		return object.Result{}, c.spare, err
	}
	if len(c.tx.Writes) == 0 {
		if res, ok, err := d.replay(ctx, req); ok || err != nil {
			return res, c.spare, err
		}
		return object.Result{Epoch: at, Answer: c.tx.Answer}, c.spare, nil
	}
	res, err := d.st.Commit(ctx, c.tx)
	return res, c.spare, err
}

func misused() error {
	return fault.New(fault.Invalid, "kv.replay", "request id", "it was used for another call").Do("use a new request id for each call")
}
