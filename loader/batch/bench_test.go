package batch_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"daos/dataset/tensor"
	"daos/dataset/tensor/tensortest"
	"daos/engine/object"
	"daos/loader/batch"
	"daos/loader/loadertest"
	"daos/loader/manifest"
)

// shape is one kind of batch.
type shape struct{ count, size, samples int }

var shapes = []shape{{32, 4 << 10, 20_000}, {32, 100 << 10, 2000}, {32, 1 << 20, 200}}

// BenchmarkFiles puts batches of files together (Parts, as for writev, and
// Fill, as for a slot); BenchmarkMemcpy is the same bytes copied from one
// buffer: the floor.
func BenchmarkFiles(b *testing.B) {
	for _, s := range shapes {
		tr := newTree(b)
		rng := rand.New(rand.NewPCG(1, 1))
		data := make([]byte, s.size)
		for i := range s.samples {
			for k := 0; k < len(data); k += 512 {
				data[k] = byte(rng.Uint32())
			}
			data[0], data[1], data[2] = byte(i), byte(i>>8), byte(i>>16)
			tr.write(b, fmt.Sprintf("%06d", i), 0, data)
		}
		m := openManifest(b, tr.request(b, b.TempDir(), manifest.Selection{}))
		bench(b, fmt.Sprintf("%dx%d", s.count, s.size), m, s, rng)
	}
}

func bench(b *testing.B, name string, m *manifest.Manifest, s shape, rng *rand.Rand) {
	idx := make([]uint64, s.count)
	next := func() {
		for k := range idx {
			idx[k] = rng.Uint64N(uint64(s.samples))
		}
	}
	// CPU time beside the clock's: it holds on a machine that others use too.
	var start unix.Rusage
	begin := func(b *testing.B) {
		for i := range uint64(s.samples) { // every granule verified once
			x, err := batch.Plan(ctx, m, []uint64{i})
			if err != nil {
				b.Fatal(err)
			}
			x.Release()
		}
		_ = unix.Getrusage(unix.RUSAGE_SELF, &start)
		b.ResetTimer()
	}
	per := func(b *testing.B) {
		var end unix.Rusage
		_ = unix.Getrusage(unix.RUSAGE_SELF, &end)
		cpu := end.Utime.Nano() + end.Stime.Nano() - start.Utime.Nano() - start.Stime.Nano()
		b.SetBytes(int64(s.count * s.size))
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*s.count), "ns/sample")
		b.ReportMetric(float64(cpu)/float64(b.N*s.count), "cpu-ns/sample")
	}
	var parts [][]byte
	b.Run(name+"/parts", func(b *testing.B) {
		b.ReportAllocs()
		begin(b)
		for b.Loop() {
			next()
			x, err := batch.Plan(ctx, m, idx)
			if err != nil {
				b.Fatal(err)
			}
			parts, _ = x.Parts(parts[:0])
			x.Release()
		}
		per(b)
	})
	dst := make([]byte, s.count*s.size)
	b.Run(name+"/fill", func(b *testing.B) {
		begin(b)
		for b.Loop() {
			next()
			x, err := batch.Plan(ctx, m, idx)
			if err != nil {
				b.Fatal(err)
			}
			if err := x.Fill(dst); err != nil {
				b.Fatal(err)
			}
			x.Release()
		}
		per(b)
	})
	src := make([]byte, s.samples*s.size)
	for i := 0; i < len(src); i += 4096 {
		src[i] = 1
	}
	b.Run(name+"/memcpy", func(b *testing.B) {
		begin(b)
		for b.Loop() {
			next()
			for k, i := range idx {
				copy(dst[k*s.size:(k+1)*s.size], src[int(i)*s.size:])
			}
		}
		per(b)
	})
}

// BenchmarkRows is 256 rows of 784 bytes of a tensor column.
func BenchmarkRows(b *testing.B) {
	s := shape{256, 784, 70_000}
	st := loadertest.New(b)
	tab := tensor.Open(st, "p/t")
	cols := []tensor.Column{{Name: "x", Layout: tensor.Fixed, DType: tensor.Uint8, Shape: []uint64{28, 28}}}
	if _, err := tab.Define(ctx, object.RequestID{}, cols); err != nil {
		b.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	var pieces []*tensor.Rows
	for range 70 {
		v := make([]byte, 1000*784)
		for k := range v {
			v[k] = byte(rng.Uint32())
		}
		pieces = append(pieces, &tensor.Rows{N: 1000, Columns: []tensor.Data{{Values: v}}})
	}
	if _, err := tab.Append(ctx, tensor.AppendOptions{}, tensortest.Source(pieces...)); err != nil {
		b.Fatal(err)
	}
	at, err := st.ReadEpoch(ctx, 0)
	if err != nil {
		b.Fatal(err)
	}
	m := openManifest(b, manifest.Request{Dir: b.TempDir(), Store: st, Table: tab, Info: manifest.Info{Dataset: "p/t", Epoch: at, Tensor: true}})
	bench(b, "256x784", m, s, rng)
}
