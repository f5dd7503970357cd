package hlc_test

import (
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"daos/engine/hlc"
	"daos/engine/object"
	"daos/internal/fault"
)

var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// TestNeverBack drives the pure clock through random jumps of the wall clock,
// observed epochs, refused ceilings, and restarts at any moment from the
// ceiling that was durable then.
func TestNeverBack(t *testing.T) {
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 1))
		wall := start
		var last, durable object.Epoch
		c := hlc.New(0)
		for range 200 {
			switch rng.IntN(8) {
			case 0:
				wall = wall.Add(time.Duration(rng.Int64N(int64(time.Hour))) - 30*time.Minute)
			case 1:
				c = hlc.New(durable) // a crash
			case 2:
				if seen := last + object.Epoch(rng.Uint64N(1<<34)); c.Observe(wall, seen) == nil {
					last = max(last, seen)
				}
			case 3, 4:
				durable = max(durable, max(object.EpochAt(wall), c.Last())+3_000_000<<12)
				c.Raise(durable)
			default:
				wall = wall.Add(time.Duration(rng.Int64N(int64(time.Second))))
			}
			for range rng.IntN(5) {
				e, ok := c.Next(wall)
				if !ok {
					continue
				}
				if e <= last {
					t.Fatalf("seed %d: %d after %d", seed, e, last)
				}
				if e >= durable {
					t.Fatalf("seed %d: %d is not below the durable ceiling %d", seed, e, durable)
				}
				last = e
			}
		}
	}
}

func TestFutureIsBounded(t *testing.T) {
	c := hlc.New(0)
	c.Raise(object.EpochMax)
	if err := c.Observe(start, object.EpochAt(start.Add(hlc.Bound+time.Millisecond))); !fault.Is(err, fault.Invalid) {
		t.Fatalf("far future: %v", err)
	}
	seen := object.EpochAt(start.Add(hlc.Bound / 2))
	if err := c.Observe(start, seen); err != nil {
		t.Fatal(err)
	}
	if e, _ := c.Next(start); e <= seen {
		t.Fatalf("%d is not above the observed %d", e, seen)
	}
}

func TestSource(t *testing.T) {
	var mu sync.Mutex
	var durable object.Epoch
	broken := false
	keep := func(e object.Epoch) error {
		mu.Lock()
		defer mu.Unlock()
		if broken {
			return errors.New("disk")
		}
		durable = e
		return nil
	}
	s, err := hlc.NewSource(0, time.Now, keep)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	all := make([][]object.Epoch, 8)
	for i := range all {
		wg.Go(func() {
			for range 2000 {
				if err := s.Ensure(); err != nil {
					t.Error(err)
				}
				e, ok := s.Next()
				if !ok {
					t.Error("no room")
				}
				all[i] = append(all[i], e)
			}
		})
	}
	wg.Wait()
	seen := map[object.Epoch]bool{}
	for _, l := range all {
		for i, e := range l {
			if seen[e] || i > 0 && e <= l[i-1] {
				t.Fatalf("epoch %d given twice or out of order", e)
			}
			seen[e] = true
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for e := range seen {
		if e >= durable {
			t.Fatalf("%d is not below the ceiling %d kept at close", e, durable)
		}
	}
	if _, ok := s.Next(); ok {
		t.Fatal("an epoch after close")
	}
	// A disk that refuses: Ensure says so once there is no room left.
	now := start
	broken = false
	s, err = hlc.NewSource(0, func() time.Time { return now }, keep)
	if err != nil {
		t.Fatal(err)
	}
	broken = true
	now = now.Add(time.Minute)
	if s.Ensure() == nil {
		t.Fatal("Ensure must tell that the ceiling can't be kept")
	}
	if e, ok := s.Next(); !ok || e >= durable {
		t.Fatalf("reads need epochs below the old ceiling: %d %v", e, ok)
	}
}
