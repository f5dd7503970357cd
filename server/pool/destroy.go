package pool

import (
	"context"
	"errors"
	"strings"

	"daos/engine/object"
	"daos/internal/address"
	"daos/internal/fault"
	"daos/server/control"
)

// collectBatch is how many keys one transaction of the collector removes.
const collectBatch = 100

// DestroyDataset removes a dataset with its snapshots. It is gone for everybody
// when the tombstone is written; a crash after that is finished by Collect.
func (s *Service) DestroyDataset(ctx context.Context, a address.Address, request object.RequestID) error {
	name := a.DatasetName()
	var dead Dead
	err := s.mutate(ctx, mutation{
		op: "dataset.destroy", resource: name, request: request,
		build: func(context.Context) (control.Txn, any, error) {
			d, err := s.lookup(a)
			if err != nil {
				return control.Txn{}, nil, err
			}
			dead = Dead{ID: d.ID, Pool: d.PoolID, Was: name}
			key := datasetKey(a.Pool, a.Dataset)
			return control.Txn{
				If:   []control.Compare{{Key: key, Modified: d.modified}},
				Then: []control.Op{control.Delete(key), control.Put(deadKey(d.ID), encode(dead))},
			}, dead, nil
		},
		replay: func(b []byte) error { return decode(name, b, &dead) },
	})
	if err != nil {
		return err
	}
	if err := s.bury(ctx, dead); err != nil {
		// The dataset is gone; only its bytes are not. The collector tries again.
		s.log.ErrorContext(ctx, "can't remove the bytes of a destroyed dataset yet", "dataset", name, "err", err)
	}
	return nil
}

// bury removes what a dead dataset has left: first the bytes, then the keys,
// the tombstone last.
func (s *Service) bury(ctx context.Context, dead Dead) error {
	s.burying.Lock()
	defer s.burying.Unlock()
	if err := s.engine.Destroy(ctx, dead.ID); err != nil {
		return fault.Wrap(err, "dataset.destroy", dead.Was)
	}
	for _, prefix := range []string{snapshotKey(dead.ID, ""), viewKey(dead.ID, ""), litterKeys(dead.ID), strings.TrimSuffix(pinKey(dead.ID, 0), "0000000000000000")} {
		kvs, _, err := s.ctl.Range(ctx, prefix, 0)
		if err != nil {
			return err
		}
		if err := s.remove(ctx, kvs); err != nil {
			return err
		}
	}
	_, _, err := s.ctl.Commit(ctx, control.Txn{Then: []control.Op{control.Delete(deadKey(dead.ID))}})
	return err
}

// remove deletes keys as far as they are unchanged.
func (s *Service) remove(ctx context.Context, kvs []control.KV) error {
	for len(kvs) > 0 {
		n := min(len(kvs), collectBatch)
		var txn control.Txn
		for _, kv := range kvs[:n] {
			txn.Then = append(txn.Then, control.Delete(kv.Key))
		}
		if _, _, err := s.ctl.Commit(ctx, txn); err != nil {
			return err
		}
		kvs = kvs[n:]
	}
	return nil
}

// DestroyPool removes a pool; with force its datasets too.
func (s *Service) DestroyPool(ctx context.Context, name string, force bool, request object.RequestID) error {
	const op = "pool.destroy"
	if err := address.CheckName("pool", name); err != nil {
		return err
	}
	var p Pool
	err := s.mutate(ctx, mutation{
		op: op, resource: name, request: request,
		build: func(context.Context) (control.Txn, any, error) {
			old, ok := s.state.pool(name)
			if !ok {
				return control.Txn{}, nil, s.noPool(name)
			}
			if n := len(s.state.allDatasets(name)); n > 0 && !force && !old.Dying {
				return control.Txn{}, nil, fault.New(fault.NotEmpty, op, name, "the pool holds %d datasets", n).
					Do("destroy them first, or use --force to destroy them with it")
			}
			p = old
			p.Dying = true
			return control.Txn{
				If:   []control.Compare{{Key: poolKey(name), Modified: old.modified}},
				Then: []control.Op{control.Put(poolKey(name), encode(p))},
			}, p, nil
		},
		replay: func(b []byte) error { return decode(name, b, &p) },
	})
	if err != nil {
		return err
	}
	return s.finishPool(ctx, p)
}

// finishPool destroys what is left of a dying pool.
func (s *Service) finishPool(ctx context.Context, p Pool) error {
	now, ok := s.state.pool(p.Name)
	if !ok || now.ID != p.ID {
		return nil // gone, perhaps made anew under its name
	}
	for _, d := range s.state.allDatasets(p.Name) {
		err := s.DestroyDataset(ctx, address.Address{Pool: d.Pool, Dataset: d.Name}, object.RequestID{})
		if err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
	}
	err := s.mutate(ctx, mutation{op: "pool.destroy", resource: p.Name, build: func(context.Context) (control.Txn, any, error) {
		now, ok := s.state.pool(p.Name)
		if !ok || now.ID != p.ID {
			return control.Txn{}, nil, errGone
		}
		return control.Txn{
			If:   []control.Compare{{Key: poolKey(p.Name), Modified: now.modified}},
			Then: []control.Op{control.Delete(poolKey(p.Name))},
		}, nil, nil
	}})
	if errors.Is(err, errGone) {
		return nil
	}
	return err
}

var errGone = errors.New("gone already")

// Collect removes what nobody needs any more: expired snapshots, pins and
// request ids, and the rest of what a crash or an error left half destroyed.
// The server calls it now and then; on an error it is called again later.
func (s *Service) Collect(ctx context.Context) error {
	if e, ok := s.ctl.(interface {
		Expire(context.Context) (int, error)
	}); ok {
		if _, err := e.Expire(ctx); err != nil {
			return err
		}
	}
	var errs []error
	errs = append(errs, s.collectRequests(ctx), s.collectSnapshots(ctx), s.collectDead(ctx))
	for _, p := range s.state.allPools() {
		if p.Dying {
			errs = append(errs, s.finishPool(ctx, p))
		}
	}
	return errors.Join(errs...)
}

func (s *Service) collectRequests(ctx context.Context) error {
	kvs, _, err := s.ctl.Range(ctx, prefixRequest, 0)
	if err != nil {
		return err
	}
	limit := s.now().Add(-s.window).UnixNano()
	var old []control.KV
	for _, kv := range kvs {
		var r Request
		if err := decode(kv.Key, kv.Value, &r); err != nil {
			return err
		}
		if r.At < limit {
			old = append(old, kv)
		}
	}
	return s.remove(ctx, old)
}

func (s *Service) collectSnapshots(ctx context.Context) error {
	now := s.now()
	for _, d := range s.state.allDatasets("") {
		for _, n := range s.state.snapshots(d.ID) {
			if !n.expired(now) {
				continue
			}
			key := snapshotKey(d.ID, n.Name)
			rev, _, err := s.ctl.Commit(ctx, control.Txn{ // fails its comparison if it was just renewed
				If:   []control.Compare{{Key: key, Modified: n.modified}},
				Then: []control.Op{control.Delete(key)},
			})
			if err != nil {
				return err
			}
			if err := s.state.wait(ctx, rev); err != nil {
				return err
			}
			s.log.InfoContext(ctx, "snapshot expired", "dataset", d.Address()+"@"+n.Name)
		}
	}
	return nil
}

func (s *Service) collectDead(ctx context.Context) error {
	kvs, _, err := s.ctl.Range(ctx, prefixDead, 0)
	if err != nil {
		return err
	}
	var errs []error
	for _, kv := range kvs {
		var dead Dead
		if err := decode(kv.Key, kv.Value, &dead); err != nil {
			return err
		}
		errs = append(errs, s.bury(ctx, dead))
	}
	return errors.Join(errs...)
}
