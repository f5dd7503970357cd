package source_test

import (
	"context"
	"encoding/binary"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"daos/dataset/tensor"
	"daos/dataset/tensor/tensortest"
	"daos/engine"
	"daos/engine/object"
	"daos/query/exec"
	"daos/query/expr"
	"daos/query/source"
)

var ctx = context.Background()

func store(t testing.TB) object.Store {
	t.Helper()
	e, err := engine.Open(engine.Options{Root: t.TempDir(), SweepEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	d, err := e.CreateDataset(ctx, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// randomTable appends rows in pieces of random size, with small chunks, so that
// the chunks of columns end at different rows.
func randomTable(t testing.TB, seed uint64, n int) (*tensor.Table, *tensor.Rows, []tensor.Column) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 3))
	tab := tensor.Open(store(t), "p/t")
	cols := []tensor.Column{
		{Name: "label", Layout: tensor.Fixed, DType: tensor.Int32, ChunkSamples: 37},
		{Name: "q", Layout: tensor.Fixed, DType: tensor.Float32, Nullable: true, ChunkSamples: 50},
		{Name: "u", Layout: tensor.Fixed, DType: tensor.Uint64},
		{Name: "image", Layout: tensor.Fixed, DType: tensor.Uint8, Shape: []uint64{2, 3}, ChunkSamples: 11},
		{Name: "tokens", Layout: tensor.Ragged, DType: tensor.Int16, ChunkSamples: 29},
		{Name: "name", Layout: tensor.String, Nullable: true, ChunkSamples: 41},
	}
	if _, err := tab.Define(ctx, object.RequestID{}, cols); err != nil {
		t.Fatal(err)
	}
	all := &tensor.Rows{N: n, Columns: make([]tensor.Data, len(cols))}
	words := []string{"", "cat", "dog", "a very long name that is longer than the sixty-four bytes of a bound, it goes on", "\U0010ffff"}
	d := all.Columns
	d[4].Offsets, d[5].Offsets = []uint64{0}, []uint64{0}
	for i := range n {
		d[0].Values = binary.LittleEndian.AppendUint32(d[0].Values, uint32(i/20-5)) // clustered: prunable
		f := float32(rng.NormFloat64())
		switch rng.IntN(8) {
		case 0:
			f = float32(math.NaN())
		case 1:
			f = float32(math.Copysign(0, -1))
		}
		null := rng.IntN(9) == 0
		if null {
			f = 0
		}
		d[1].Values = binary.LittleEndian.AppendUint32(d[1].Values, math.Float32bits(f))
		d[1].Valid = append(d[1].Valid, boolByte(!null))
		d[2].Values = binary.LittleEndian.AppendUint64(d[2].Values, rng.Uint64())
		for range 6 {
			d[3].Values = append(d[3].Values, byte(rng.IntN(256)))
		}
		for range rng.IntN(5) {
			d[4].Values = binary.LittleEndian.AppendUint16(d[4].Values, uint16(rng.IntN(9)))
		}
		d[4].Offsets = append(d[4].Offsets, uint64(len(d[4].Values)))
		null = rng.IntN(9) == 0
		if !null {
			d[5].Values = append(d[5].Values, words[rng.IntN(len(words))]...)
		}
		d[5].Offsets = append(d[5].Offsets, uint64(len(d[5].Values)))
		d[5].Valid = append(d[5].Valid, boolByte(!null))
	}
	for from := 0; from < n; {
		to := min(n, from+1+rng.IntN(200))
		if _, err := tab.Append(ctx, tensor.AppendOptions{}, tensortest.Source(cut(cols, all, from, to))); err != nil {
			t.Fatal(err)
		}
		from = to
	}
	return tab, all, cols
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// cut is rows [from, to) by themselves.
func cut(cols []tensor.Column, all *tensor.Rows, from, to int) *tensor.Rows {
	out := &tensor.Rows{N: to - from}
	for c := range cols {
		f := source.TensorField(&cols[c])
		d := &all.Columns[c]
		rows := make([]uint32, 0, to-from)
		for i := from; i < to; i++ {
			rows = append(rows, uint32(i))
		}
		v := exec.Pick(&f, &expr.Vector{Values: d.Values, Offsets: d.Offsets, Valid: d.Valid}, rows)
		out.Columns = append(out.Columns, tensor.Data{Values: v.Values, Offsets: v.Offsets, Valid: v.Valid})
	}
	return out
}

func collect(t testing.TB, s exec.Source, r exec.Request) (*exec.Rows, exec.Counters) {
	t.Helper()
	st, err := exec.Open(ctx, s, r)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	var ids exec.Rows
	for {
		rows, err := st.Next()
		if err == io.EOF {
			return &ids, st.Counters()
		}
		if err != nil {
			t.Fatal(err)
		}
		fields := st.Schema()
		if ids.Columns == nil {
			ids.Columns = make([]expr.Vector, len(fields))
		}
		for c := range fields {
			exec.Append(&fields[c], &ids.Columns[c], ids.N, &rows.Columns[c], rows.N)
		}
		ids.N += rows.N
	}
}

func TestTensorScanIsTheTable(t *testing.T) {
	for seed := range uint64(4) {
		const n = 900
		tab, all, cols := randomTable(t, seed, n)
		p, err := tab.Pin(ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		s := source.Tensor("p/t", p)
		s.Unit = 13
		whole := expr.Batch{N: n}
		for c := range cols {
			d := &all.Columns[c]
			whole.Columns = append(whole.Columns, expr.Vector{Values: d.Values, Offsets: d.Offsets, Valid: d.Valid})
		}
		var ids []byte
		for i := range n {
			ids = binary.LittleEndian.AppendUint64(ids, uint64(i))
		}
		whole.Columns = append(whole.Columns, expr.Vector{Values: ids})
		pruned := uint64(0)
		for _, w := range []string{"label = 3", "label < -3 or label > 38", "q > 0.5", "isnan(q)", "q is null", "q is not null and q = 0", "u > 18000000000000000000",
			"name = 'cat'", "name like 'a very%'", "name > 'zzz'", "name is null", "length(tokens) = 4", "tokens[2] = 3", "_id between 100 and 120", "_id >= 899",
			"name >= 'a very long name that is longer than the sixty-four bytes of a bound, it'", "not (label between 0 and 38)", "label > 1000"} {
			x, err := expr.Parse(w)
			if err != nil {
				t.Fatal(err)
			}
			b, err := expr.Bind(x, s.Schema(), w)
			if err != nil {
				t.Fatal(err)
			}
			keep, err := b.Filter(&whole, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, counters := collect(t, s, exec.Request{Where: x, Text: w})
			pruned += counters.Pruned
			if got.N != len(keep) {
				t.Fatalf("seed %d, %s: %d rows, not %d", seed, w, got.N, len(keep))
			}
			schema := s.Schema()
			for c := range schema {
				if len(keep) == 0 {
					continue
				}
				want := exec.Pick(&schema[c], &whole.Columns[c], keep)
				g := got.Columns[c]
				if !slices.Equal(g.Values, want.Values) || !slices.Equal(g.Offsets, want.Offsets) || !same(g.Valid, want.Valid) {
					t.Fatalf("seed %d, %s: column %s differs", seed, w, schema[c].Name)
				}
			}
			if counters.RowsOut != uint64(len(keep)) {
				t.Errorf("%s: %+v", w, counters)
			}
		}
		if pruned < 200 {
			t.Errorf("%d chunks were pruned: the statistics are hardly used", pruned)
		}
	}
}

// same compares validity, where nil is all ones.
func same(a, b []byte) bool {
	if a == nil || b == nil {
		return !slices.Contains(a, 0) && !slices.Contains(b, 0)
	}
	return slices.Equal(a, b)
}

func TestTensorScanReadsItsEpoch(t *testing.T) {
	tab, _, cols := randomTable(t, 9, 100)
	before, err := tab.Pin(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	more := cut(cols, &tensor.Rows{N: 1, Columns: []tensor.Data{{Values: make([]byte, 4)}, {Values: make([]byte, 4), Valid: []byte{1}}, {Values: make([]byte, 8)},
		{Values: make([]byte, 6)}, {Offsets: []uint64{0, 0}}, {Offsets: []uint64{0, 0}, Valid: []byte{1}}}}, 0, 1)
	if _, err := tab.Append(ctx, tensor.AppendOptions{}, tensortest.Source(more)); err != nil {
		t.Fatal(err)
	}
	if got, _ := collect(t, source.Tensor("p/t", before), exec.Request{Columns: []string{source.RowID}}); got.N != 100 {
		t.Errorf("%d rows at an epoch with 100", got.N)
	}
	now, err := tab.Pin(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := collect(t, source.Tensor("p/t", now), exec.Request{Columns: []string{source.RowID}}); got.N != 101 {
		t.Errorf("%d rows now", got.N)
	}
}

// TestAColumnOfTheDatasetsOwnIsNotTheRowNumber: samples are found by RowID, so
// that no other column may be called so.
func TestAColumnOfTheDatasetsOwnIsNotTheRowNumber(t *testing.T) {
	tab := tensor.Open(store(t), "p/t")
	var cols []tensor.Column
	all := &tensor.Rows{N: 2}
	for i, name := range []string{"_id", "value._id", "_ID", "x"} {
		cols = append(cols, tensor.Column{Name: name, Layout: tensor.Fixed, DType: tensor.Uint8})
		all.Columns = append(all.Columns, tensor.Data{Values: []byte{byte(10 * i), byte(10*i + 1)}})
	}
	if _, err := tab.Define(ctx, object.RequestID{}, cols); err != nil {
		t.Fatal(err)
	}
	if _, err := tab.Append(ctx, tensor.AppendOptions{}, tensortest.Source(all)); err != nil {
		t.Fatal(err)
	}
	p, err := tab.Pin(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := source.Tensor("p/t", p)
	want := []string{"value._id", "value.value._id", "value.value.value._ID", "x", "_id"} // names know no case
	for i, f := range s.Schema() {
		if f.Name != want[i] {
			t.Errorf("column %d is called %q, not %q", i, f.Name, want[i])
		}
	}
	for where, row := range map[string]byte{"_id = 1": 1, `"value._id" = 0`: 0, `"value.value._id" = 11`: 1, `"value.value.value._ID" = 20`: 0} {
		x, err := expr.Parse(where)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := collect(t, s, exec.Request{Columns: []string{"x", "_id"}, Where: x})
		if got.N != 1 || got.Columns[0].Values[0] != 30+row || binary.LittleEndian.Uint64(got.Columns[1].Values) != uint64(row) {
			t.Errorf("%s: %+v", where, got)
		}
	}
}
