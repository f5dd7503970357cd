package engine_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"daos/engine"
	"daos/engine/object"
)

// powerCuts is an engine with a dataset whose disk is kept at every so manieth
// write, as a power loss at that moment leaves it, with a note of what had been
// promised by then.
type powerCuts[N any] struct {
	e *engine.Engine
	d *engine.Dataset

	mu  sync.Mutex // what notes are made of, and all below
	rng *rand.Rand
	all []powerCut[N]
	o   engine.Options
	f   *faults
}

type powerCut[N any] struct {
	disk *vfs.MemFS
	note N
	op   string
}

// cutPower begins; DAOS_POWER_SEED and DAOS_POWER_EVERY say how, note and fail
// are called under the mutex, fail says which writes fail.
func cutPower[N any](t *testing.T, stream, every uint64, o engine.Options, note func() N, fail func(rng *rand.Rand, op errorfs.Op) error) *powerCuts[N] {
	t.Helper()
	seed := seeds("DAOS_POWER_SEED", uint64(time.Now().UnixNano()))
	t.Logf("DAOS_POWER_SEED=%d", seed)
	every = seeds("DAOS_POWER_EVERY", every)
	mem := vfs.NewCrashableMem()
	c := &powerCuts[N]{rng: rand.New(rand.NewPCG(seed, stream)), f: &faults{}, o: o}
	c.o.Root, c.o.FS, c.o.Targets, c.o.SweepEvery, c.o.Logger = "/r", errorfs.Wrap(mem, c.f), 3, -1, quiet()
	c.o.JournalBytes = []int64{16 << 10, 1 << 20}[seed%2]
	var err error
	if c.e, err = engine.Open(c.o); err != nil {
		t.Fatal(err)
	}
	c.d = create(t, c.e, 1, 1)
	journaled(t, mem, "/r", c.d)
	n := uint64(0)
	c.f.set(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
			return nil
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if n++; n%every == 0 {
			disk := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 0, 50, 100}[c.rng.IntN(4)], RNG: c.rng})
			c.all = append(c.all, powerCut[N]{disk, note(), fmt.Sprintf("write %d (%v %s)", n, op.Kind, op.Path)})
		}
		return fail(c.rng, op)
	})
	return c
}

// end closes the engine, opens it on each of the disks, and looks at what is
// there; what is used must be what is accounted for.
func (c *powerCuts[N]) end(t *testing.T, look func(e *engine.Engine, d *engine.Dataset, at object.Epoch, cut powerCut[N])) {
	t.Helper()
	c.f.set(nil)
	if err := c.e.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d power losses", len(c.all))
	for _, cut := range c.all {
		c.o.FS = cut.disk
		e, err := engine.Open(c.o)
		if err != nil {
			t.Fatalf("%s: %v", cut.op, err)
		}
		d, err := e.OpenDataset(1)
		if err != nil {
			t.Fatal(err)
		}
		look(e, d, now(t, d), cut)
		if u, err := e.Usage(1); err != nil || u.Bytes != e.Accounted(1) {
			t.Fatalf("%s: usage %+v, accounted %d, %v", cut.op, u, e.Accounted(1), err)
		}
		if _, err := e.Scrub(t.Context(), 0, func(err error) { t.Error(cut.op, err) }); err != nil {
			t.Fatal(err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
