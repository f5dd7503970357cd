package vos_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"daos/engine/object"
	"daos/engine/vos"
)

// clock gives out epochs and knows below which all are decided.
type clock struct {
	mu   sync.Mutex
	next object.Epoch
	busy map[object.Epoch]bool
}

func (c *clock) begin() object.Epoch {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next++
	c.busy[c.next] = true
	return c.next
}

func (c *clock) end(e object.Epoch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.busy, e)
}

// closed is an epoch at or below which nothing can change any more.
func (c *clock) closed() object.Epoch {
	c.mu.Lock()
	defer c.mu.Unlock()
	low := c.next
	for e := range c.busy {
		low = min(low, e-1)
	}
	return low
}

func TestConcurrent_WritersReadersSweepsAborts(t *testing.T) {
	rng := seed(t)
	o := options(nil, t.TempDir())
	o.SegmentCap, o.MemTable = 1<<20, 256<<10
	v, err := vos.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	}()
	c := &clock{next: 100, busy: map[object.Epoch]bool{}}
	ctx, cancel := context.WithCancel(context.Background())
	var work, background sync.WaitGroup
	const workers = 8
	steps := 30 * long()
	for w := range workers {
		r := rand.New(rand.NewPCG(rng.Uint64(), uint64(w)))
		work.Go(func() {
			if err := writer(ctx, v, c, r, oid(uint64(w+1)), steps); err != nil {
				t.Errorf("writer %d: %v", w, err)
			}
		})
	}
	background.Go(func() { // sweeps as fast as it can: every floor that is closed
		for ctx.Err() == nil {
			if _, err := v.Sweep(ctx, testDS, nil, c.closed()); err != nil && ctx.Err() == nil {
				t.Errorf("sweep: %v", err)
				return
			}
		}
	})
	background.Go(func() { // scans see no half batch: both values of one are equal
		for ctx.Err() == nil {
			at := c.closed()
			seen := map[object.ID]object.Epoch{}
			err := v.Scan(ctx, testDS, at, 0, 1<<32-1, nil, func(r object.Row, _ []byte) bool {
				if e, ok := seen[r.OID]; ok && e != r.Epoch && string(r.Dkey) == "twin" {
					t.Errorf("scan at %d: twins of %v at epochs %d and %d", at, r.OID, e, r.Epoch)
				}
				if string(r.Dkey) == "twin" {
					seen[r.OID] = r.Epoch
				}
				return true
			})
			// A sweep may have passed this epoch meanwhile; rows are then missing, not torn.
			if err != nil && ctx.Err() == nil {
				t.Errorf("scan: %v", err)
				return
			}
		}
	})
	work.Wait()
	cancel()
	background.Wait()
	if err := checkUsage(v); err != nil {
		t.Error(err)
	}
}

func writer(ctx context.Context, v *vos.Target, c *clock, r *rand.Rand, o object.ID, steps int) error {
	last := map[string]string{} // what this writer's object holds
	for step := range steps {
		e := c.begin()
		name := fmt.Sprintf("k%d", r.IntN(4))
		data := string(make([]byte, []int{10, 2000, 70000}[r.IntN(3)])) + fmt.Sprint(e)
		b := batch(e, put(o, name, "v", data), put(o, "twin", "a", fmt.Sprint(e)), put(o, "twin", "b", fmt.Sprint(e)))
		if r.IntN(5) == 0 {
			b.Writes = append(b.Writes, placed(write(o, "array", "0", uint64(r.IntN(2<<20)), []byte(data))))
		}
		abort := r.IntN(4) == 0
		if abort {
			b.Participants = []uint16{3, 4}
		}
		b.Deferred = r.IntN(6) == 0
		if err := v.Prepare(ctx, b); err != nil {
			return err
		}
		if abort {
			if err := v.Abort(ctx, testDS, e); err != nil {
				return err
			}
		} else {
			last[name] = data
		}
		c.end(e)
		for k, want := range last {
			got, ok, err := readValue(v, e, o, k, "v")
			if err != nil || !ok || got != want {
				return fmt.Errorf("step %d: %s at %d: %d bytes %v %w, want %d", step, k, e, len(got), ok, err, len(want))
			}
		}
		if step%10 == 0 {
			if err := v.Sync(); err != nil {
				return err
			}
		}
	}
	return nil
}
