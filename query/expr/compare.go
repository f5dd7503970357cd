package expr

import (
	"bytes"
	"math"
)

// compareConst compares with a number, a time or a truth value; t is what both
// sides are compared as: Int64, Uint64, Float32, Float64, Time or Bool.
type compareConst[T int64 | uint64 | float32 | float64 | uint8] struct {
	col  int // the column that node is, else -1
	node value
	op   Fn
	c    T
	t    Type
}

func (c *compareConst[T]) eval(b *Batch, out []uint8) error {
	if c.col >= 0 {
		v := &b.Columns[c.col]
		if c.column(v, b.N, out) {
			nulls(out, v.Valid)
			return nil
		}
	}
	v, err := c.node.eval(b)
	if err != nil {
		return err
	}
	switch k := any(c.c).(type) {
	case int64:
		if v.t == Uint64 { // a value of uint64 arithmetic
			for i, u := range v.u {
				out[i] = truthOf(holds(c.op, compareMixed(u, k)))
			}
		} else {
			compareInts(c.op, v.i, k, out)
		}
	case uint64:
		if v.t == Uint64 {
			compareInts(c.op, v.u, k, out)
		} else {
			for i, x := range v.i {
				out[i] = truthOf(holds(c.op, -compareMixed(k, x)))
			}
		}
	case float32:
		compareFloats(c.op, v.float64s(Float32), float64(k), out)
	case float64:
		compareFloats(c.op, v.float64s(Float64), k, out)
	case uint8:
		compareInts(c.op, v.b, k, out)
	}
	nulls(out, v.valid)
	return nil
}

// column compares the values of a column where they lie.
func (c *compareConst[T]) column(v *Vector, n int, out []uint8) bool {
	t := c.node.(*column).t
	switch k := any(c.c).(type) {
	case int64:
		switch t {
		case Int8:
			return compareNarrow[int8](c.op, v, k, math.MinInt8, math.MaxInt8, out)
		case Int16:
			return compareNarrow[int16](c.op, v, k, math.MinInt16, math.MaxInt16, out)
		case Int32:
			return compareNarrow[int32](c.op, v, k, math.MinInt32, math.MaxInt32, out)
		case Uint8:
			return compareNarrow[uint8](c.op, v, k, 0, math.MaxUint8, out)
		case Uint16:
			return compareNarrow[uint16](c.op, v, k, 0, math.MaxUint16, out)
		case Uint32:
			return compareNarrow[uint32](c.op, v, k, 0, math.MaxUint32, out)
		case Int64, Time:
			compareInts(c.op, view[int64](v.Values, n), k, out)
			return true
		}
	case uint64:
		if t == Uint64 {
			compareInts(c.op, view[uint64](v.Values, n), k, out)
			return true
		}
	case float32:
		if t == Float32 {
			compareFloats(c.op, view[float32](v.Values, n), k, out)
			return true
		}
	case float64:
		if t == Float64 {
			compareFloats(c.op, view[float64](v.Values, n), k, out)
			return true
		}
	case uint8:
		compareInts(c.op, v.Values[:n], k, out)
		return true
	}
	return false
}

// compareNarrow compares in the column's own width; a constant that does not
// fit decides alone.
func compareNarrow[T int8 | int16 | int32 | uint8 | uint16 | uint32](op Fn, v *Vector, k, lo, hi int64, out []uint8) bool {
	if k < lo || k > hi {
		sign := -1 // every value is below k
		if k < lo {
			sign = 1
		}
		set(out, truthOf(holds(op, sign)))
		return true
	}
	compareInts(op, view[T](v.Values, len(out)), T(k), out)
	return true
}

type ordered interface {
	~int8 | ~int16 | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32 | ~uint64
}

// bit makes 0 or 1 of a comparison; the compiler has no branch for it.
func bit(b bool) uint8 {
	var x uint8
	if b {
		x = 1
	}
	return x
}

func compareInts[T ordered](op Fn, v []T, c T, out []uint8) {
	out = out[:len(v)]
	switch op {
	case Eq:
		for i, x := range v {
			out[i] = bit(x == c)
		}
	case Ne:
		for i, x := range v {
			out[i] = bit(x != c)
		}
	case Lt:
		for i, x := range v {
			out[i] = bit(x < c)
		}
	case Le:
		for i, x := range v {
			out[i] = bit(x <= c)
		}
	case Gt:
		for i, x := range v {
			out[i] = bit(x > c)
		}
	case Ge:
		for i, x := range v {
			out[i] = bit(x >= c)
		}
	}
}

// compareFloats compares with NaN as the greatest number, equal to itself.
func compareFloats[T float32 | float64](op Fn, v []T, c T, out []uint8) {
	out = out[:len(v)]
	if math.IsNaN(float64(c)) {
		for i, x := range v {
			nan := math.IsNaN(float64(x))
			switch op {
			case Eq, Ge:
				out[i] = bit(nan)
			case Ne, Lt:
				out[i] = bit(!nan)
			case Le:
				out[i] = yes
			default:
				out[i] = no
			}
		}
		return
	}
	switch op {
	case Eq:
		for i, x := range v {
			out[i] = bit(x == c)
		}
	case Ne:
		for i, x := range v {
			out[i] = bit(x != c)
		}
	case Lt:
		for i, x := range v {
			out[i] = bit(x < c)
		}
	case Le:
		for i, x := range v {
			out[i] = bit(x <= c)
		}
	case Gt:
		for i, x := range v {
			out[i] = bit(!(x <= c))
		}
	case Ge:
		for i, x := range v {
			out[i] = bit(!(x < c))
		}
	}
}

// holds is op for a three-way comparison.
func holds(op Fn, cmp int) bool {
	switch op {
	case Eq:
		return cmp == 0
	case Ne:
		return cmp != 0
	case Lt:
		return cmp < 0
	case Le:
		return cmp <= 0
	case Gt:
		return cmp > 0
	}
	return cmp >= 0
}

func three[T ordered](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func compareMixed(u uint64, i int64) int {
	if i < 0 {
		return 1
	}
	return three(u, uint64(i))
}

func threeFloat(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	case a == b:
		return 0
	case a != a && b != b:
		return 0
	case a != a:
		return 1
	}
	return -1
}

// comparison compares two expressions as type t.
type comparison struct {
	op   Fn
	l, r value
	t    Type
}

func (c *comparison) eval(b *Batch, out []uint8) error {
	l, err := c.l.eval(b)
	if err != nil {
		return err
	}
	r, err := c.r.eval(b)
	if err != nil {
		return err
	}
	switch {
	case c.t == Float32 || c.t == Float64:
		x, y := l.float64s(c.t), r.float64s(c.t)
		for i := range out {
			out[i] = truthOf(holds(c.op, threeFloat(x[i], y[i])))
		}
	case c.t == Text || c.t == Bytes:
		for i := range out {
			out[i] = truthOf(holds(c.op, bytes.Compare(l.data[l.off[i]:l.off[i+1]], r.data[r.off[i]:r.off[i+1]])))
		}
	case c.t == Bool:
		for i := range out {
			out[i] = truthOf(holds(c.op, three(l.b[i], r.b[i])))
		}
	default:
		for i := range out {
			var cmp int
			switch {
			case l.t != Uint64 && r.t != Uint64:
				cmp = three(l.i[i], r.i[i])
			case l.t == Uint64 && r.t == Uint64:
				cmp = three(l.u[i], r.u[i])
			case l.t == Uint64:
				cmp = compareMixed(l.u[i], r.i[i])
			default:
				cmp = -compareMixed(r.u[i], l.i[i])
			}
			out[i] = truthOf(holds(c.op, cmp))
		}
	}
	nulls(out, l.valid)
	nulls(out, r.valid)
	return nil
}
