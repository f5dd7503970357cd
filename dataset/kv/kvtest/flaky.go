package kvtest

import (
	"context"
	"math/rand/v2"
	"sync"

	"daos/engine/object"
	"daos/internal/fault"
)

// Flaky is a store that loses answers: of some commits it says that it could
// not be reached, before or after they were carried out, and some it makes
// lose a race that there was none of. Who gets fault.Unreachable has to call
// again, with the same request id.
type Flaky struct {
	object.Store
	mu   sync.Mutex
	rng  *rand.Rand
	odds int // of 1000, for each kind of trouble; 0: none
	Lost int // answers lost
}

// NewFlaky wraps a store.
func NewFlaky(st object.Store, rng *rand.Rand, odds int) *Flaky {
	return &Flaky{Store: st, rng: rng, odds: odds}
}

func (f *Flaky) dice() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.rng.IntN(1000)
	switch {
	case n < f.odds:
		f.Lost++
		return 1
	case n < 2*f.odds:
		f.Lost++
		return 2
	case n < 3*f.odds:
		return 3
	}
	return 0
}

var errLost = fault.New(fault.Unreachable, "test.commit", "store", "the answer was lost")

// Commit implements object.Committer.
func (f *Flaky) Commit(ctx context.Context, tx *object.Tx) (object.Result, error) {
	switch f.dice() {
	case 1:
		return object.Result{}, errLost
	case 2:
		if res, err := f.Store.Commit(ctx, tx); err != nil {
			return res, err
		}
		return object.Result{}, errLost
	case 3:
		return object.Result{}, fault.New(fault.Conflict, "test.commit", "store", "lost a race")
	}
	return f.Store.Commit(ctx, tx)
}

// Replay implements object.Committer. Right after an answer was lost nothing
// answers: else the dataset would find out by itself, and never a caller.
func (f *Flaky) Replay(ctx context.Context, id object.RequestID) (object.Result, bool, error) {
	if f.dice() == 1 {
		return object.Result{}, false, errLost
	}
	return f.Store.Replay(ctx, id)
}
