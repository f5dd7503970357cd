// Package controltest is the suite that every control.Store runs. An
// implementation gives it a Harness; see server/control/local_test.go.
package controltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"daos/internal/fault"
	"daos/server/control"
)

// Harness makes stores to test.
type Harness struct {
	// Open opens the one store of this test, anew after a Close or a Crash.
	Open func(t *testing.T) control.Store
	// Crash abandons the open store as a power cut would; nil: not supported.
	Crash func(t *testing.T)
	// Advance moves the store's clock and ends leases that are due.
	Advance func(t *testing.T, s control.Store, d time.Duration)
	// Compact forgets states older than a revision.
	Compact func(t *testing.T, s control.Store, upto control.Rev)
}

// Run runs the suite; start makes a fresh harness for each part.
func Run(t *testing.T, start func(t *testing.T) Harness) {
	for name, fn := range map[string]func(*testing.T, Harness){
		"CompareAndSwap": testCompareAndSwap,
		"Limits":         testLimits,
		"History":        testHistory,
		"Watch":          testWatch,
		"Lease":          testLease,
		"Counter":        testCounter,
		"Model":          testModel,
		"Crash":          testCrash,
	} {
		t.Run(name, func(t *testing.T) { fn(t, start(t)) })
	}
}

func put(t *testing.T, s control.Store, key, value string) control.Rev {
	t.Helper()
	rev, ok, err := s.Commit(t.Context(), control.Txn{Then: []control.Op{control.Put(key, []byte(value))}})
	if err != nil || !ok {
		t.Fatalf("put %s: %v %v", key, ok, err)
	}
	return rev
}

func read(t *testing.T, s control.Store, prefix string, at control.Rev) map[string]string {
	t.Helper()
	kvs, _, err := s.Range(t.Context(), prefix, at)
	if err != nil {
		t.Fatalf("range %q at %d: %v", prefix, at, err)
	}
	out := map[string]string{}
	for _, kv := range kvs {
		out[kv.Key] = string(kv.Value)
	}
	if !slices.IsSortedFunc(kvs, func(a, b control.KV) int { return bytes.Compare([]byte(a.Key), []byte(b.Key)) }) {
		t.Fatalf("range %q is not in order: %v", prefix, kvs)
	}
	return out
}

func want(t *testing.T, got, want map[string]string) {
	t.Helper()
	if !maps.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func testCompareAndSwap(t *testing.T, h Harness) {
	s, ctx := h.Open(t), t.Context()
	r1 := put(t, s, "a", "1")
	kv, ok, err := s.Get(ctx, "a")
	if err != nil || !ok || kv.Modified != r1 || kv.Created != r1 || string(kv.Value) != "1" {
		t.Fatalf("get: %+v %v %v", kv, ok, err)
	}
	if _, ok, err := s.Commit(ctx, control.Txn{If: []control.Compare{control.Absent("a")}, Then: []control.Op{control.Put("b", nil)}}); ok || err != nil {
		t.Fatalf("absent of a present key: %v %v", ok, err)
	}
	r2, ok, err := s.Commit(ctx, control.Txn{
		If:   []control.Compare{control.Unchanged(kv), control.Absent("b")},
		Then: []control.Op{control.Put("a", []byte("2")), control.Put("b", []byte("x")), control.Delete("nothing")},
	})
	if err != nil || !ok || r2 <= r1 {
		t.Fatalf("swap: %d %v %v", r2, ok, err)
	}
	if _, ok, err := s.Commit(ctx, control.Txn{If: []control.Compare{control.Unchanged(kv)}, Then: []control.Op{control.Delete("a")}}); ok || err != nil {
		t.Fatalf("a stale comparison held: %v %v", ok, err)
	}
	want(t, read(t, s, "", 0), map[string]string{"a": "2", "b": "x"})
	kv, _, _ = s.Get(ctx, "a")
	if kv.Created != r1 || kv.Modified != r2 {
		t.Fatalf("revisions of a: %+v", kv)
	}
	if _, ok, err := s.Commit(ctx, control.Txn{Then: []control.Op{control.Delete("a")}}); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if _, ok, err := s.Get(ctx, "a"); ok || err != nil {
		t.Fatalf("a deleted key: %v %v", ok, err)
	}
	r4 := put(t, s, "a", "3")
	if kv, _, _ = s.Get(ctx, "a"); kv.Created != r4 {
		t.Fatalf("a key made again keeps its old creation: %+v", kv)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Get(ctx, "a"); err == nil {
		t.Fatal("a closed store answers")
	}
	want(t, read(t, h.Open(t), "", 0), map[string]string{"a": "3", "b": "x"})
}

func testLimits(t *testing.T, h Harness) {
	s, ctx := h.Open(t), t.Context()
	many := make([]control.Op, control.MaxOps+1)
	for i := range many {
		many[i] = control.Put(fmt.Sprint(i), nil)
	}
	for name, c := range map[string]struct {
		then []control.Op
		kind fault.Kind
	}{
		"empty key": {[]control.Op{control.Put("", nil)}, fault.Invalid},
		"NUL":       {[]control.Op{control.Put("a\x00b", nil)}, fault.Invalid},
		"twice":     {[]control.Op{control.Put("a", nil), control.Delete("a")}, fault.Invalid},
		"long key":  {[]control.Op{control.Put(string(bytes.Repeat([]byte("k"), control.MaxKey+1)), nil)}, fault.TooBig},
		"big value": {[]control.Op{control.Put("a", make([]byte, control.MaxValue+1))}, fault.TooBig},
		"many":      {many, fault.TooBig},
		"no lease":  {[]control.Op{{Key: "a", Lease: 42}}, fault.NotFound},
	} {
		if _, _, err := s.Commit(ctx, control.Txn{Then: c.then}); !fault.Is(err, c.kind) {
			t.Errorf("%s: %v, want %v", name, err, c.kind)
		}
	}
	want(t, read(t, s, "", 0), map[string]string{})
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if _, _, err := s.Commit(canceled, control.Txn{Then: []control.Op{control.Put("a", nil)}}); !errors.Is(err, context.Canceled) {
		t.Errorf("a canceled commit: %v", err)
	}
}

func testHistory(t *testing.T, h Harness) {
	s := h.Open(t)
	r1 := put(t, s, "p/a", "1")
	r2 := put(t, s, "p/b", "2")
	put(t, s, "q", "x")
	if _, _, err := s.Commit(t.Context(), control.Txn{Then: []control.Op{control.Put("p/a", []byte("3")), control.Delete("p/b")}}); err != nil {
		t.Fatal(err)
	}
	want(t, read(t, s, "p/", r1), map[string]string{"p/a": "1"})
	want(t, read(t, s, "p/", r2), map[string]string{"p/a": "1", "p/b": "2"})
	want(t, read(t, s, "p/", 0), map[string]string{"p/a": "3"})
	h.Compact(t, s, r2+1)
	if _, _, err := s.Range(t.Context(), "", r2); !fault.Is(err, fault.EpochGone) {
		t.Fatalf("a compacted revision: %v", err)
	}
	if err := s.Watch(t.Context(), "", r2, func(control.Rev, []control.Event) error { return nil }); !fault.Is(err, fault.EpochGone) {
		t.Fatalf("a watch from a compacted revision: %v", err)
	}
	if _, _, err := s.Range(t.Context(), "", 1000); !fault.Is(err, fault.Invalid) {
		t.Fatalf("a future revision: %v", err)
	}
	want(t, read(t, s, "p/", r2+1), map[string]string{"p/a": "1", "p/b": "2"})
	want(t, read(t, s, "", 0), map[string]string{"p/a": "3", "q": "x"})
}

var errEnough = errors.New("enough")

func testWatch(t *testing.T, h Harness) {
	s, ctx := h.Open(t), t.Context()
	r1 := put(t, s, "w/a", "1")
	type got struct {
		rev    control.Rev
		events []control.Event
	}
	seen := make(chan got, 100)
	result := make(chan error, 1)
	go func() {
		result <- s.Watch(ctx, "w/", r1, func(rev control.Rev, e []control.Event) error {
			seen <- got{rev, e}
			if len(e) > 0 && e[len(e)-1].Key == "w/end" {
				return errEnough
			}
			return nil
		})
	}()
	r2, _, err := s.Commit(ctx, control.Txn{Then: []control.Op{control.Put("w/b", []byte("2")), control.Delete("w/a"), control.Put("other", nil)}})
	if err != nil {
		t.Fatal(err)
	}
	r3 := put(t, s, "other", "y")
	r4 := put(t, s, "w/end", "")
	if err := <-result; !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	close(seen)
	var events []control.Event
	upto := control.Rev(0)
	for g := range seen {
		if g.rev < upto {
			t.Fatalf("revisions go back: %d after %d", g.rev, upto)
		}
		upto = g.rev
		events = append(events, g.events...)
	}
	if r3 >= r4 || upto != r4 {
		t.Fatalf("watched to %d, want %d", upto, r4)
	}
	lines := []string{}
	for _, e := range events {
		lines = append(lines, fmt.Sprintf("%d %s=%s %v", e.Rev, e.Key, e.Value, e.Deleted))
	}
	expect := []string{
		fmt.Sprintf("%d w/a=1 false", r1), fmt.Sprintf("%d w/a= true", r2), fmt.Sprintf("%d w/b=2 false", r2), fmt.Sprintf("%d w/end= false", r4),
	}
	if !slices.Equal(lines, expect) {
		t.Fatalf("events %q, want %q", lines, expect)
	}
	testWatchLive(t, s)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.Watch(ended, "", 0, func(control.Rev, []control.Event) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Fatalf("a canceled watch: %v", err)
	}
}

// testWatchLive makes each change only when the one before has been seen.
func testWatchLive(t *testing.T, s control.Store) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, now, err := s.Range(ctx, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	seen, result := make(chan string), make(chan error, 1)
	go func() {
		result <- s.Watch(ctx, "live/", now+1, func(_ control.Rev, events []control.Event) error {
			for _, e := range events {
				select {
				case seen <- e.Key:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		})
	}()
	for i := range 20 {
		key := fmt.Sprintf("live/%d", i)
		put(t, s, key, "")
		select {
		case got := <-seen:
			if got != key {
				t.Fatalf("saw %s, want %s", got, key)
			}
		case <-ctx.Done():
			t.Fatalf("the change of %s was never seen", key)
		}
	}
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func testLease(t *testing.T, h Harness) {
	s, ctx := h.Open(t), t.Context()
	id, err := s.Grant(ctx, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok, err := s.Commit(ctx, control.Txn{Then: []control.Op{{Key: "l/a", Lease: id}, {Key: "l/b", Lease: id}, {Key: "l/c"}}}); !ok || err != nil {
		t.Fatal(ok, err)
	}
	put(t, s, "l/b", "free") // written without the lease: no longer hangs on it
	h.Advance(t, s, 9*time.Second)
	if err := s.KeepAlive(ctx, id); err != nil {
		t.Fatal(err)
	}
	h.Advance(t, s, 9*time.Second)
	want(t, read(t, s, "l/", 0), map[string]string{"l/a": "", "l/b": "free", "l/c": ""})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = h.Open(t) // the lease lives on, from the start of its time
	h.Advance(t, s, 9*time.Second)
	want(t, read(t, s, "l/", 0), map[string]string{"l/a": "", "l/b": "free", "l/c": ""})
	h.Advance(t, s, 2*time.Second)
	want(t, read(t, s, "l/", 0), map[string]string{"l/b": "free", "l/c": ""})
	if err := s.KeepAlive(ctx, id); !fault.Is(err, fault.NotFound) {
		t.Fatalf("renewing an ended lease: %v", err)
	}
	id, err = s.Grant(ctx, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Commit(ctx, control.Txn{Then: []control.Op{{Key: "l/d", Lease: id}}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Revoke(ctx, id); err != nil {
		t.Fatal(err)
	}
	want(t, read(t, s, "l/", 0), map[string]string{"l/b": "free", "l/c": ""})
}

// testCounter increments from many goroutines: no increment may be lost.
func testCounter(t *testing.T, h Harness) {
	s, ctx := h.Open(t), t.Context()
	const workers, each = 8, 25
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for done := 0; done < each; {
				kv, _, err := s.Get(ctx, "n")
				if err != nil {
					t.Error(err)
					return
				}
				var n int
				_, _ = fmt.Sscan(string(kv.Value), &n) // absent: 0
				_, ok, err := s.Commit(ctx, control.Txn{
					If:   []control.Compare{{Key: "n", Modified: kv.Modified}},
					Then: []control.Op{control.Put("n", []byte(fmt.Sprint(n+1)))},
				})
				if err != nil {
					t.Error(err)
					return
				}
				if ok {
					done++
				}
			}
		})
	}
	wg.Wait()
	want(t, read(t, s, "n", 0), map[string]string{"n": fmt.Sprint(workers * each)})
}

// testModel compares a random history, with every past state, against a map.
func testModel(t *testing.T, h Harness) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	s, ctx := h.Open(t), t.Context()
	now := map[string]string{}
	states := map[control.Rev]map[string]string{}
	oldest := control.Rev(0)
	for i := range 300 {
		switch rng.IntN(20) {
		case 0:
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = h.Open(t)
		case 1:
			if _, rev, err := s.Range(ctx, "", 0); err != nil {
				t.Fatal(err)
			} else if rev > 10 {
				oldest = rev - 10
				h.Compact(t, s, oldest)
			}
		}
		var txn control.Txn
		next := maps.Clone(now)
		for _, k := range rng.Perm(12)[:1+rng.IntN(4)] {
			key := fmt.Sprintf("k%d", k)
			if rng.IntN(3) == 0 {
				txn.Then = append(txn.Then, control.Delete(key))
				delete(next, key)
			} else {
				value := fmt.Sprint(i, key)
				txn.Then = append(txn.Then, control.Put(key, []byte(value)))
				next[key] = value
			}
		}
		rev, ok, err := s.Commit(ctx, txn)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		now = next
		states[rev] = now
		want(t, read(t, s, "", 0), now)
	}
	for rev, state := range states {
		if rev >= oldest {
			want(t, read(t, s, "", rev), state)
		}
	}
}

// testCrash cuts the power between transactions: whatever was answered is there.
func testCrash(t *testing.T, h Harness) {
	if h.Crash == nil {
		t.Log("this store has no crash to simulate; its own tests kill the process")
		return
	}
	now := map[string]string{}
	s := h.Open(t)
	last := control.Rev(0)
	for i := range 20 {
		for j := range 5 {
			key := fmt.Sprintf("k%d", (i+j)%7)
			now[key] = fmt.Sprint(i, j)
			rev := put(t, s, key, now[key])
			if rev <= last {
				t.Fatalf("revision %d after %d", rev, last)
			}
			last = rev
		}
		h.Crash(t)
		s = h.Open(t)
		want(t, read(t, s, "", 0), now)
	}
}
