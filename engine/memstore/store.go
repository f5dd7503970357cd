package memstore

import (
	"context"
	"slices"
	"sync"
	"time"

	"daos/engine/object"
	"daos/engine/placement"
	"daos/internal/fault"
)

// futureBound is how far ahead of the wall clock an epoch from outside may be.
const futureBound = time.Second

// requestWindow is how long a request id is remembered.
const requestWindow = 10 * time.Minute

// Store is one dataset in memory. Its methods are safe for concurrent use.
type Store struct {
	mu      sync.Mutex
	now     func() time.Time
	last    object.Epoch // every epoch up to it is closed
	horizon object.Epoch // reads below it and not pinned are refused
	pins    []object.Epoch
	quota   int64
	usage   object.Usage

	objects map[object.ID]*obj
	buckets []*bucket // in scan order once sorted
	dirty   bool
	reqs    map[object.RequestID]request
}

type request struct {
	res object.Result
	at  time.Time
}

// stamp orders versions: by epoch, then by place in their transaction.
type stamp struct {
	epoch object.Epoch
	seq   int32
}

func (a stamp) less(b stamp) bool {
	return a.epoch < b.epoch || a.epoch == b.epoch && a.seq < b.seq
}

type obj struct {
	punches []stamp
	dkeys   map[string]*dkey
	order   sortedKeys // of dkeys, all groups
	groups  map[uint16]*bucket
}

// bucket is one redundancy group of an object, the unit of Scan's order.
type bucket struct {
	oid   object.ID
	group uint16
	hash  uint32
	obj   *obj
	order sortedKeys
}

type dkey struct {
	punches []stamp
	akeys   map[string]*akey
	order   sortedKeys
}

type akey struct {
	punches []stamp
	singles []single
	extents []extent
}

type single struct {
	stamp
	data []byte
}

type extent struct {
	stamp
	off, n uint64
	data   []byte // nil: a hole
}

// Option changes a new Store.
type Option func(*Store)

// WithClock replaces the wall clock.
func WithClock(now func() time.Time) Option { return func(s *Store) { s.now = now } }

// WithQuota bounds the payload bytes of all kept versions; 0 is no bound.
func WithQuota(bytes int64) Option { return func(s *Store) { s.quota = bytes } }

// New returns an empty dataset.
func New(opts ...Option) *Store {
	s := &Store{now: time.Now, objects: map[object.ID]*obj{}, reqs: map[object.RequestID]request{}}
	for _, o := range opts {
		o(s)
	}
	return s
}

var _ object.Store = (*Store)(nil)

// SetHorizon makes reads below h fail with fault.EpochGone unless pinned.
// Nothing is dropped.
func (s *Store) SetHorizon(h object.Epoch, pins ...object.Epoch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.horizon, s.pins = h, pins
}

// Usage is what the dataset holds, all versions counted.
func (s *Store) Usage() object.Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.usage
}

// tick gives the next epoch; the caller holds mu.
func (s *Store) tick() object.Epoch {
	s.last = max(s.last+1, object.EpochAt(s.now()))
	return s.last
}

// observe closes e, which came from outside; the caller holds mu.
func (s *Store) observe(e object.Epoch) error {
	if e <= s.last {
		return nil
	}
	if e > object.EpochAt(s.now().Add(futureBound)) {
		return fault.New(fault.Invalid, "clock.observe", "epoch", "epoch %d lies in the future", uint64(e)).
			Do("use an epoch that this store has answered")
	}
	s.last = e
	return nil
}

// ReadEpoch implements object.Clock.
func (s *Store) ReadEpoch(ctx context.Context, seen object.Epoch) (object.Epoch, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.observe(seen); err != nil {
		return 0, err
	}
	return s.tick(), nil
}

// readable checks that at may be read; the caller holds mu.
func (s *Store) readable(ctx context.Context, at object.Epoch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if at < s.horizon && !slices.Contains(s.pins, at) {
		return fault.New(fault.EpochGone, "object.read", "epoch", "versions at epoch %d have been swept (horizon %d)", uint64(at), uint64(s.horizon)).
			Do("read at a newer epoch, or take a snapshot first")
	}
	return s.observe(at)
}

func (s *Store) object(oid object.ID) *obj {
	o := s.objects[oid]
	if o == nil {
		o = &obj{dkeys: map[string]*dkey{}, groups: map[uint16]*bucket{}}
		s.objects[oid] = o
	}
	return o
}

func (s *Store) dkey(oid object.ID, o *obj, name []byte) *dkey {
	d := o.dkeys[string(name)]
	if d == nil {
		d = &dkey{akeys: map[string]*akey{}}
		o.dkeys[string(name)] = d
		o.order.add(string(name))
		g := oid.Class().Group(name)
		b := o.groups[g]
		if b == nil {
			b = &bucket{oid: oid, group: g, hash: placement.Hash32(oid, g), obj: o}
			o.groups[g] = b
			s.buckets = append(s.buckets, b)
			s.dirty = true
		}
		b.order.add(string(name))
	}
	return d
}

func (d *dkey) akey(name []byte) *akey {
	a := d.akeys[string(name)]
	if a == nil {
		a = &akey{}
		d.akeys[string(name)] = a
		d.order.add(string(name))
	}
	return a
}

// sortedKeys is a set of keys that is sorted when it is walked: additions wait
// in pending, so that a run of inserts costs no memmove each.
type sortedKeys struct {
	keys    []string
	pending []string
}

func (k *sortedKeys) add(s string) { k.pending = append(k.pending, s) }

func (k *sortedKeys) sorted() []string {
	if len(k.pending) == 0 {
		return k.keys
	}
	slices.Sort(k.pending)
	out := make([]string, 0, len(k.keys)+len(k.pending))
	i, j := 0, 0
	for i < len(k.keys) && j < len(k.pending) {
		if k.keys[i] < k.pending[j] {
			out = append(out, k.keys[i])
			i++
		} else {
			out = append(out, k.pending[j])
			j++
		}
	}
	out = append(append(out, k.keys[i:]...), k.pending[j:]...)
	k.keys, k.pending = out, nil
	return out
}
