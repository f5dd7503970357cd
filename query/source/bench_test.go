package source_test

import (
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"daos/dataset/tensor"
	"daos/dataset/tensor/tensortest"
	"daos/engine/object"
	"daos/internal/columnar"
	"daos/query/exec"
	"daos/query/expr"
	"daos/query/source"
)

// benchTable has n rows of what torch/bench/queries.py has, in an engine on disk.
func benchTable(b *testing.B, n int) *source.TensorTable {
	b.Helper()
	t := tensor.Open(store(b), "p/t")
	fixed := func(name string, d tensor.DType, shape ...uint64) tensor.Column {
		return tensor.Column{Name: name, Layout: tensor.Fixed, DType: d, Shape: shape, Nullable: true}
	}
	cols := []tensor.Column{fixed("id", tensor.Int64), fixed("ts", tensor.Int64), fixed("label", tensor.Int32), fixed("quality", tensor.Float32),
		fixed("score", tensor.Float64), {Name: "caption", Layout: tensor.String, DType: tensor.Uint8, Nullable: true}, fixed("image", tensor.Uint8, 48)}
	if _, err := t.Define(ctx, object.RequestID{}, cols); err != nil {
		b.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	const piece = 1 << 20
	for at := 0; at < n; at += piece {
		rows := &tensor.Rows{N: piece, Columns: make([]tensor.Data, len(cols))}
		d := rows.Columns
		d[5].Offsets = []uint64{0}
		for i := range piece {
			d[0].Values = binary.LittleEndian.AppendUint64(d[0].Values, uint64(at+i))
			d[1].Values = binary.LittleEndian.AppendUint64(d[1].Values, uint64(1000*(at+i)+rng.IntN(10_000_000)))
			d[2].Values = binary.LittleEndian.AppendUint32(d[2].Values, uint32(rng.IntN(1000)))
			d[3].Values = binary.LittleEndian.AppendUint32(d[3].Values, math.Float32bits(rng.Float32()))
			d[4].Values = binary.LittleEndian.AppendUint64(d[4].Values, math.Float64bits(rng.NormFloat64()))
			d[5].Values = append(d[5].Values, "a dog on the red mat "[:4+rng.IntN(16)]...)
			d[5].Offsets = append(d[5].Offsets, uint64(len(d[5].Values)))
			for range 6 {
				d[6].Values = binary.LittleEndian.AppendUint64(d[6].Values, rng.Uint64())
			}
		}
		if _, err := t.Append(ctx, tensor.AppendOptions{}, tensortest.Source(rows)); err != nil {
			b.Fatal(err)
		}
	}
	p, err := t.Pin(ctx, 0)
	if err != nil {
		b.Fatal(err)
	}
	return source.Tensor("p/t", p)
}

// cpu is the processor time of this process: steadier than time on a machine that
// does other things.
func cpu() int64 {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkScan scans 2 M rows and writes the result as Arrow.
func BenchmarkScan(b *testing.B) {
	const n = 1 << 21
	t := benchTable(b, n)
	slim, wide := []string{"id", "label", "score"}, []string{"id", "caption", "image"}
	for _, c := range []struct {
		name, where string
		columns     []string
		group       []string
	}{
		{"5% float32", "quality > 0.95", slim, nil},
		{"5% three", "ts > 100000 and score < 0.0 and label < 100", slim, nil},
		{"5% rising", "ts >= 1000000000 and ts < 1100000000", slim, nil},
		{"0.1% float32 wide", "quality > 0.999", wide, nil},
		{"0.1% int32 wide", "label = 7", wide, nil},
		{"text", "caption like 'a dog on%'", []string{"id"}, nil},
		{"group", "", nil, []string{"label"}},
		{"all slim", "", slim, nil},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := exec.Request{Columns: c.columns, Group: c.group, Text: c.where}
			if c.where != "" {
				x, err := expr.Parse(c.where)
				if err != nil {
					b.Fatal(err)
				}
				r.Where = x
			}
			if c.group != nil {
				r.Aggregates = []exec.Aggregate{{Fn: exec.Count}, {Fn: exec.Avg, Column: "score"}, {Fn: exec.Max, Column: "ts"}}
			}
			b.ReportAllocs()
			out := 0
			began := cpu()
			for b.Loop() {
				st, err := exec.Open(ctx, t, r)
				if err != nil {
					b.Fatal(err)
				}
				w, err := columnar.NewRowWriter(st.Schema())
				if err != nil {
					b.Fatal(err)
				}
				for {
					rows, err := st.Next()
					if errors.Is(err, io.EOF) {
						break
					}
					if err != nil {
						b.Fatal(err)
					}
					if _, err := w.Batch(rows); err != nil {
						b.Fatal(err)
					}
					out += rows.N
				}
				st.Close()
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
			b.ReportMetric(float64(out)/float64(b.N), "out")
			b.ReportMetric(float64(cpu()-began)/float64(b.N)/n, "cpu-ns/row")
		})
	}
}
