package server

import (
	"context"
	"log/slog"

	"daos/engine"
	"daos/engine/object"
	"daos/internal/fault"
	"daos/server/pool"
)

// storage is the engine as the pool service sees it.
type storage struct {
	engine *engine.Engine
	log    *slog.Logger
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

// pin tells the engine what stays readable. The epoch of a client's lease may
// have been swept before the lease was made; that is the client's error, at its
// next read, and must not take the others' pins away.
func (s *storage) pin(ctx context.Context, set pool.Settings) error {
	leases := set.Leases
	for {
		err := s.engine.SetPins(set.Dataset, merge(set.Pins, leases))
		if len(leases) == 0 || !fault.Is(err, fault.EpochGone) {
			return err
		}
		s.log.WarnContext(ctx, "an epoch that a client wants to go on reading has been swept", "dataset", uint64(set.Dataset), "epoch", uint64(leases[0]))
		leases = leases[1:] // the oldest
	}
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
	err := s.engine.DestroyDataset(ctx, id)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}
