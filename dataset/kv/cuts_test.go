package kv_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"daos/dataset/kv"
	"daos/engine"
	"daos/engine/memstore"
	"daos/engine/object"
)

// TestCutsArePiecesOfTheWhole: together they are the range in its order, they are
// about as large, and the same at every call.
func TestCutsArePiecesOfTheWhole(t *testing.T) {
	e, err := engine.Open(engine.Options{Root: t.TempDir(), SweepEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	onDisk, err := e.CreateDataset(t.Context(), 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	for name, st := range map[string]object.Store{"memory": memstore.New(), "engine": onDisk} {
		t.Run(name, func(t *testing.T) { cutsOf(t, st) })
	}
}

func cutsOf(t *testing.T, st object.Store) {
	ctx := t.Context()
	d := kv.Open(st, kv.Options{})
	rng := rand.New(rand.NewPCG(5, 5))
	const n = 60_000
	var ops []kv.Op
	flush := func() {
		t.Helper()
		if _, err := d.Apply(ctx, object.RequestID{}, ops); err != nil {
			t.Fatal(err)
		}
		ops = ops[:0]
	}
	for i := range n {
		o := kv.Op{Kind: kv.OpPut, Key: fmt.Appendf(nil, "run/%02d/%x", rng.IntN(3)*rng.IntN(30), rng.Uint64()), Value: []byte("v")}
		if i%500 == 0 {
			o.Akey = []byte("x")
		}
		if ops = append(ops, o); len(ops) == kv.MaxBatch {
			flush()
		}
	}
	flush()
	head, err := d.Head(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	keys := func(v *kv.View, r kv.Range) (out []string) {
		t.Helper()
		if err := v.Scan(ctx, r, func(p *kv.Pair) bool { out = append(out, string(p.Key)+"\x00"+string(p.Akey)); return true }); err != nil {
			t.Fatal(err)
		}
		return out
	}
	for _, r := range []kv.Range{{}, {KeysOnly: true, Reverse: true}, {Prefix: []byte("run/0")}, {Start: []byte("run/01"), Stop: []byte("run/9"), Prefix: []byte("run")}} {
		whole := keys(head, r)
		cuts, err := head.Cuts(ctx, r, 8)
		if err != nil || len(cuts) != 7 || !slices.IsSortedFunc(cuts, bytes.Compare) {
			t.Fatalf("%d cuts of %d pairs: %v", len(cuts), len(whole), err)
		}
		var joined []string
		for _, p := range r.Pieces(cuts) {
			piece := keys(head, p)
			if len(piece) > len(whole)/4 {
				t.Errorf("a piece of %d of %d pairs", len(piece), len(whole))
			}
			joined = append(joined, piece...)
		}
		if !slices.Equal(joined, whole) {
			t.Fatalf("the pieces of %+v are not the whole", r)
		}
		for range 2 { // also of one that does not remember
			again, err := kv.Open(st, kv.Options{}).At(head.Epoch()).Cuts(ctx, r, 8)
			if err != nil || !slices.EqualFunc(again, cuts, bytes.Equal) {
				t.Fatalf("other cuts at the same epoch: %v", err)
			}
		}
	}
	for what, r := range map[string]kv.Range{"few": {Prefix: []byte("run/58")}, "one": {Start: []byte("run/00"), Stop: []byte("run/00\x00")}, "none": {Prefix: []byte("z")}} {
		if cuts, err := head.Cuts(ctx, r, 8); err != nil || len(cuts) > 0 {
			t.Errorf("%s: %d cuts: %v", what, len(cuts), err)
		}
	}
	if cuts, err := head.Cuts(ctx, kv.Range{}, 1); err != nil || len(cuts) > 0 {
		t.Errorf("one piece has %d cuts: %v", len(cuts), err)
	}
	// What is written later changes nothing at this epoch.
	before, err := head.Cuts(ctx, kv.Range{}, 5)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20_000 {
		if ops = append(ops, kv.Op{Kind: kv.OpPut, Key: fmt.Appendf(nil, "a%d", i)}); len(ops) == kv.MaxBatch {
			flush()
		}
	}
	flush()
	after, err := kv.Open(st, kv.Options{}).At(head.Epoch()).Cuts(ctx, kv.Range{}, 5)
	if err != nil || !slices.EqualFunc(after, before, bytes.Equal) {
		t.Fatalf("other cuts after later writes: %v", err)
	}
}
