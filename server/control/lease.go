package control

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"daos/internal/fault"
)

func (s *Local) loadLeases() error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{'s'}, UpperBound: []byte{'s' + 1}})
	if err != nil {
		return err
	}
	now := s.now()
	for ok := it.First(); ok; ok = it.Next() {
		if len(it.Key()) != 9 || len(it.Value()) != 8 {
			return errors.Join(damaged("lease %x", it.Key()), it.Close())
		}
		ttl := time.Duration(binary.LittleEndian.Uint64(it.Value()))
		s.mu.leases[LeaseID(binary.BigEndian.Uint64(it.Key()[1:]))] = &lease{ttl: ttl, ends: now.Add(ttl)}
	}
	return it.Close()
}

// Grant implements Store.
func (s *Local) Grant(ctx context.Context, ttl time.Duration) (LeaseID, error) {
	if ttl < time.Second {
		return 0, fault.New(fault.Invalid, "control.grant", "", "a lease of %s is shorter than a second", ttl)
	}
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.mu.users.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.space(); err != nil {
		return 0, err
	}
	id := LeaseID(0)
	for id == 0 || s.mu.leases[id] != nil {
		id = LeaseID(rand.Int64()) // a name, not a secret
	}
	if err := s.db.Set(leaseKey(id), binary.LittleEndian.AppendUint64(nil, uint64(ttl)), pebble.Sync); err != nil {
		return 0, fault.New(fault.KindOf(err), "control.grant", "control store", "can't write").Because(err)
	}
	s.mu.leases[id] = &lease{ttl: ttl, ends: s.now().Add(ttl)}
	return id, nil
}

// KeepAlive implements Store. It writes nothing: see Open.
func (s *Local) KeepAlive(ctx context.Context, id LeaseID) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.mu.leases[id]
	if l == nil || !s.now().Before(l.ends) {
		return noLease(id)
	}
	l.ends = s.now().Add(l.ttl)
	return nil
}

// Revoke implements Store.
func (s *Local) Revoke(ctx context.Context, id LeaseID) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.users.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.leases[id] == nil {
		return noLease(id)
	}
	return s.endLocked(id)
}

// Expire ends the leases whose time is up and says how many. Whoever owns the
// store calls it now and then.
func (s *Local) Expire(ctx context.Context) (int, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.mu.users.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	now, n := s.now(), 0
	for id, l := range s.mu.leases {
		if now.Before(l.ends) {
			continue
		}
		if err := s.endLocked(id); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func (s *Local) endLocked(id LeaseID) error {
	lower := leaseHold(id, "")
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: after(lower)})
	if err != nil {
		return err
	}
	var ops []Op
	for ok := it.First(); ok; ok = it.Next() {
		ops = append(ops, Delete(string(it.Key()[9:])))
	}
	if err := it.Close(); err != nil {
		return err
	}
	_, err = s.applyLocked(ops, &id)
	return err
}

func noLease(id LeaseID) error {
	return fault.New(fault.NotFound, "control.lease", "", "lease %x has ended", int64(id)).Do("grant a new one")
}
