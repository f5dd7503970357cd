package tensortest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"daos/dataset/tensor"
)

// order compares two elements by their value, independently of package tensor;
// nan says that x is no number.
func key(t tensor.DType, b []byte) (neg bool, mag float64, i int64, u uint64, nan bool) {
	switch t {
	case tensor.Float16:
		h := binary.LittleEndian.Uint16(b)
		e, f := int(h>>10&31), float64(h&1023)/1024
		v := math.Ldexp(1+f, e-15)
		if e == 0 {
			v = math.Ldexp(f, -14)
		}
		if e == 31 {
			v = math.Inf(1)
			if f != 0 {
				return false, 0, 0, 0, true
			}
		}
		if h>>15 == 1 {
			v = -v
		}
		return math.Signbit(v), v, 0, 0, false
	case tensor.Float32:
		v := float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
		return math.Signbit(v), v, 0, 0, v != v
	case tensor.Float64:
		v := math.Float64frombits(binary.LittleEndian.Uint64(b))
		return math.Signbit(v), v, 0, 0, v != v
	}
	var e [8]byte
	copy(e[:], b)
	u = binary.LittleEndian.Uint64(e[:])
	switch t {
	case tensor.Int8, tensor.Int16, tensor.Int32, tensor.Int64:
		shift := 64 - 8*len(b)
		return false, 0, int64(u<<shift) >> shift, 0, false
	}
	return false, 0, 0, u, false
}

func less(t tensor.DType, a, b []byte) bool {
	an, af, ai, au, _ := key(t, a)
	bn, bf, bi, bu, _ := key(t, b)
	return af < bf || af == bf && an && !bn || ai < bi || au < bu
}

// checkStats compares the statistics of one chunk with its cells: exact for
// numbers, sound for bytes and strings.
func checkStats(c *tensor.Column, s *tensor.ChunkStats, cells Cells) error {
	var nulls, nans, size uint64
	var lo, hi []byte
	for _, v := range cells {
		if v == nil {
			nulls++
			if c.Layout == tensor.Fixed {
				size += uint64(c.ItemSize())
			}
			continue
		}
		size += uint64(len(v))
		if c.Layout == tensor.Bytes || c.Layout == tensor.String {
			if bytes.Compare(s.Min, v) > 0 {
				return fmt.Errorf("min %x above %x", s.Min, v)
			}
			if len(s.Max) > 0 && bytes.Compare(s.Max, v) < 0 {
				return fmt.Errorf("max %x below %x", s.Max, v)
			}
			if len(s.Min) > 64 || len(s.Max) > 64 {
				return fmt.Errorf("bounds of %d and %d bytes", len(s.Min), len(s.Max))
			}
			continue
		}
		w := c.DType.Size()
		for ; len(v) > 0; v = v[w:] {
			x := v[:w]
			if _, _, _, _, nan := key(c.DType, x); nan {
				nans++
				continue
			}
			if lo == nil || less(c.DType, x, lo) {
				lo = x
			}
			if hi == nil || less(c.DType, hi, x) {
				hi = x
			}
		}
	}
	if s.Count != uint64(len(cells)) || s.Nulls != nulls || s.NaNs != nans || s.Bytes != size {
		return fmt.Errorf("count %d nulls %d NaNs %d bytes %d, want %d %d %d %d", s.Count, s.Nulls, s.NaNs, s.Bytes, len(cells), nulls, nans, size)
	}
	if c.Layout != tensor.Bytes && c.Layout != tensor.String && (!bytes.Equal(s.Min, lo) || !bytes.Equal(s.Max, hi)) {
		return fmt.Errorf("min %x max %x, want %x %x", s.Min, s.Max, lo, hi)
	}
	return nil
}

// checkAllStats compares the statistics of a column with all its cells.
func checkAllStats(c *tensor.Column, stats []tensor.ChunkStats, cells Cells) error {
	next := uint64(0)
	for i := range stats {
		s := &stats[i]
		if s.First != next || next+s.Count > uint64(len(cells)) || s.Count > c.ChunkSamples {
			return fmt.Errorf("column %s: chunk %d has samples %d+%d, expected from %d of %d", c.Name, i, s.First, s.Count, next, len(cells))
		}
		next += s.Count
		if err := checkStats(c, s, cells[s.First:next]); err != nil {
			return fmt.Errorf("column %s, chunk %d: %w", c.Name, i, err)
		}
	}
	if next != uint64(len(cells)) {
		return fmt.Errorf("column %s: chunks end at %d of %d", c.Name, next, len(cells))
	}
	return nil
}

func testStats(e *env) {
	nan, negZero := math.NaN(), math.Copysign(0, -1)
	f := tensor.Column{Name: "f", Layout: tensor.Fixed, DType: tensor.Float64, Nullable: true, ChunkSamples: 8}
	s := tensor.Column{Name: "s", Layout: tensor.Bytes, Nullable: true, ChunkSamples: 8}
	cols := e.define(f, s)
	f64 := func(v float64) []byte { return binary.LittleEndian.AppendUint64(nil, math.Float64bits(v)) }
	ff := bytes.Repeat([]byte{0xff}, 70)
	x := Cells{f64(0), f64(negZero), nil, f64(nan), f64(-3), f64(nan), f64(nan), f64(nan), nil, nil, f64(nan), nil}
	y := Cells{{}, ff, []byte("a"), nil, bytes.Repeat([]byte("ab"), 60), nil, nil, {}, nil, nil, nil, nil}
	for i := 0; i < len(x); i += 3 {
		e.append(PackRows(cols, []Cells{x[i : i+3], y[i : i+3]}))
	}
	check := func() {
		e.Helper()
		for i, cells := range []Cells{x, y} {
			stats, err := e.tab.Stats(e.ctx, 0, cols[i].Name)
			e.ok(err)
			if err := checkAllStats(&cols[i], stats, cells); err != nil {
				e.Fatal(err)
			}
		}
	}
	check()
	x[4], y[1] = nil, []byte("b") // the old minimum and the unbounded string go away
	_, err := e.tab.Overwrite(e.ctx, tensor.OverwriteOptions{Start: 1}, Source(PackRows(cols, []Cells{x[1:5], y[1:5]})))
	e.ok(err)
	check()
	stats, err := e.tab.Stats(e.ctx, 0, "s")
	e.ok(err)
	if len(stats[0].Max) == 0 {
		e.Fatal("no upper bound after the string without one was overwritten")
	}
}
