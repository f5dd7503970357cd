package manifest_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"daos/dataset/tensor"
	"daos/dataset/tensor/tensortest"
	"daos/engine/object"
	"daos/internal/fault"
	"daos/loader/loadertest"
	"daos/loader/manifest"
)

func openOne(t testing.TB, r manifest.Request) *manifest.Manifest {
	t.Helper()
	lib := manifest.NewLibrary(0, manifest.MaxOpen)
	t.Cleanup(lib.Close)
	m, _, _, err := lib.Open(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestElements(t *testing.T) {
	rng, st := seeded(t), loadertest.New(t)
	tab := tensor.Open(st, "p/t")
	cols := []tensor.Column{
		{Name: "tokens", Layout: tensor.Ragged, DType: tensor.Uint16, Nullable: true, ChunkSamples: 7},
		{Name: "text", Layout: tensor.String, ChunkSamples: 50},
		{Name: "row", Layout: tensor.Fixed, DType: tensor.Int32, Shape: []uint64{5}, ChunkSamples: 3},
	}
	if _, err := tab.Define(ctx, object.RequestID{}, cols); err != nil {
		t.Fatal(err)
	}
	lengths := make([][]uint64, len(cols))
	for range 6 {
		n := 1 + rng.IntN(40)
		part := make([]tensortest.Cells, len(cols))
		for i := range cols {
			part[i] = tensortest.RandomCells(rng, &cols[i], n)
			for k := range part[i] {
				if i < 2 && rng.IntN(4) == 0 {
					part[i][k] = []byte{}
				}
				lengths[i] = append(lengths[i], uint64(len(part[i][k]))/[]uint64{2, 1, 4}[i])
			}
		}
		if _, err := tab.Append(ctx, tensor.AppendOptions{}, tensortest.Source(tensortest.PackRows(cols, part))); err != nil {
			t.Fatal(err)
		}
	}
	at, err := st.ReadEpoch(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	m := openOne(t, manifest.Request{Dir: t.TempDir(), Store: st, Table: tab, Info: manifest.Info{Dataset: "p/t", DatasetID: 8, Snapshot: "v1", Epoch: at, Tensor: true}})
	for i := range cols {
		for extra := range uint64(2) {
			var samples, starts, all []uint64
			for s, n := range lengths[i] {
				start := uint64(len(samples))
				for range n + extra {
					samples, starts, all = append(samples, uint64(s)), append(starts, start), append(all, uint64(len(all)))
				}
			}
			rng.Shuffle(len(all), func(a, b int) {
				all[a], all[b] = all[b], all[a]
				samples[a], samples[b] = samples[b], samples[a]
				starts[a], starts[b] = starts[b], starts[a]
			})
			gotSamples, gotStarts, total, err := m.Elements(ctx, cols[i].Name, extra, all)
			if err != nil || total != uint64(len(all)) || !slices.Equal(gotSamples, samples) || !slices.Equal(gotStarts, starts) {
				t.Fatalf("%s, %d more: %d elements, %v\n%v\n%v", cols[i].Name, extra, total, err, gotSamples, samples)
			}
			if _, _, _, err := m.Elements(ctx, cols[i].Name, extra, []uint64{total}); !fault.Is(err, fault.Invalid) {
				t.Errorf("past the end: %v", err)
			}
		}
	}
	if _, _, _, err := m.Elements(ctx, "tokens", 2, nil); !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
	if _, _, _, err := m.Elements(ctx, "nope", 0, nil); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
}

func TestClassSizes(t *testing.T) {
	rng := seeded(t)
	st, fs := newFS(t)
	want := randomClasses(rng)
	for c, n := range want {
		for i := range n {
			write(t, fs, fmt.Sprintf("%03d/%d", c, i), "x")
		}
	}
	write(t, fs, "no class", "x")
	m := openOne(t, request(t, t.TempDir(), st, fs, manifest.Selection{LabelDirname: true}))
	got, err := m.ClassSizes(ctx)
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("%v, want %v: %v", got, want, err)
	}
	none, err := openOne(t, request(t, t.TempDir(), st, fs, manifest.Selection{})).ClassSizes(ctx)
	if err != nil || none != nil {
		t.Fatal(none, err)
	}
}

func randomClasses(rng *rand.Rand) []uint64 {
	want := []uint64{1, 1, 70}
	for range rng.IntN(5) {
		want = append(want, 1+rng.Uint64N(20))
	}
	return want
}
