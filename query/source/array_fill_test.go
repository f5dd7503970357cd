package source_test

import (
	"encoding/binary"
	"math"
	"testing"

	"daos/dataset/array"
	"daos/query/exec"
	"daos/query/expr"
)

// TestChunksThatWereNeverWrittenArePruned is a large array of which one element
// is written: a condition that the fill value does not meet reads one chunk.
func TestChunksThatWereNeverWrittenArePruned(t *testing.T) {
	dt, err := array.ParseDType("float64")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		fill  float64
		where string
		rows  int
		all   bool // the fill value meets it
	}{
		{0, "value = 7", 1, false}, {0, "value > 1", 1, false}, {0, "isnan(value)", 0, false}, {0, "value = -0.0 and x > 49990", 9, true},
		{math.NaN(), "value < 100", 1, false}, {math.NaN(), "isnan(value) and x < 10", 10, true}, {math.NaN(), "value > 1e300 and x < 10", 10, true},
		{7, "value = 7 and x < 10", 10, true},
	} {
		d := array.Open(store(t), "p/a")
		spec := array.Spec{DType: dt, Shape: []uint64{50000}, Chunks: []uint64{100}, Dims: []string{"x"}, Fill: binary.LittleEndian.AppendUint64(nil, math.Float64bits(c.fill))}
		if _, _, err := d.Create(ctx, "x", spec, array.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Write(ctx, "x", []array.Axis{{Start: 41234, Count: 1, Step: 1}}, binary.LittleEndian.AppendUint64(nil, math.Float64bits(7)), array.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		s := elements(t, d, "x")
		where, err := expr.Parse(c.where)
		if err != nil {
			t.Fatal(err)
		}
		got, n := collect(t, s, exec.Request{Where: where})
		if got.N != c.rows || !c.all && n.Read > 1 {
			t.Errorf("fill %v, %s: %d rows, %d chunks read", c.fill, c.where, got.N, n.Read)
		}
	}
}

func TestAxesOfOneNameAreColumnsOfTheirOwn(t *testing.T) {
	dt, err := array.ParseDType("uint8")
	if err != nil {
		t.Fatal(err)
	}
	d := array.Open(store(t), "p/a")
	if _, _, err := d.Create(ctx, "x", array.Spec{DType: dt, Shape: []uint64{2, 2, 2, 2}, Dims: []string{"x", "x", "x", "Value"}}, array.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s := elements(t, d, "x")
	for i, f := range s.Schema() {
		if s.Schema().Index(f.Name) != i {
			t.Errorf("column %d, %s, has the name of another one", i, f.Name)
		}
	}
}
