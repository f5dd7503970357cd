package tensor_test

import (
	"testing"

	"daos/dataset/tensor"
	"daos/dataset/tensor/tensortest"
	"daos/engine"
	"daos/engine/object"
)

// BenchmarkAppend and BenchmarkRead are 64 MiB of images over the engine.
func openBench(b *testing.B) *tensor.Table {
	e, err := engine.Open(engine.Options{Root: b.TempDir(), SweepEvery: -1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = e.Close() })
	d, err := e.CreateDataset(ctx, 1, 1)
	if err != nil {
		b.Fatal(err)
	}
	tab := tensor.Open(d, "p/t")
	cols := []tensor.Column{
		{Name: "image", Layout: tensor.Fixed, DType: tensor.Uint8, Shape: []uint64{28, 28}},
		{Name: "label", Layout: tensor.Fixed, DType: tensor.Int64},
		{Name: "name", Layout: tensor.String},
	}
	if _, err := tab.Define(ctx, object.RequestID{}, cols); err != nil {
		b.Fatal(err)
	}
	return tab
}

const benchRows = 80_000

func benchPieces() []*tensor.Rows {
	var out []*tensor.Rows
	for range benchRows / 8000 {
		r := &tensor.Rows{N: 8000, Columns: []tensor.Data{{Values: make([]byte, 8000*784)}, {Values: make([]byte, 8000*8)}, {Values: make([]byte, 8000*10), Offsets: make([]uint64, 8001)}}}
		for i := range r.Columns[2].Offsets {
			r.Columns[2].Offsets[i] = uint64(10 * i)
		}
		out = append(out, r)
	}
	return out
}

func BenchmarkAppend(b *testing.B) {
	tab, pieces := openBench(b), benchPieces()
	b.SetBytes(benchRows * (784 + 8 + 10))
	for b.Loop() {
		if _, err := tab.Append(ctx, tensor.AppendOptions{}, tensortest.Source(pieces...)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	tab := openBench(b)
	if _, err := tab.Append(ctx, tensor.AppendOptions{}, tensortest.Source(benchPieces()...)); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(benchRows * (784 + 8 + 10))
	for b.Loop() {
		r, err := tab.Read(ctx, 0, tensor.Selection{Stop: 1 << 60})
		if err != nil {
			b.Fatal(err)
		}
		for {
			if _, err := r.Next(ctx); err != nil {
				break
			}
		}
	}
}
