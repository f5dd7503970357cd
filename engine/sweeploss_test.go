package engine_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"daos/engine"
	"daos/engine/object"
)

// TestPowerLoss_Sweeps cuts the power while keys are overwritten and swept at
// once, and datasets come and go: of each writer all keys are those of one
// transaction, the last that was answered or the one under way, so what was
// hidden by one that is taken back has not been swept.
func TestPowerLoss_Sweeps(t *testing.T) {
	type promised struct {
		last      [4]int
		destroyed int
	}
	var have promised
	c := cutPower(t, 22, longer(13, 2), engine.Options{SyncEvery: 5 * time.Millisecond, Window: time.Nanosecond},
		func() promised { return have }, func(*rand.Rand, errorfs.Op) error { return nil })
	e, d := c.e, c.d
	if err := e.SetPins(1, nil); err != nil {
		t.Fatal(err)
	}
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
			c.mu.Lock()
			have.destroyed = k + 1
			c.mu.Unlock()
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
				c.mu.Lock()
				have.last[g] = i
				c.mu.Unlock()
			}
		})
	}
	wg.Wait()
	close(stop)
	bg.Wait()
	t.Logf("%d datasets were destroyed", have.destroyed)
	c.end(t, func(e *engine.Engine, d *engine.Dataset, at object.Epoch, cut powerCut[promised]) {
		for g := range 4 {
			if cut.note.last[g] == 0 {
				continue
			}
			which := -1
			for j := range 4 {
				v, err := value(t, d, at, many, fmt.Sprintf("o%d-%d", g, j))
				if err != nil {
					t.Fatalf("%s: writer %d part %d answered %d: %v", cut.op, g, j, cut.note.last[g], err)
				}
				parts := strings.Split(v, ".")
				i, err := strconv.Atoi(parts[min(1, len(parts)-1)])
				if err != nil || v != val(g, i, j) || i < cut.note.last[g] || i > cut.note.last[g]+1 || which >= 0 && i != which {
					t.Fatalf("%s: writer %d part %d: tx %d (before %d), answered %d", cut.op, g, j, i, which, cut.note.last[g])
				}
				which = i
			}
		}
		for k := range cut.note.destroyed {
			if _, err := e.OpenDataset(object.DatasetID(100 + k)); err == nil {
				t.Fatalf("%s: destroyed dataset %d is back", cut.op, k)
			}
		}
	})
}
