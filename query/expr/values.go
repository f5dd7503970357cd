package expr

import (
	"bytes"
	"math"
	"math/bits"
	"unicode"
	"unicode/utf8"

	"daos/internal/fault"
)

// vec is the values of an expression for the rows of a batch. Integers are
// widened to int64 or uint64, floats to float64 (Float32 says that they were
// rounded to float32).
type vec struct {
	t     Type
	i     []int64  // Int8..Int64, Time: t is Int64 or Time
	u     []uint64 // t is Uint64
	f     []float64
	b     []uint8 // Bool
	data  []byte  // Text, Bytes
	off   []uint64
	valid []byte
}

// value is an expression that gives values.
type value interface {
	eval(b *Batch) (vec, error)
}

type column struct {
	col int
	t   Type
}

func (c *column) eval(b *Batch) (vec, error) {
	v := &b.Columns[c.col]
	out := vec{valid: v.Valid}
	n := b.N
	switch c.t {
	case Bool:
		out.t, out.b = Bool, v.Values[:n]
	case Int8:
		out.t, out.i = Int64, widen(view[int8](v.Values, n))
	case Int16:
		out.t, out.i = Int64, widen(view[int16](v.Values, n))
	case Int32:
		out.t, out.i = Int64, widen(view[int32](v.Values, n))
	case Int64:
		out.t, out.i = Int64, view[int64](v.Values, n)
	case Time:
		out.t, out.i = Time, view[int64](v.Values, n)
	case Uint8:
		out.t, out.i = Int64, widen(view[uint8](v.Values, n))
	case Uint16:
		out.t, out.i = Int64, widen(view[uint16](v.Values, n))
	case Uint32:
		out.t, out.i = Int64, widen(view[uint32](v.Values, n))
	case Uint64:
		out.t, out.u = Uint64, view[uint64](v.Values, n)
	case Float16:
		out.t, out.f = Float32, floats(halves(view[uint16](v.Values, n)))
	case Float32:
		out.t, out.f = Float32, floats(view[float32](v.Values, n))
	case Float64:
		out.t, out.f = Float64, view[float64](v.Values, n)
	case Text, Bytes:
		out.t, out.data, out.off = c.t, v.Values, v.Offsets
	case List:
		out.t = List
	}
	return out, nil
}

func widen[T native](v []T) []int64 {
	out := make([]int64, len(v))
	for i, x := range v {
		out[i] = int64(x)
	}
	return out
}

func floats(v []float32) []float64 {
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = float64(x)
	}
	return out
}

// fill is a constant in arithmetic.
type fill struct{ v Value }

func (c *fill) eval(b *Batch) (vec, error) {
	switch c.v.Type {
	case Int64:
		return vec{t: Int64, i: repeat(c.v.I, b.N)}, nil
	case Uint64:
		return vec{t: Uint64, u: repeat(c.v.U, b.N)}, nil
	}
	return vec{t: Float64, f: repeat(c.v.F, b.N)}, nil
}

func repeat[T any](v T, n int) []T {
	out := make([]T, n)
	for i := range out {
		out[i] = v
	}
	return out
}

// float64s is the numbers as floats, rounded to float32 if t is Float32.
func (v *vec) float64s(t Type) []float64 {
	var out []float64
	switch v.t {
	case Int64:
		out = make([]float64, len(v.i))
		for i, x := range v.i {
			out[i] = float64(x)
			if t == Float32 {
				out[i] = float64(float32(x))
			}
		}
		return out
	case Uint64:
		out = make([]float64, len(v.u))
		for i, x := range v.u {
			out[i] = float64(x)
			if t == Float32 {
				out[i] = float64(float32(x))
			}
		}
		return out
	}
	if t == Float32 && v.t != Float32 {
		out = make([]float64, len(v.f))
		for i, x := range v.f {
			out[i] = float64(float32(x))
		}
		return out
	}
	return v.f
}

// ok reports whether row i has a value.
func ok(valid []byte, i int) bool { return valid == nil || valid[i] != 0 }

func bothValid(a, b []byte) []byte {
	if a == nil {
		return b
	}
	if b == nil {
		return a
	}
	out := make([]byte, len(a))
	for i := range out {
		out[i] = a[i] & b[i]
	}
	return out
}

// calculation is arithmetic on two values.
type calculation struct {
	fn   Fn
	l, r value
	t    Type
	x    Expr
}

func overflow(x Expr) error {
	return fault.New(fault.Invalid, "query.where", "predicate", "an integer overflows in %s", x).
		Do("add 0e0 to one side to calculate in doubles")
}

func (c *calculation) eval(b *Batch) (vec, error) {
	l, err := c.l.eval(b)
	if err != nil {
		return vec{}, err
	}
	r, err := c.r.eval(b)
	if err != nil {
		return vec{}, err
	}
	valid := bothValid(l.valid, r.valid)
	if c.t == Int64 {
		return c.integers(&l, &r, valid)
	}
	x, y := l.float64s(c.t), r.float64s(c.t)
	out := make([]float64, len(x))
	for i := range out {
		var f float64
		switch c.fn {
		case Add:
			f = x[i] + y[i]
		case Sub:
			f = x[i] - y[i]
		case Mul:
			f = x[i] * y[i]
		case Div:
			f = x[i] / y[i]
		}
		if c.t == Float32 {
			f = float64(float32(f))
		}
		out[i] = f
	}
	return vec{t: c.t, f: out, valid: valid}, nil
}

// signed is the values as int64; those of a null row do not count.
func (v *vec) signed(valid []byte) ([]int64, bool) {
	if v.t != Uint64 {
		return v.i, true
	}
	out := make([]int64, len(v.u))
	for i, u := range v.u {
		if u > math.MaxInt64 && ok(valid, i) {
			return nil, false
		}
		out[i] = int64(u)
	}
	return out, true
}

func (c *calculation) integers(l, r *vec, valid []byte) (vec, error) {
	x, okx := l.signed(valid)
	y, oky := r.signed(valid)
	if !okx || !oky {
		return vec{}, overflow(c.x)
	}
	out := make([]int64, len(x))
	var nulls []byte
	for i := range out {
		a, b := x[i], y[i]
		good := true
		switch c.fn {
		case Add:
			out[i] = a + b
			good = (a^out[i])&(b^out[i]) >= 0
		case Sub:
			out[i] = a - b
			good = (a^b)&(a^out[i]) >= 0
		case Mul:
			hi, lo := bits.Mul64(uint64(a), uint64(b))
			h := int64(hi)
			if a < 0 {
				h -= b
			}
			if b < 0 {
				h -= a
			}
			out[i] = int64(lo)
			good = h == int64(lo)>>63
		case Mod:
			switch b {
			case 0: // NULL
				if nulls == nil {
					nulls = make([]byte, len(out))
					for j := range nulls {
						if ok(valid, j) {
							nulls[j] = 1
						}
					}
				}
				nulls[i] = 0
			case -1:
				out[i] = 0
			default:
				out[i] = a % b
			}
		}
		if !good && ok(valid, i) {
			return vec{}, overflow(c.x)
		}
	}
	if nulls != nil {
		valid = nulls
	}
	return vec{t: Int64, i: out, valid: valid}, nil
}

// unary is -x and abs(x).
type unary struct {
	fn Fn
	v  value
	t  Type
	x  Expr
}

func (c *unary) eval(b *Batch) (vec, error) {
	v, err := c.v.eval(b)
	if err != nil {
		return vec{}, err
	}
	if c.t == Int64 {
		if c.fn == Abs && v.t == Uint64 {
			return v, nil
		}
		x, good := v.signed(v.valid)
		if !good {
			return vec{}, overflow(c.x)
		}
		out := make([]int64, len(x))
		for i, a := range x {
			if a == math.MinInt64 && ok(v.valid, i) {
				return vec{}, overflow(c.x)
			}
			if out[i] = a; c.fn == Negate || a < 0 {
				out[i] = -a
			}
		}
		return vec{t: Int64, i: out, valid: v.valid}, nil
	}
	out := make([]float64, len(v.f))
	for i, f := range v.f {
		if out[i] = -f; c.fn == Abs {
			out[i] = math.Abs(f)
		}
	}
	return vec{t: v.t, f: out, valid: v.valid}, nil
}

// cased is lower(x) and upper(x), by the simple mapping of each character.
type cased struct {
	v     value
	upper bool
}

func (c *cased) eval(b *Batch) (vec, error) {
	v, err := c.v.eval(b)
	if err != nil {
		return vec{}, err
	}
	to := unicode.ToLower
	if c.upper {
		to = unicode.ToUpper
	}
	out := vec{t: Text, valid: v.valid, off: make([]uint64, 1, b.N+1), data: make([]byte, 0, v.off[b.N]-v.off[0])}
	for i := range b.N {
		out.data = append(out.data, bytes.Map(to, v.data[v.off[i]:v.off[i+1]])...)
		out.off = append(out.off, uint64(len(out.data)))
	}
	return out, nil
}

// length counts the characters of a text, the bytes of a blob, the elements of
// a list.
type length struct {
	v value
	t Type
	f *Field
}

func (c *length) eval(b *Batch) (vec, error) {
	out := make([]int64, b.N)
	if c.t == List {
		col := &b.Columns[c.v.(*column).col]
		for i := range out {
			if c.f.Shape != nil {
				out[i] = int64(c.f.Shape[0])
			} else {
				out[i] = int64(col.Offsets[i+1]-col.Offsets[i]) / int64(c.f.Elem.Size())
			}
		}
		return vec{t: Int64, i: out, valid: col.Valid}, nil
	}
	v, err := c.v.eval(b)
	if err != nil {
		return vec{}, err
	}
	for i := range out {
		s := v.data[v.off[i]:v.off[i+1]]
		if out[i] = int64(len(s)); c.t == Text {
			out[i] = int64(utf8.RuneCount(s))
		}
	}
	return vec{t: Int64, i: out, valid: v.valid}, nil
}

// element is one element of a list, null where the list has none there.
type element struct {
	col   int
	f     *Field
	index int64 // from 1; from -1 counted from the end
}

func (c *element) eval(b *Batch) (vec, error) {
	col := &b.Columns[c.col]
	size := c.f.Elem.Size()
	one := Vector{Values: make([]byte, b.N*size), Valid: make([]byte, b.N)}
	for i := range b.N {
		var row []byte
		if c.f.Shape != nil {
			n := int(c.f.Shape[0]) * size
			row = col.Values[i*n : (i+1)*n]
		} else {
			row = col.Values[col.Offsets[i]:col.Offsets[i+1]]
		}
		k, n := c.index-1, int64(len(row)/size)
		if c.index < 0 {
			k = n + c.index
		}
		if ok(col.Valid, i) && k >= 0 && k < n {
			copy(one.Values[i*size:], row[int(k)*size:int(k+1)*size])
			one.Valid[i] = 1
		}
	}
	return (&column{0, c.f.Elem}).eval(&Batch{N: b.N, Columns: []Vector{one}})
}

// asValue is a condition as a value.
type asValue struct{ t truth }

func (c *asValue) eval(b *Batch) (vec, error) {
	out := make([]uint8, b.N)
	if err := c.t.eval(b, out); err != nil {
		return vec{}, err
	}
	var valid []byte
	for i, t := range out {
		if t == unknown {
			if valid == nil {
				valid = repeat(byte(1), len(out))
			}
			valid[i], out[i] = 0, 0
		}
	}
	return vec{t: Bool, b: out, valid: valid}, nil
}
