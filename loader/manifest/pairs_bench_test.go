package manifest_test

import (
	"context"
	"fmt"
	"testing"

	"daos/dataset/kv"
	"daos/engine"
	"daos/engine/object"
	"daos/loader/manifest"
)

// BenchmarkPairs builds the manifest of 200,000 values of 100 bytes.
func BenchmarkPairs(b *testing.B) {
	ctx := context.Background()
	e, err := engine.Open(engine.Options{Root: b.TempDir(), SweepEvery: -1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = e.Close() })
	st, err := e.CreateDataset(ctx, 1, 1)
	if err != nil {
		b.Fatal(err)
	}
	d := kv.Open(st, kv.Options{})
	const n = 200_000
	for at := 0; at < n; at += 10_000 {
		ops := make([]kv.Op, 10_000)
		for i := range ops {
			ops[i] = kv.Op{Kind: kv.OpPut, Key: fmt.Appendf(nil, "%d/%08d", (at+i)%10, at+i), Value: make([]byte, 100)}
		}
		if _, err := d.Apply(ctx, object.RequestID{}, ops); err != nil {
			b.Fatal(err)
		}
	}
	v, err := d.Head(ctx, 0)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		l := manifest.NewLibrary(1, 10)
		m, _, _, err := l.Open(ctx, manifest.Request{
			Dir: b.TempDir(), Store: st, Tree: manifest.TreeOf(v, ""),
			Info: manifest.Info{Dataset: "p/k", DatasetID: 1, Snapshot: "s", Epoch: v.Epoch()},
		})
		if err != nil {
			b.Fatal(err)
		}
		if m.Info().Samples != n {
			b.Fatal(m.Info().Samples)
		}
		l.Close()
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "samples/s")
}
