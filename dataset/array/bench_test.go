package array_test

import (
	"context"
	"testing"

	"daos/dataset/array"
	"daos/engine"
	"daos/engine/object"
)

// openBench gives a dataset to be read as it changes, and as it is at a snapshot.
func openBench(b *testing.B) (live, frozen *array.Dataset, ctx context.Context) {
	b.Helper()
	e, err := engine.Open(engine.Options{Root: b.TempDir(), SweepEvery: -1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = e.Close() })
	maps := &array.Mappings{}
	b.Cleanup(maps.Close)
	ctx = context.Background()
	st, err := e.CreateDataset(ctx, object.DatasetID(1), 1)
	if err != nil {
		b.Fatal(err)
	}
	d := array.Open(st, "p/a", array.WithMappings(maps))
	t, _ := array.ParseDType("float32")
	_, _, err = d.Create(ctx, "x", array.Spec{DType: t, Shape: []uint64{64, 256, 1024}, Chunks: []uint64{8, 64, 1024}}, array.CreateOptions{})
	if err != nil {
		b.Fatal(err)
	}
	data := make([]byte, 16<<20)
	for i := range data {
		data[i] = byte(i * 7 >> 3)
	}
	for i := range uint64(4) {
		axes := []array.Axis{{Start: 16 * i, Count: 16}, {Count: 256}, {Count: 1024}}
		if _, err := d.Write(ctx, "x", axes, data, array.WriteOptions{}); err != nil {
			b.Fatal(err)
		}
	}
	return d, array.Open(st, "p/a", array.WithMappings(maps), array.Frozen()), ctx
}

func BenchmarkRead(b *testing.B) {
	live, frozen, ctx := openBench(b)
	for _, c := range []struct {
		name string
		axes []array.Axis
	}{
		{"row", []array.Axis{{Start: 5, Count: 1}, {Start: 7, Count: 1}, {Count: 1024}}},
		{"plane", []array.Axis{{Start: 13, Count: 1}, {Count: 256}, {Count: 1024}}},
		{"planes", []array.Axis{{Start: 8, Count: 8}, {Count: 256}, {Count: 1024}}},
		{"strided", []array.Axis{{Count: 16, Step: 4}, {Count: 128, Step: 2}, {Start: 5, Count: 299, Step: 3}}},
		{"column", []array.Axis{{Count: 64}, {Count: 256}, {Start: 5, Count: 1}}},
		{"box", []array.Axis{{Start: 10, Count: 20}, {Start: 50, Count: 100}, {Start: 100, Count: 500}}},
	} {
		read := func(d *array.Dataset) func(*testing.B) {
			return func(b *testing.B) {
				r, err := d.Select(ctx, 0, "x", c.axes)
				if err != nil {
					b.Fatal(err)
				}
				p := make([]byte, r.Bytes())
				b.SetBytes(int64(len(p)))
				for b.Loop() {
					if err := r.ReadInto(ctx, p); err != nil {
						b.Fatal(err)
					}
				}
			}
		}
		b.Run(c.name+"/live", read(live))
		b.Run(c.name+"/snapshot", read(frozen))
	}
}
