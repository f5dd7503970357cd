package posix_test

import (
	"context"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"daos/dataset/posix"
	"daos/dataset/posixtest"
	"daos/engine"
	"daos/engine/object"
	"daos/internal/fault"
)

// onEngine makes datasets of one engine in a folder of the test.
func onEngine(t testing.TB) func(t testing.TB) posix.Store {
	e, err := engine.Open(engine.Options{Root: t.TempDir(), SweepEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	n := object.DatasetID(0)
	return func(t testing.TB) posix.Store {
		n++
		d, err := e.CreateDataset(context.Background(), n, 1)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
}

func TestConformanceOnEngine(t *testing.T) {
	open := onEngine(t)
	posixtest.Run(t, func(t *testing.T) posix.Store { return open(t) })
}

// restless is a dataset of an engine that is swept, or closed and opened again,
// after every few transactions. Nothing stays readable but what is pinned.
type restless struct {
	posix.Store
	t    *testing.T
	root string
	e    *engine.Engine
	rnd  *rand.Rand
	pins []object.Epoch
}

func (r *restless) open(create bool) {
	r.t.Helper()
	var err error
	if r.e, err = engine.Open(engine.Options{Root: r.root, SweepEvery: -1, Window: time.Nanosecond}); err != nil {
		r.t.Fatal(err)
	}
	var d *engine.Dataset
	if create {
		d, err = r.e.CreateDataset(context.Background(), 1, 1)
	} else if d, err = r.e.OpenDataset(1); err == nil {
		err = r.e.SetPins(1, r.pins)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.Store = d
}

func (r *restless) Keep(at object.Epoch) {
	r.pins = append(r.pins, at)
	if err := r.e.SetPins(1, r.pins); err != nil {
		r.t.Fatal(err)
	}
}

func (r *restless) Commit(ctx context.Context, tx *object.Tx) (object.Result, error) {
	res, err := r.Store.Commit(ctx, tx)
	if err != nil {
		return res, err
	}
	switch r.rnd.IntN(24) {
	case 0, 1, 2:
		if _, err := r.e.Sweep(ctx); err != nil {
			r.t.Fatalf("sweep: %v", err)
		}
	case 3:
		if err := r.e.Close(); err != nil {
			r.t.Fatal(err)
		}
		r.open(false)
		if !tx.Request.IsZero() { // whoever asked, does not know
			return object.Result{}, fault.New(fault.Unreachable, "test.commit", "store", "the server has restarted")
		}
	}
	return res, nil
}

func TestRandomWithSweepsAndRestarts(t *testing.T) {
	runs := 2
	if os.Getenv("DAOS_TEST_LONG") != "" {
		runs = 100
	}
	for range runs {
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		r := &restless{t: t, root: t.TempDir(), rnd: rand.New(rand.NewPCG(seed, 9))}
		r.open(true)
		posixtest.RandomSeed(t, r, seed, 250)
		if err := r.e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
