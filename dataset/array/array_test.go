package array_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"daos/dataset/array"
	"daos/dataset/arraytest"
	"daos/engine"
	"daos/engine/memstore"
	"daos/engine/object"
)

func TestConformance(t *testing.T) {
	arraytest.Run(t, func(t *testing.T) object.Store { return memstore.New() })
}

func TestConformanceOnEngine(t *testing.T) {
	e, err := engine.Open(engine.Options{Root: t.TempDir(), SweepEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	n := object.DatasetID(0)
	arraytest.Run(t, func(t *testing.T) object.Store {
		n++
		d, err := e.CreateDataset(context.Background(), n, 1)
		if err != nil {
			t.Fatal(err)
		}
		return d
	})
}

// mapped makes the array x of float32 in a dataset on an engine, whose chunks are read
// where they lie; open opens that once more.
func mapped(t *testing.T, spec array.Spec) (open func(...array.Option) *array.Dataset, d *array.Dataset, of array.Spec) {
	t.Helper()
	e, err := engine.Open(engine.Options{Root: t.TempDir(), SweepEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	st, err := e.CreateDataset(t.Context(), 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	maps := &array.Mappings{}
	t.Cleanup(maps.Close)
	open = func(o ...array.Option) *array.Dataset {
		return array.Open(st, "p/a", append(o, array.WithMappings(maps))...)
	}
	if spec.DType, err = array.ParseDType("float32"); err != nil {
		t.Fatal(err)
	}
	d = open()
	if _, _, err := d.Create(t.Context(), "x", spec, array.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return open, d, spec
}

// gathered brings the pieces of an answer together.
func gathered(t *testing.T, out *object.Regions) []byte {
	t.Helper()
	var b []byte
	for _, p := range out.Parts {
		var inMemory []byte
		for row := range p.InMemory() {
			inMemory = append(inMemory, row...)
		}
		if p.File == nil {
			b = append(b, inMemory...)
			continue
		}
		at := len(b)
		for k := range max(p.Rows, 1) {
			row := make([]byte, p.Len)
			if n, err := unix.Pread(int(p.File.Fd()), row, p.Off+int64(k*p.Stride)); n != p.Len || err != nil {
				t.Fatalf("%d bytes of %d: %v", n, p.Len, err)
			}
			b = append(b, row...)
		}
		if p.Mem != nil && !bytes.Equal(b[at:], inMemory) {
			t.Fatalf("%d rows are others in memory", p.Rows)
		}
	}
	return b
}

func TestRegions(t *testing.T) {
	ctx := t.Context()
	_, d, spec := mapped(t, array.Spec{Shape: []uint64{40, 100, 500}, Chunks: []uint64{8, 50, 500}})
	m := arraytest.NewPlain(spec)
	rng := rand.New(rand.NewPCG(1, 2))
	data := arraytest.Elements(rng, spec.DType, 20*100*500)
	axes := []array.Axis{{Start: 10, Count: 20}, {Count: 100}, {Count: 500}} // some chunks in part, some never
	if _, err := d.Write(ctx, "x", axes, data, array.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	for i := range axes {
		axes[i].Step = 1
	}
	m.Write(axes, data)
	for _, c := range []struct {
		axes []array.Axis
		want bool
	}{
		{[]array.Axis{{Count: 40}, {Count: 100}, {Count: 500}}, true},
		{[]array.Axis{{Start: 5, Count: 20}, {Start: 20, Count: 60}, {Count: 500}}, true},
		{[]array.Axis{{Start: 3, Count: 9, Step: 4}, {Count: 100}, {Count: 500}}, true},
		{[]array.Axis{{Start: 11, Count: 1}, {Start: 1, Count: 99}, {Count: 500}}, true},
		{[]array.Axis{{Count: 40}, {Count: 100}, {Start: 1, Count: 499}}, false},     // short rows
		{[]array.Axis{{Count: 1}, {Count: 10}, {Count: 500}}, false},                 // little
		{[]array.Axis{{Indices: []uint64{1, 2}}, {Count: 100}, {Count: 500}}, false}, // a list
	} {
		r, err := d.Select(ctx, 0, "x", c.axes)
		if err != nil {
			t.Fatal(err)
		}
		for i := range c.axes {
			c.axes[i].Step = max(c.axes[i].Step, 1)
		}
		var out object.Regions
		whole, err := r.Regions(ctx, &out)
		if err != nil || whole != c.want {
			t.Fatalf("%v: %v, %v", c.axes, whole, err)
		}
		if whole && !bytes.Equal(gathered(t, &out), m.Read(c.axes)) {
			t.Fatalf("%v differs", c.axes)
		}
		out.Release()
		p := make([]byte, r.Bytes())
		if err := r.ReadInto(ctx, p); err != nil || !bytes.Equal(p, m.Read(c.axes)) {
			t.Fatalf("%v differs when it is brought together: %v", c.axes, err)
		}
	}
}

// TestRegions_Rows reads random boxes of a frozen array: where the chunks lie in one
// piece as they lie in memory, row by row, else not; the bytes are the same.
func TestRegions_Rows(t *testing.T) {
	ctx := t.Context()
	open, d, spec := mapped(t, array.Spec{Shape: []uint64{30, 120, 1000}, Chunks: []uint64{8, 50, 400}})
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	m := arraytest.NewPlain(spec)
	write := func(axes ...array.Axis) {
		n := uint64(1)
		for d := range axes {
			n *= axes[d].Count
		}
		data := arraytest.Elements(rng, spec.DType, n)
		if _, err := d.Write(ctx, "x", axes, data, array.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		m.Write(axes, data)
	}
	write(array.Axis{Count: 30, Step: 1}, array.Axis{Count: 120, Step: 1}, array.Axis{Count: 1000, Step: 1})
	write(array.Axis{Start: 3, Count: 1, Step: 1}, array.Axis{Start: 7, Count: 9, Step: 1}, array.Axis{Start: 10, Count: 20, Step: 1}) // one chunk in pieces
	write(array.Axis{Start: 24, Count: 1, Step: 1}, array.Axis{Start: 0, Count: 50, Step: 1}, array.Axis{Start: 0, Count: 400, Step: 1})
	frozen := open(array.Frozen())
	axis := func(n uint64, least uint64) array.Axis {
		a := array.Axis{Count: least + rng.Uint64N(n-least+1), Step: 1}
		a.Start = rng.Uint64N(n - a.Count + 1)
		return a
	}
	rows, inFiles, not := 0, 0, 0
	for range 300 {
		axes := []array.Axis{axis(30, 1), axis(120, 1), axis(1000, 200)}
		if rng.IntN(2) == 0 { // in one chunk
			axes[2] = axis(400, 100)
			axes[2].Start += 400 * rng.Uint64N(2)
		}
		if s := &axes[rng.IntN(2)]; rng.IntN(3) == 0 && s.Count > 1 {
			s.Step = 1 + rng.Uint64N(3)
			s.Count = (s.Count-1)/s.Step + 1
		}
		r, err := frozen.Select(ctx, 0, "x", axes)
		if err != nil {
			t.Fatal(err)
		}
		var out object.Regions
		if rng.IntN(2) == 0 {
			out.Rows = object.RowLimits{Pieces: 20 + rng.IntN(200), Files: rng.IntN(8), Bytes: 4096, Least: 300_000 * rng.Uint64N(2)}
		}
		whole, err := r.Regions(ctx, &out)
		if err != nil {
			t.Fatal(err)
		}
		if !whole {
			if not++; len(out.Parts) != 0 {
				t.Fatalf("%v: %d parts of nothing", axes, len(out.Parts))
			}
			continue
		}
		if out.Size() != r.Bytes() || !bytes.Equal(gathered(t, &out), m.Read(axes)) {
			t.Fatalf("%v differs", axes)
		}
		if slices.ContainsFunc(out.Parts, func(p object.Region) bool { return p.Rows > 0 }) {
			inFiles++
			files := map[object.RegionFile]bool{}
			for _, p := range out.Parts {
				if files[p.File] = true; p.File == nil || p.Stride > 3*p.Len {
					t.Fatalf("%v: rows of %d bytes, %d apart", axes, p.Len, p.Stride)
				}
			}
			if l := out.Rows; len(out.Parts) > l.Pieces || out.Size()/uint64(len(out.Parts)) < l.Bytes || out.Size() < l.Least || len(files) > l.Files {
				t.Fatalf("%v: %d pieces in %d files, where %+v were asked for", axes, len(out.Parts), len(files), l)
			}
		} else if len(out.Parts) > 0 && out.Parts[0].Mem != nil {
			rows++
			if rows%7 == 0 {
				out.Doubt(nil) // it is verified anew, and the same
			}
		}
		out.Release()
	}
	if rows < 30 || inFiles < 10 || not < 10 {
		t.Fatalf("%d in rows, %d in rows of files, %d not", rows, inFiles, not)
	}
}
