package arraytest

import (
	"encoding/binary"
	"fmt"
	"math"

	"daos/dataset/array"
	"daos/engine/object"
)

// checkStats compares the statistics of all chunks of an array at an epoch with
// its elements; order compares elements.
func (e *env) checkStats(at object.Epoch, path string, m *Plain) {
	e.Helper()
	scan, err := e.set.Scan(e.ctx, at, path)
	e.ok(err)
	s := scan.Spec()
	seen := map[string]bool{}
	err = scan.Chunks(e.ctx, nil, func(c *array.ChunkStats) bool {
		seen[fmt.Sprint(c.Coords)] = true
		in, elements := m.chunk(s.Chunks, c.Coords)
		if uint64(in) != c.Count {
			e.Fatalf("chunk %v has %d elements inside, not %d", c.Coords, in, c.Count)
		}
		var nans uint64
		lo, hi := math.Inf(1), math.Inf(-1)
		ordered := true
		for _, x := range elements {
			v, ok := s.DType.Float(x)
			if ordered = ok; !ok {
				break
			}
			if math.IsNaN(v) {
				nans++
				continue
			}
			lo, hi = math.Min(lo, v), math.Max(hi, v)
		}
		if !ordered {
			return true
		}
		if lo > hi {
			if c.Exact && (c.Min != nil || c.NaNs != nans) {
				e.Fatalf("chunk %v: %+v of %d NaNs only", c.Coords, c, nans)
			}
			return true
		}
		a, ok1 := s.DType.Float(c.Min)
		b, ok2 := s.DType.Float(c.Max)
		switch {
		case !ok1 || !ok2:
			e.Fatalf("chunk %v: no bounds, %+v", c.Coords, c)
		case c.Exact && (a != lo || b != hi || c.NaNs != nans || math.Signbit(a) != math.Signbit(lo)):
			e.Fatalf("chunk %v: %v to %v and %d NaNs, not %v to %v and %d", c.Coords, a, b, c.NaNs, lo, hi, nans)
		case a > lo || b < hi || c.NaNs < nans:
			e.Fatalf("chunk %v: bounds %v to %v and %d NaNs leave out %v to %v and %d", c.Coords, a, b, c.NaNs, lo, hi, nans)
		}
		return true
	})
	e.ok(err)
	// What is left out holds the fill value.
	grid := make([]uint64, len(s.Shape))
	for d := range grid {
		grid[d] = (s.Shape[d] + s.Chunks[d] - 1) / s.Chunks[d]
	}
	m.each(grid, func(coords []uint64) {
		if seen[fmt.Sprint(coords)] {
			return
		}
		_, elements := m.chunk(s.Chunks, coords)
		for _, x := range elements {
			e.equal(x, m.fill())
		}
	})
}

func testStats(e *env) {
	f8 := func(v ...float64) []byte {
		var b []byte
		for _, x := range v {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(x))
		}
		return b
	}
	e.create("x", array.Spec{DType: dtype("float64"), Shape: []uint64{8}, Chunks: []uint64{4}, Fill: f8(2)})
	one := func() (c array.ChunkStats) {
		scan, err := e.set.Scan(e.ctx, 0, "x")
		e.ok(err)
		e.ok(scan.Chunks(e.ctx, nil, func(s *array.ChunkStats) bool { c = *s; return false }))
		return c
	}
	nan, negative := math.NaN(), math.Copysign(0, -1)
	e.write("x", []array.Axis{span(0, 2)}, f8(nan, negative))
	c := one()
	e.equal(c.Min, f8(negative))
	e.equal(c.Max, f8(2)) // the fill value of the rest
	if !c.Exact || c.NaNs != 1 || c.Count != 4 {
		e.Fatalf("%+v", c)
	}
	e.write("x", []array.Axis{span(0, 1)}, f8(7))
	if c = one(); c.Exact {
		e.Fatalf("%+v", c)
	}
	e.equal(c.Max, f8(7))
	e.write("x", []array.Axis{span(0, 4)}, f8(nan, nan, nan, nan))
	if c = one(); !c.Exact || c.NaNs != 4 || c.Min != nil {
		e.Fatalf("%+v", c)
	}
	for name, want := range map[string][2][]byte{
		"float8_e4m3fn":        {{0xfe}, {0x7e}}, // 0x7f and 0xff are NaN
		"float8_e5m2":          {{0xfc}, {0x7c}}, // infinities are numbers
		"uint8":                {{0}, {255}},
		"int8":                 {{0x80}, {0x7f}},
		"fixed_size_binary[1]": {{0}, {255}},
	} {
		all := make([]byte, 256)
		for i := range all {
			all[i] = byte(i)
		}
		e.create(name, array.Spec{DType: dtype(name), Shape: []uint64{256}})
		e.write(name, nil, all)
		scan, err := e.set.Scan(e.ctx, 0, name)
		e.ok(err)
		e.ok(scan.Chunks(e.ctx, nil, func(s *array.ChunkStats) bool {
			e.equal(s.Min, want[0])
			e.equal(s.Max, want[1])
			return true
		}))
	}
	wide := func(hi, lo uint64) []byte {
		return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, lo), hi)
	}
	e.create("wide", array.Spec{DType: dtype("decimal128(38, 0)"), Shape: []uint64{3}})
	e.write("wide", nil, append(append(wide(0, 5), wide(math.MaxUint64, 0)...), wide(1, 0)...))
	scan, err := e.set.Scan(e.ctx, 0, "wide")
	e.ok(err)
	e.ok(scan.Chunks(e.ctx, nil, func(s *array.ChunkStats) bool {
		e.equal(s.Min, wide(math.MaxUint64, 0))
		e.equal(s.Max, wide(1, 0))
		return true
	}))
}
