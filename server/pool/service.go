// Package pool is the pool service: which pools, datasets and snapshots there
// are, and what the engine must keep for clients. Its records live in the
// control store; it tells the engine quotas and pinned epochs before it answers
// a change of them.
//
// It moves no bytes and speaks no wire format; server/service maps it to gRPC.
// Start with Open, Service.Resolve and mutate.go, through which every change goes.
package pool

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"daos/engine/object"
	"daos/internal/address"
	"daos/internal/fault"
	"daos/server/control"
)

// Settings is what the engine has to know of a dataset.
type Settings struct {
	Dataset object.DatasetID
	Pool    object.PoolID
	Quota   uint64         // bytes of all kept versions; 0: none
	Pins    []object.Epoch // epochs of snapshots: they stay readable; rising
	Leases  []object.Epoch // epochs that clients read; as far as they are still there
}

// Engine is what the pool service asks of storage.
type Engine interface {
	// SetPoolQuota bounds the bytes of all datasets of a pool; 0: no bound.
	SetPoolQuota(pool object.PoolID, bytes uint64) error
	// Configure makes settings effective. A dataset is configured before its
	// store is used, and again whenever its settings change.
	Configure(ctx context.Context, s Settings) error
	// Store returns a configured dataset.
	Store(ctx context.Context, id object.DatasetID) (object.Store, error)
	// Usage is what a dataset holds.
	Usage(ctx context.Context, id object.DatasetID) (object.Usage, error)
	// Destroy removes a dataset; again for one that is gone is no error.
	Destroy(ctx context.Context, id object.DatasetID) error
}

// Options configure a Service.
type Options struct {
	Control control.Store
	Engine  Engine
	Now     func() time.Time // nil: the wall clock
	Log     *slog.Logger     // nil: none
	// RequestWindow is how long a mutation's answer is kept; 0: ten minutes.
	RequestWindow time.Duration
}

// Service is the pool service.
type Service struct {
	ctl    control.Store
	engine Engine
	now    func() time.Time
	log    *slog.Logger
	window time.Duration
	state  *state

	stop    context.CancelFunc
	stopped chan struct{}
	burying sync.Mutex // one burial at a time
	pins    pinTable
}

// Open reads the control state, tells the engine what it must know, and
// finishes what a crash has interrupted.
func Open(ctx context.Context, o Options) (*Service, error) {
	s := &Service{ctl: o.Control, engine: o.Engine, now: o.Now, log: o.Log, window: o.RequestWindow, state: newState(), stopped: make(chan struct{})}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.window <= 0 {
		s.window = 10 * time.Minute
	}
	s.pins.leases = map[pinName]control.LeaseID{}
	kvs, rev, err := s.ctl.Range(ctx, "", 0)
	if err != nil {
		return nil, err
	}
	events := make([]control.Event, 0, len(kvs))
	for _, kv := range kvs {
		events = append(events, control.Event{Rev: kv.Modified, Key: kv.Key, Value: kv.Value})
	}
	if err := s.learn(ctx, rev, events, s.settle); err != nil {
		return nil, err
	}
	watch, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	go func() {
		defer close(s.stopped)
		err := s.ctl.Watch(watch, "", rev+1, func(rev control.Rev, events []control.Event) error {
			return s.learn(watch, rev, events, s.settleInTime)
		})
		s.state.fail(fault.New(fault.Unreachable, "pool.watch", "", "the pool service has stopped").Because(err))
		if watch.Err() == nil {
			s.log.ErrorContext(watch, "the pool service lost its control store", "err", err)
		}
	}()
	if err := s.Collect(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close stops following the control store. It does not close it.
func (s *Service) Close() error {
	s.stop()
	<-s.stopped
	return nil
}

// learn takes changes over: first the state, then the engine, then those who
// wait for the revision.
func (s *Service) learn(ctx context.Context, rev control.Rev, events []control.Event, settle func(context.Context, touched) error) error {
	t, err := s.state.apply(events)
	if err != nil {
		return err
	}
	if err := settle(ctx, t); err != nil {
		return err
	}
	s.state.advance(rev)
	return nil
}

// scarceFor is how long the service waits where there are no descriptors left.
const scarceFor = 100 * time.Millisecond

// settleInTime is settle, as soon as there are descriptors for it: of a service
// that gave up here nothing would be known any more.
func (s *Service) settleInTime(ctx context.Context, t touched) error {
	for said := false; ; said = true {
		err := s.settle(ctx, t)
		if !errors.Is(err, syscall.EMFILE) && !errors.Is(err, syscall.ENFILE) {
			return err
		}
		if !said {
			s.log.ErrorContext(ctx, "a change waits for descriptors", "err", err)
		}
		select {
		case <-time.After(scarceFor):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

// settle tells the engine of what was touched, once more if need be.
func (s *Service) settle(ctx context.Context, t touched) error {
	for name := range t.pools {
		if p, ok := s.state.pool(name); ok {
			if err := s.engine.SetPoolQuota(p.ID, p.Quota); err != nil {
				return err
			}
		}
	}
	for id := range t.datasets {
		if set, ok := s.state.settings(id); ok {
			if err := s.engine.Configure(ctx, set); err != nil {
				return err
			}
		}
	}
	return nil
}

// Resolved is a named dataset, with its store.
type Resolved struct {
	Address  address.Address
	Dataset  *Dataset  // not to be changed
	Snapshot *Snapshot // nil: the live dataset
	Store    object.Store
}

// Resolve finds a dataset, at a snapshot where the address names one. Using an
// expiring snapshot renews it.
func (s *Service) Resolve(ctx context.Context, a address.Address) (Resolved, error) {
	d, err := s.lookup(a)
	if err != nil {
		return Resolved{}, err
	}
	r := Resolved{Address: a, Dataset: d}
	if a.Snapshot != "" {
		n, ok := s.state.snapshot(d.ID, a.Snapshot)
		if !ok || n.expired(s.now()) {
			return Resolved{}, s.noSnapshot(a, d)
		}
		if n.stale(s.now()) {
			if err := s.touch(ctx, d, n); err != nil && !fault.Is(err, fault.Conflict) {
				s.log.WarnContext(ctx, "can't renew a snapshot", "dataset", a.DatasetName(), "err", err)
			}
		}
		r.Snapshot = n
	}
	r.Store, err = s.engine.Store(ctx, d.ID)
	return r, fault.Wrap(err, "dataset.open", a.DatasetName())
}

// Epoch is the epoch at which a read of r is made: the snapshot's, or one that
// the caller names, or the newest closed one that is not below seen.
func (r *Resolved) Epoch(ctx context.Context, named, seen object.Epoch) (object.Epoch, error) {
	switch {
	case r.Snapshot != nil && named != 0 && named != r.Snapshot.Epoch:
		return 0, fault.New(fault.Invalid, "dataset.epoch", r.Address.DatasetName(), "epoch %d is not the snapshot's, which is %d", uint64(named), uint64(r.Snapshot.Epoch)).
			Do("leave the epoch out, or name the live dataset %s", r.Address.Live().DatasetName())
	case r.Snapshot != nil:
		return r.Snapshot.Epoch, nil
	case named != 0:
		return named, nil
	}
	return r.Store.ReadEpoch(ctx, seen)
}

func (s *Service) lookup(a address.Address) (*Dataset, error) {
	if d, ok := s.state.dataset(a.Pool + "/" + a.Dataset); ok {
		return d, nil
	}
	if _, ok := s.state.pool(a.Pool); !ok {
		return nil, s.noPool(a.Pool)
	}
	return nil, s.noDataset(a)
}

// PoolInfo is a pool with what it holds.
type PoolInfo struct {
	Pool
	Usage    object.Usage
	Datasets int
}

// GetPool describes a pool.
func (s *Service) GetPool(ctx context.Context, name string) (PoolInfo, error) {
	if err := address.CheckName("pool", name); err != nil {
		return PoolInfo{}, err
	}
	p, ok := s.state.pool(name)
	if !ok {
		return PoolInfo{}, s.noPool(name)
	}
	return s.describePool(ctx, p)
}

func (s *Service) describePool(ctx context.Context, p Pool) (PoolInfo, error) {
	info := PoolInfo{Pool: p}
	for _, d := range s.state.allDatasets(p.Name) {
		u, err := s.engine.Usage(ctx, d.ID)
		if err != nil {
			return PoolInfo{}, fault.Wrap(err, "pool.get", d.Address())
		}
		info.Usage.Bytes += u.Bytes
		info.Usage.Records += u.Records
		info.Datasets++
	}
	return info, nil
}

// ListPools describes all pools, by name.
func (s *Service) ListPools(ctx context.Context) ([]PoolInfo, error) {
	var out []PoolInfo
	for _, p := range s.state.allPools() {
		info, err := s.describePool(ctx, p)
		if err != nil {
			return nil, err
		}
		out = append(out, info)
	}
	return out, nil
}

// PoolNames are the names of all pools, in order.
func (s *Service) PoolNames() []string {
	var out []string
	for _, p := range s.state.allPools() {
		out = append(out, p.Name)
	}
	return out
}

// DatasetInfo is a dataset with what it holds.
type DatasetInfo struct {
	*Dataset
	Usage     object.Usage
	Snapshots int
}

// Describe adds to a dataset what it holds.
func (s *Service) Describe(ctx context.Context, d *Dataset) (DatasetInfo, error) {
	u, err := s.engine.Usage(ctx, d.ID)
	if err != nil {
		return DatasetInfo{}, fault.Wrap(err, "dataset.get", d.Address())
	}
	return DatasetInfo{Dataset: d, Usage: u, Snapshots: s.state.countSnapshots(d.ID)}, nil
}

// Datasets are the datasets of a pool, or of all pools where it is empty.
func (s *Service) Datasets(pool string) ([]*Dataset, error) {
	if pool != "" {
		if err := address.CheckName("pool", pool); err != nil {
			return nil, err
		}
		if _, ok := s.state.pool(pool); !ok {
			return nil, s.noPool(pool)
		}
	}
	return s.state.allDatasets(pool), nil
}

// Snapshots are the snapshots of a dataset, oldest first.
func (s *Service) Snapshots(a address.Address) ([]*Snapshot, error) {
	d, err := s.lookup(a)
	if err != nil {
		return nil, err
	}
	now := s.now()
	return slices.DeleteFunc(s.state.snapshots(d.ID), func(n *Snapshot) bool { return n.expired(now) }), nil
}

func parseID(hex string) (object.DatasetID, error) {
	n, err := strconv.ParseUint(strings.TrimPrefix(hex, "0x"), 16, 64)
	if err != nil {
		return 0, fault.New(fault.Corrupt, "pool.decode", hex, "a key of the control store has no dataset number").Because(err)
	}
	return object.DatasetID(n), nil
}
