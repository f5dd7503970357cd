package kv_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"daos/dataset/kv"
	"daos/engine"
	"daos/engine/object"
)

func openBench(b *testing.B) *kv.Dataset {
	e, err := engine.Open(engine.Options{Root: b.TempDir(), SweepEvery: -1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = e.Close() })
	d, err := e.CreateDataset(context.Background(), 1, 1)
	if err != nil {
		b.Fatal(err)
	}
	return kv.Open(d, kv.Options{})
}

// BenchmarkPut is a durable batch of 1000 pairs of 100 bytes.
func BenchmarkPut(b *testing.B) {
	d := openBench(b)
	ctx := context.Background()
	rng := rand.New(rand.NewPCG(1, 2))
	ops := make([]kv.Op, 1000)
	value := make([]byte, 100)
	for b.Loop() {
		for i := range ops {
			ops[i] = kv.Op{Kind: kv.OpPut, Key: fmt.Appendf(nil, "user/%08d/profile", rng.IntN(1_000_000)), Value: value}
		}
		if _, err := d.Apply(ctx, object.RequestID{byte(rng.Uint32()), byte(rng.Uint32()), byte(rng.Uint32()), byte(rng.Uint32())}, ops); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(1000*b.N), "ns/pair")
}

// BenchmarkGet is a batch of 1000 random pairs of 100,000.
func BenchmarkGet(b *testing.B) {
	d := openBench(b)
	ctx := context.Background()
	const n = 100_000
	for at := 0; at < n; at += 10_000 {
		ops := make([]kv.Op, 10_000)
		for i := range ops {
			ops[i] = kv.Op{Kind: kv.OpPut, Key: fmt.Appendf(nil, "user/%08d/profile", at+i), Value: make([]byte, 100)}
		}
		if _, err := d.Apply(ctx, object.RequestID{}, ops); err != nil {
			b.Fatal(err)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	names := make([]kv.Name, 1000)
	for b.Loop() {
		for i := range names {
			names[i].Key = fmt.Appendf(nil, "user/%08d/profile", rng.IntN(n))
		}
		v, err := d.Head(ctx, 0)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := v.GetMany(ctx, names, 0); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(1000*b.N), "ns/pair")
}
