package vos

import (
	"context"
	"sync"

	"daos/engine/object"
	"daos/engine/target"
	"daos/internal/fault"
)

// sweepTable counts the changes of each dataset.
type sweepTable struct {
	mu   sync.Mutex
	rows map[object.DatasetID]uint64
}

func (s *sweepTable) changed(ds object.DatasetID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rows == nil {
		s.rows = map[object.DatasetID]uint64{}
	}
	s.rows[ds]++
}

// Sweep is not there yet: everything is kept.
func (t *Target) Sweep(context.Context, object.DatasetID, []object.Epoch, object.Epoch) (target.SweepStats, error) {
	return target.SweepStats{}, fault.New(fault.Unsupported, "vos.sweep", t.opts.Dir, "sweeping is not there yet")
}
