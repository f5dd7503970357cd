package engine_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"daos/engine"
	"daos/engine/object"
)

// TestPowerLoss_Sweeps cuts the power while keys are overwritten and swept at
// once, and datasets come and go: of each writer all keys are those of one
// transaction, the last that was answered or the one under way, so what was
// hidden by one that is taken back has not been swept.
func TestPowerLoss_Sweeps(t *testing.T) {
	seed := seeds("DAOS_POWER_SEED", uint64(time.Now().UnixNano()))
	t.Logf("DAOS_POWER_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 22))
	mem := vfs.NewCrashableMem()
	f := &faults{}
	type cut struct {
		fs        *vfs.MemFS
		last      [4]int
		destroyed int
		op        string
	}
	var mu sync.Mutex
	var last [4]int
	destroyed := 0
	var cuts []cut
	n, every := uint64(0), seeds("DAOS_POWER_EVERY", longer(13, 2))
	o := engine.Options{Root: "/r", FS: errorfs.Wrap(mem, f), Targets: 3, SweepEvery: -1, SyncEvery: 5 * time.Millisecond, Window: time.Nanosecond,
		Logger: quiet(), JournalBytes: []int64{16 << 10, 1 << 20}[seed%2]}
	e, err := engine.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	d := create(t, e, 1, 1)
	journaled(t, mem, "/r", d)
	if err := e.SetPins(1, nil); err != nil {
		t.Fatal(err)
	}
	f.set(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		if n++; n%every == 0 {
			disk := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 0, 50, 100}[rng.IntN(4)], RNG: rng})
			cuts = append(cuts, cut{disk, last, destroyed, fmt.Sprintf("write %d (%v %s)", n, op.Kind, op.Path)})
		}
		return nil
	})
	val := func(g, i, j int) string {
		return strings.Repeat(fmt.Sprintf("%d.%d.%d;", g, i, j), 5+(i%3)*200)
	}
	stop := make(chan struct{})
	var wg, bg sync.WaitGroup
	bg.Go(func() {
		for k := 0; ; k++ {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := e.Sweep(t.Context()); err != nil {
				t.Error(err)
			}
			id := object.DatasetID(100 + k)
			x, err := e.CreateDataset(t.Context(), id, 1)
			if err != nil {
				t.Error(err)
				return
			}
			commit(t, x, put(many, "a", 3000), put(many, "b", 10), put(many, "c", 10))
			if err := e.DestroyDataset(t.Context(), id); err != nil {
				t.Error(err)
			}
			mu.Lock()
			destroyed = k + 1
			mu.Unlock()
		}
	})
	for g := range 4 {
		wg.Go(func() {
			for i := 1; i <= 25; i++ {
				tx := &object.Tx{}
				for j := range 4 {
					tx.Writes = append(tx.Writes, object.Write{Op: object.OpPut, OID: many, Dkey: fmt.Appendf(nil, "o%d-%d", g, j), Akey: []byte("a"), Data: []byte(val(g, i, j))})
				}
				if _, err := d.Commit(t.Context(), tx); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				last[g] = i
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	close(stop)
	bg.Wait()
	f.set(nil)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d cuts, %d destroyed", len(cuts), destroyed)
	for _, c := range cuts {
		o.FS = c.fs
		e, err := engine.Open(o)
		if err != nil {
			t.Fatalf("%s: %v", c.op, err)
		}
		d, err := e.OpenDataset(1)
		if err != nil {
			t.Fatal(err)
		}
		at := now(t, d)
		for g := range 4 {
			if c.last[g] == 0 {
				continue
			}
			which := -1
			for j := range 4 {
				v, err := value(t, d, at, many, fmt.Sprintf("o%d-%d", g, j))
				if err != nil {
					t.Fatalf("%s: writer %d part %d answered %d: %v", c.op, g, j, c.last[g], err)
				}
				parts := strings.Split(v, ".")
				i, err := strconv.Atoi(parts[min(1, len(parts)-1)])
				if err != nil || v != val(g, i, j) || i < c.last[g] || i > c.last[g]+1 || which >= 0 && i != which {
					t.Fatalf("%s: writer %d part %d: tx %d (before %d), answered %d", c.op, g, j, i, which, c.last[g])
				}
				which = i
			}
		}
		for k := range c.destroyed {
			if _, err := e.OpenDataset(object.DatasetID(100 + k)); err == nil {
				t.Fatalf("%s: destroyed dataset %d is back", c.op, k)
			}
		}
		if u, err := e.Usage(1); err != nil || u.Bytes != e.Accounted(1) {
			t.Fatalf("%s: usage %+v, accounted %d, %v", c.op, u, e.Accounted(1), err)
		}
		if _, err := e.Scrub(t.Context(), 0, func(err error) { t.Error(c.op, err) }); err != nil {
			t.Fatal(err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
