package engine_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"daos/engine"
	"daos/engine/object"
	"daos/internal/fault"
)

// TestPowerLoss_Refused cuts the power while a target's disk is full time and
// again, so that what the journal holds of the other targets is taken back:
// what was answered is there, what was refused is not, nothing is half.
func TestPowerLoss_Refused(t *testing.T) {
	const writers, each, parts = 3, 14, 6
	type promised struct{ acked, failed map[string]bool }
	acked, failed := map[string]bool{}, map[string]bool{}
	c := cutPower(t, 21, longer(17, 1), engine.Options{SyncEvery: 10 * time.Millisecond},
		func() promised { return promised{maps.Clone(acked), maps.Clone(failed)} },
		func(rng *rand.Rand, op errorfs.Op) error {
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
				_, err := c.d.Commit(t.Context(), tx)
				if err != nil && !fault.Is(err, fault.NoSpace) {
					t.Errorf("commit: %v", err)
					return
				}
				c.mu.Lock()
				if err == nil {
					acked[name(g, i, 0)] = true
				} else {
					failed[name(g, i, 0)] = true
				}
				c.mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(failed) == 0 || len(acked) == 0 {
		t.Fatalf("%d were answered, %d refused", len(acked), len(failed))
	}
	t.Logf("%d were answered, %d refused", len(acked), len(failed))
	c.end(t, func(_ *engine.Engine, d *engine.Dataset, at object.Epoch, cut powerCut[promised]) {
		for g := range writers {
			for i := range each {
				have := 0
				for j := range parts {
					v, err := value(t, d, at, many, name(g, i, j))
					if err == nil && len(v) == 20+(j%2)*2000 {
						have++
					} else if !fault.Is(err, fault.NotFound) {
						t.Fatalf("%s: %s: %d bytes, %v", cut.op, name(g, i, j), len(v), err)
					}
				}
				acked, failed := cut.note.acked[name(g, i, 0)], cut.note.failed[name(g, i, 0)]
				if have != 0 && have != parts || acked && have == 0 || failed && have > 0 {
					t.Fatalf("%s: %d of %d pieces of %s are there; answered: %v, refused: %v", cut.op, have, parts, name(g, i, 0), acked, failed)
				}
			}
		}
	})
}
