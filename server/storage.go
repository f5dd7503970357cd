package server

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"daos/engine"
	"daos/engine/object"
	"daos/internal/fault"
	"daos/server/pool"
)

// storage is the engine as the pool service sees it.
type storage struct {
	engine *engine.Engine
	log    *slog.Logger

	mu     sync.Mutex
	pinned map[object.DatasetID][]object.Epoch // as the engine was told
}

func newStorage(e *engine.Engine, log *slog.Logger) *storage {
	return &storage{engine: e, log: log, pinned: map[object.DatasetID][]object.Epoch{}}
}

var _ pool.Engine = (*storage)(nil)

// SetPoolQuota implements pool.Engine.
func (s *storage) SetPoolQuota(id object.PoolID, bytes uint64) error {
	return s.engine.SetPoolQuota(id, int64(bytes)) // the pool service bounds quotas to 2^62
}

// Configure implements pool.Engine. A dataset that the engine does not know yet
// is made: its record was written, and then the process ended.
func (s *storage) Configure(ctx context.Context, set pool.Settings) error {
	if _, err := s.engine.OpenDataset(set.Dataset); fault.Is(err, fault.NotFound) {
		if _, err := s.engine.CreateDataset(ctx, set.Dataset, set.Pool); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if err := s.engine.SetQuota(set.Dataset, int64(set.Quota)); err != nil {
		return err
	}
	return s.pin(ctx, set)
}

// pin tells the engine what stays readable.
func (s *storage) pin(ctx context.Context, set pool.Settings) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept, err := pinAll(merge(set.Pins, set.Leases), s.pinned[set.Dataset], func(e []object.Epoch) error {
		return s.engine.SetPins(set.Dataset, e)
	}, func(e object.Epoch) {
		s.log.ErrorContext(ctx, "an epoch was swept before it could be kept", "dataset", uint64(set.Dataset), "epoch", uint64(e))
	})
	s.pinned[set.Dataset] = kept
	return err
}

// pinAll makes want the pins, where have are the pins until now. A new one may
// have been swept already (a client's lease came too late, or the machine slept
// in between): that is the error of whoever reads there, and must not take the
// other pins away, so it is left out.
func pinAll(want, have []object.Epoch, set func([]object.Epoch) error, lost func(object.Epoch)) (kept []object.Epoch, err error) {
	err = set(want)
	if !fault.Is(err, fault.EpochGone) {
		return want, err
	}
	for _, e := range want {
		if slices.Contains(have, e) {
			kept = append(kept, e)
		}
	}
	if err := set(kept); err != nil {
		return have, err
	}
	for _, e := range want {
		if slices.Contains(have, e) {
			continue
		}
		next := merge(kept, []object.Epoch{e})
		switch err := set(next); {
		case err == nil:
			kept = next
		case fault.Is(err, fault.EpochGone):
			lost(e)
		default:
			return kept, err
		}
	}
	return kept, nil
}

// merge joins two rising lists into one without repeats.
func merge(a, b []object.Epoch) []object.Epoch {
	out := make([]object.Epoch, 0, len(a)+len(b))
	for len(a) > 0 || len(b) > 0 {
		var e object.Epoch
		if len(b) == 0 || len(a) > 0 && a[0] <= b[0] {
			e, a = a[0], a[1:]
		} else {
			e, b = b[0], b[1:]
		}
		if len(out) == 0 || out[len(out)-1] != e {
			out = append(out, e)
		}
	}
	return out
}

// Store implements pool.Engine.
func (s *storage) Store(_ context.Context, id object.DatasetID) (object.Store, error) {
	return s.engine.OpenDataset(id)
}

// Usage implements pool.Engine.
func (s *storage) Usage(_ context.Context, id object.DatasetID) (object.Usage, error) {
	return s.engine.Usage(id)
}

// Destroy implements pool.Engine.
func (s *storage) Destroy(ctx context.Context, id object.DatasetID) error {
	s.mu.Lock()
	delete(s.pinned, id)
	s.mu.Unlock()
	err := s.engine.DestroyDataset(ctx, id)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}
