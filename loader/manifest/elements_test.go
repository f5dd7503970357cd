package manifest_test

import (
	"bytes"
	"encoding/binary"
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
		{Name: "scalar", Layout: tensor.Fixed, DType: tensor.Int32, ChunkSamples: 11},
	}
	if _, err := tab.Define(ctx, object.RequestID{}, cols); err != nil {
		t.Fatal(err)
	}
	cells := make([]tensortest.Cells, len(cols))
	for range 6 {
		n := 1 + rng.IntN(40)
		part := make([]tensortest.Cells, len(cols))
		for i := range cols {
			part[i] = tensortest.RandomCells(rng, &cols[i], n)
			for k := range part[i] {
				if i < 2 && (rng.IntN(4) == 0 || k > n/3 && k < n/2) {
					part[i][k] = []byte{}
				}
				cells[i] = append(cells[i], part[i][k])
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
		size := uint64([]int{2, 1, 4, 4}[i])
		for extra := range uint64(2) {
			compareElements(t, rng, m, &cols[i], extra, size, cells[i])
		}
	}
	for _, r := range []manifest.Ranges{
		{Column: "tokens", Extra: 2}, {Column: "tokens", Starts: []uint64{0}, Samples: []uint64{0}}, {Column: "tokens", Samples: []uint64{1 << 40}, Count: 1},
	} {
		if _, err := m.ReadElements(ctx, &r, 1<<20); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", r, err)
		}
	}
	for _, r := range []manifest.Ranges{
		{Column: "tokens", Count: manifest.MaxElements + 1}, {Column: "tokens", Count: 1 << 21, Starts: []uint64{0, 1, 2}},
		{Column: "row", Count: 100, Starts: []uint64{0}}, {Column: "tokens", Starts: make([]uint64, manifest.MaxRanges+1)},
	} {
		if _, err := m.ReadElements(ctx, &r, 30); !fault.Is(err, fault.TooBig) {
			t.Errorf("%s: %v", r.Column, err)
		}
	}
	if _, err := m.ReadElements(ctx, &manifest.Ranges{Column: "nope"}, 1); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
}

// element is one of all that are laid end to end; a separator has no bytes.
type element struct {
	sample, number uint64
	b              []byte
}

// compareElements reads ranges of a column, and compares with its cells laid
// end to end.
func compareElements(t *testing.T, rng *rand.Rand, m *manifest.Manifest, c *tensor.Column, extra, size uint64, cells tensortest.Cells) {
	t.Helper()
	var all []element
	first := make([]uint64, len(cells))
	for s, cell := range cells {
		first[s] = uint64(len(all))
		n := uint64(len(cell)) / size
		for k := range n {
			all = append(all, element{uint64(s), k, cell[k*size : (k+1)*size]})
		}
		if extra == 1 {
			all = append(all, element{uint64(s), n, nil})
		}
	}
	r := manifest.Ranges{Column: c.Name, Extra: extra, Count: 1 + rng.Uint64N(40)}
	for range 30 {
		r.Starts = append(r.Starts, rng.Uint64N(uint64(len(all))))
	}
	check := func(ends func(k int) (from, to uint64)) {
		t.Helper()
		got, err := m.ReadElements(ctx, &r, 1<<20)
		if err != nil || got.Total != uint64(len(all)) {
			t.Fatalf("%s, %d more: %d elements, want %d: %v", c.Name, extra, got.Total, len(all), err)
		}
		runs := uint64(0)
		for _, n := range got.Runs {
			runs += uint64(n)
		}
		table, data := got.Payload[:24*runs], got.Payload[24*runs:]
		for k, n := range got.Runs {
			from, to := ends(k)
			want := all[from:to]
			for range n {
				sample, number, own := binary.LittleEndian.Uint64(table), binary.LittleEndian.Uint64(table[8:]), binary.LittleEndian.Uint64(table[16:])
				table = table[24:]
				for i := range own / 2 {
					if c.Name == "scalar" && extra == 0 { // a run of several samples
						sample, number = sample+min(i, 1), -i
					}
					if len(want) == 0 || want[0].sample != sample || want[0].number != number+i || !bytes.Equal(want[0].b, data[:size]) {
						t.Fatalf("%s, %d more: range %d: element %d of sample %d, want %+v", c.Name, extra, k, number+i, sample, want)
					}
					want, data = want[1:], data[size:]
				}
				if own%2 == 1 {
					if want[0].b != nil || want[0].sample != sample {
						t.Fatalf("%s: range %d: a separator instead of %+v", c.Name, k, want[0])
					}
					want = want[1:]
				}
			}
			if len(want) > 0 {
				t.Fatalf("%s, %d more: range %d lacks %+v", c.Name, extra, k, want)
			}
		}
		if len(table)+len(data) > 0 {
			t.Fatalf("%d and %d bytes too many", len(table), len(data))
		}
	}
	check(func(k int) (from, to uint64) { return r.Starts[k], min(r.Starts[k]+r.Count, uint64(len(all))) })
	if _, err := m.ReadElements(ctx, &manifest.Ranges{Column: c.Name, Extra: extra, Starts: []uint64{uint64(len(all))}}, 1); !fault.Is(err, fault.Invalid) {
		t.Errorf("past the end: %v", err)
	}
	r.Starts = nil
	for range 30 {
		r.Samples = append(r.Samples, rng.Uint64N(uint64(len(cells))))
	}
	check(func(k int) (from, to uint64) {
		from = first[r.Samples[k]]
		return from, min(from+r.Count, from+uint64(len(cells[r.Samples[k]]))/size+extra)
	})
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
