package tensor_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"daos/dataset/tensor"
	"daos/dataset/tensor/tensortest"
	"daos/engine"
)

// TestLens_EqualsReads looks at random rows of columns of all layouts, written in
// pieces and partly written over, and compares with what is read of them.
func TestLens_EqualsReads(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 7))
	ctx := context.Background()
	e, err := engine.Open(engine.Options{Root: t.TempDir(), SweepEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	d, err := e.CreateDataset(ctx, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	tab := tensor.Open(d, "p/t")
	cols := []tensor.Column{
		{Name: "i", Layout: tensor.Fixed, DType: tensor.Int64, ChunkSamples: 900},
		{Name: "f", Layout: tensor.Fixed, DType: tensor.Float32, Nullable: true, ChunkSamples: 2000},
		{Name: "b", Layout: tensor.Fixed, DType: tensor.Bool, Nullable: true, ChunkSamples: 2500},
		{Name: "h", Layout: tensor.Fixed, DType: tensor.Float16, ChunkSamples: 1500},
		{Name: "m", Layout: tensor.Fixed, DType: tensor.Uint8, Shape: []uint64{3, 7}, ChunkSamples: 333},
		{Name: "s", Layout: tensor.String, DType: tensor.Uint8, Nullable: true, ChunkSamples: 1100},
		{Name: "r", Layout: tensor.Ragged, DType: tensor.Int16, ChunkSamples: 700},
	}
	if _, err := tab.Define(ctx, [16]byte{}, cols); err != nil {
		t.Fatal(err)
	}
	some := func(n int) *tensor.Rows {
		cells := make([]tensortest.Cells, len(cols))
		for c := range cols {
			cells[c] = tensortest.RandomCells(rng, &cols[c], n)
		}
		return tensortest.PackRows(cols, cells)
	}
	total := uint64(0)
	for _, n := range []int{3000, 5, 1200, 4000} {
		if _, err := tab.Append(ctx, tensor.AppendOptions{}, tensortest.Source(some(n))); err != nil {
			t.Fatal(err)
		}
		total += uint64(n)
	}
	if _, err := tab.Overwrite(ctx, tensor.OverwriteOptions{Start: total - 40}, tensortest.Source(some(30))); err != nil {
		t.Fatal(err)
	}
	p, err := tab.Pin(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	l := p.Lens()
	defer l.Close()
	seen := 0
	for range 600 {
		col := rng.IntN(len(cols))
		a, b := rng.Uint64N(total), rng.Uint64N(total)
		from, to := min(a, b), max(a, b)+1
		if rng.IntN(2) == 0 {
			to = min(to, from+uint64(rng.IntN(300))+1)
		}
		got, err := l.Look(ctx, col, from, to, rng.IntN(2) == 0)
		if err != nil {
			t.Fatal(err)
		}
		want, err := p.Range(ctx, col, from, to)
		if err != nil {
			t.Fatal(err)
		}
		n := int(to - from)
		if got != nil {
			seen++
			compare(t, &cols[col], got, want, n, "look")
		}
		var rows []uint32
		var ids []uint64
		for i := range n {
			if rng.IntN(5) == 0 {
				rows, ids = append(rows, uint32(i)), append(ids, from+uint64(i))
			}
		}
		if got, err = l.Pick(ctx, col, from, rows); err != nil {
			t.Fatal(err)
		}
		if got == nil {
			continue
		}
		seen++
		ds, err := p.Rows(ctx, []int{col}, ids)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, &cols[col], got, &ds[0], len(rows), "pick")
	}
	if seen < 300 {
		t.Errorf("%d of 1200 reads were done without a copy", seen)
	}
}

func compare(t *testing.T, c *tensor.Column, got, want *tensor.Data, n int, what string) {
	t.Helper()
	same := func(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }
	if !slices.EqualFunc(tensortest.Unpack(c, got, n), tensortest.Unpack(c, want, n), same) {
		t.Fatalf("%s of %s differs", what, c.Name)
	}
}
