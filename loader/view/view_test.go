package view_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"

	"daos/engine/memstore"
	"daos/internal/fault"
	"daos/loader/view"
)

var ctx = context.Background()

func save(t *testing.T, st view.Store, list uint64, samples []uint64, rng *rand.Rand) string {
	t.Helper()
	w := view.NewWriter(st, list)
	for rest := samples; len(rest) > 0; {
		n := min(len(rest), 1+rng.IntN(300_000))
		if err := w.Add(ctx, rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	n, digest, err := w.Finish(ctx)
	if err != nil || n != uint64(len(samples)) {
		t.Fatalf("%d of %d samples: %v", n, len(samples), err)
	}
	return digest
}

func load(st view.Store, list, n uint64, digest string) (out []uint64, err error) {
	err = view.Read(ctx, st, list, n, digest, func(x []uint64) error {
		out = append(out, x...)
		return nil
	})
	return out, err
}

func TestListsOfAllLengths(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	st := memstore.New()
	want := map[uint64][]uint64{}
	digests := map[uint64]string{}
	for k, n := range []int{0, 1, 1 << 19, 1<<19 + 1, 1_200_000} {
		list := []uint64{5, 1<<64 - 1, 7, 6, 0}[k]
		want[list] = make([]uint64, n)
		for i := range want[list] {
			want[list][i] = rng.Uint64()
		}
		digests[list] = save(t, st, list, want[list], rng)
	}
	check := func() {
		t.Helper()
		for list, samples := range want {
			got, err := load(st, list, uint64(len(samples)), digests[list])
			if err != nil || !slices.Equal(got, samples) {
				t.Fatalf("list %d: %d samples of %d: %v", list, len(got), len(samples), err)
			}
		}
		lists, err := view.Lists(ctx, st)
		var there []uint64
		for list, samples := range want {
			if len(samples) > 0 {
				there = append(there, list)
			}
		}
		slices.Sort(there)
		if err != nil || !slices.Equal(lists, there) {
			t.Fatalf("lists %v, want %v: %v", lists, there, err)
		}
	}
	check()
	for list, samples := range want {
		if err := view.Remove(ctx, st, list); err != nil {
			t.Fatal(err)
		}
		if _, err := load(st, list, uint64(len(samples)), digests[list]); len(samples) > 0 && !fault.Is(err, fault.Corrupt) {
			t.Fatalf("a list that was removed: %v", err)
		}
		delete(want, list)
		check()
	}
}

// TestAListIsWhatWasWritten: another length or digest is damage, a number in use
// is not written over.
func TestAListIsWhatWasWritten(t *testing.T) {
	st, rng := memstore.New(), rand.New(rand.NewPCG(1, 1))
	digest := save(t, st, 9, []uint64{3, 1, 2}, rng)
	for _, c := range []struct {
		n      uint64
		digest string
	}{{2, digest}, {4, digest}, {3, "0" + digest[1:]}} {
		if c.digest == digest && c.n == 3 {
			continue
		}
		if _, err := load(st, 9, c.n, c.digest); !fault.Is(err, fault.Corrupt) {
			t.Errorf("%d samples, digest %s: %v", c.n, c.digest, err)
		}
	}
	w := view.NewWriter(st, 9)
	if err := w.Add(ctx, []uint64{8}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.Finish(ctx); !fault.Is(err, fault.Exists) {
		t.Errorf("a number in use: %v", err)
	}
	if got, err := load(st, 9, 3, digest); err != nil || !slices.Equal(got, []uint64{3, 1, 2}) {
		t.Errorf("%v: %v", got, err)
	}
}
