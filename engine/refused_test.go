package engine_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"daos/engine"
	"daos/engine/object"
	"daos/internal/fault"
)

// TestPowerLoss_Refused cuts the power while a target's disk is full time and
// again, so that what the journal holds of the other targets is taken back:
// what was answered is there, what was refused is not, nothing is half.
func TestPowerLoss_Refused(t *testing.T) {
	seed := seeds("DAOS_POWER_SEED", uint64(time.Now().UnixNano()))
	t.Logf("DAOS_POWER_SEED=%d", seed)
	const writers, each, parts = 3, 14, 6
	type cut struct {
		fs            *vfs.MemFS
		acked, failed map[string]bool
		op            string
	}
	var (
		mu            sync.Mutex
		rng           = rand.New(rand.NewPCG(seed, 21))
		mem           = vfs.NewCrashableMem()
		f             = &faults{}
		acked, failed = map[string]bool{}, map[string]bool{}
		cuts          []cut
		n             uint64
		every         = seeds("DAOS_POWER_EVERY", longer(17, 1))
	)
	has := func(m map[string]bool) map[string]bool {
		out := map[string]bool{}
		for k := range m {
			out[k] = true
		}
		return out
	}
	o := engine.Options{Root: "/r", FS: errorfs.Wrap(mem, f), Targets: 3, SweepEvery: -1, SyncEvery: 10 * time.Millisecond,
		Logger: quiet(), JournalBytes: []int64{16 << 10, 1 << 20}[seed%2]}
	e, err := engine.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	d := create(t, e, 1, 1)
	journaled(t, mem, "/r", d)
	f.set(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		if n++; n%every == 0 {
			disk := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 0, 50, 100}[rng.IntN(4)], RNG: rng})
			cuts = append(cuts, cut{disk, has(acked), has(failed), fmt.Sprintf("write %d (%v %s)", n, op.Kind, op.Path)})
		}
		if strings.Contains(op.Path, "target-1/seg") && rng.IntN(4) == 0 {
			return syscall.ENOSPC
		}
		return nil
	})
	name := func(g, i, j int) string { return fmt.Sprintf("w%d-%d-%d", g, i, j) }
	var wg sync.WaitGroup
	for g := range writers {
		wg.Go(func() {
			for i := range each {
				tx := &object.Tx{}
				for j := range parts {
					tx.Writes = append(tx.Writes, put(many, name(g, i, j), 20+(j%2)*2000))
				}
				_, err := d.Commit(t.Context(), tx)
				if err != nil && !fault.Is(err, fault.NoSpace) {
					t.Errorf("commit: %v", err)
					return
				}
				mu.Lock()
				if err == nil {
					acked[name(g, i, 0)] = true
				} else {
					failed[name(g, i, 0)] = true
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	f.set(nil)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if len(failed) == 0 || len(acked) == 0 {
		t.Fatalf("%d were answered, %d refused", len(acked), len(failed))
	}
	t.Logf("%d were answered, %d refused, %d power losses", len(acked), len(failed), len(cuts))
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
		for g := range writers {
			for i := range each {
				have := 0
				for j := range parts {
					v, err := value(t, d, at, many, name(g, i, j))
					if err == nil && len(v) == 20+(j%2)*2000 {
						have++
					} else if !fault.Is(err, fault.NotFound) {
						t.Fatalf("%s: %s: %d bytes, %v", c.op, name(g, i, j), len(v), err)
					}
				}
				if key := name(g, i, 0); have != 0 && have != parts || c.acked[key] && have == 0 || c.failed[key] && have > 0 {
					t.Fatalf("%s: %d of %d pieces of %s are there; answered: %v, refused: %v", c.op, have, parts, key, c.acked[key], c.failed[key])
				}
			}
		}
		if u, err := e.Usage(1); err != nil || u.Bytes != e.Accounted(1) {
			t.Fatalf("%s: usage %+v, accounted %d, %v", c.op, u, e.Accounted(1), err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
