package expr

import (
	"bytes"
	"math"
	"slices"
)

// truth is a condition.
type truth interface {
	// eval sets out, of b.N bytes, to no, yes or unknown for each row.
	eval(b *Batch, out []uint8) error
	// may is which answers are possible for rows of a chunk with these
	// statistics; too many is right, too few is not.
	may(s []Stats) outcome
}

// Filter appends to keep the rows of a batch for which the predicate is true.
func (p *Predicate) Filter(b *Batch, keep []uint32) ([]uint32, error) {
	out := make([]uint8, b.N)
	if err := p.root.eval(b, out); err != nil {
		return keep, err
	}
	for i, t := range out {
		if t == yes {
			keep = append(keep, uint32(i))
		}
	}
	return keep, nil
}

// nulls sets the answers of null rows to unknown.
func nulls(out []uint8, valid []byte) {
	for i, v := range valid[:min(len(valid), len(out))] {
		if v == 0 {
			out[i] = unknown
		}
	}
}

func set(out []uint8, t uint8) {
	for i := range out {
		out[i] = t
	}
}

func truthOf(b bool) uint8 {
	if b {
		return yes
	}
	return no
}

// constant is TRUE and FALSE.
type constant bool

func (c constant) eval(_ *Batch, out []uint8) error {
	set(out, truthOf(bool(c)))
	return nil
}

// unknownness is a comparison with NULL.
type unknownness struct{}

func (unknownness) eval(_ *Batch, out []uint8) error {
	set(out, unknown)
	return nil
}

// decided has one answer for all values, unknown for null.
type decided struct {
	node   value
	answer uint8
}

func (c *decided) eval(b *Batch, out []uint8) error {
	v, err := c.node.eval(b)
	if err != nil {
		return err
	}
	set(out, c.answer)
	nulls(out, v.valid)
	return nil
}

// junction is and, or.
type junction struct {
	or    bool
	parts []truth
}

func (c *junction) eval(b *Batch, out []uint8) error {
	if err := c.parts[0].eval(b, out); err != nil {
		return err
	}
	next := make([]uint8, len(out))
	decisive := uint8(no)
	if c.or {
		decisive = yes
	}
	for _, p := range c.parts[1:] {
		if err := p.eval(b, next); err != nil {
			return err
		}
		for i, t := range next {
			switch {
			case out[i] == decisive:
			case t == decisive:
				out[i] = decisive
			case t == unknown:
				out[i] = unknown
			}
		}
	}
	return nil
}

type negation struct{ of truth }

func (c *negation) eval(b *Batch, out []uint8) error {
	if err := c.of.eval(b, out); err != nil {
		return err
	}
	for i, t := range out {
		if t != unknown {
			out[i] = 1 - t
		}
	}
	return nil
}

// nullness is "is null" and "is not null".
type nullness struct {
	node value
	not  bool
	col  int
}

func (c *nullness) eval(b *Batch, out []uint8) error {
	var valid []byte
	if c.col >= 0 {
		valid = b.Columns[c.col].Valid
	} else {
		v, err := c.node.eval(b)
		if err != nil {
			return err
		}
		valid = v.valid
	}
	for i := range out {
		out[i] = truthOf(ok(valid, i) == c.not)
	}
	return nil
}

type nanness struct{ node value }

func (c *nanness) eval(b *Batch, out []uint8) error {
	v, err := c.node.eval(b)
	if err != nil {
		return err
	}
	set(out, no)
	for i, f := range v.f {
		if f != f {
			out[i] = yes
		}
	}
	nulls(out, v.valid)
	return nil
}

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

// compareBytes compares a text or a blob with a constant, byte by byte.
type compareBytes struct {
	col  int
	node value
	op   Fn
	c    []byte
}

func (c *compareBytes) eval(b *Batch, out []uint8) error {
	v, err := c.node.eval(b)
	if err != nil {
		return err
	}
	if c.op == Eq || c.op == Ne {
		want := truthOf(c.op == Eq)
		for i := range out {
			out[i] = 1 - want
			if s := v.data[v.off[i]:v.off[i+1]]; len(s) == len(c.c) && string(s) == string(c.c) {
				out[i] = want
			}
		}
	} else {
		for i := range out {
			out[i] = truthOf(holds(c.op, bytes.Compare(v.data[v.off[i]:v.off[i+1]], c.c)))
		}
	}
	nulls(out, v.valid)
	return nil
}

// membership is x in (constants).
type membership struct {
	col   int
	node  value
	t     Type
	ints  []int64 // ascending
	texts []string
	has   map[string]struct{}
	hasI  map[int64]struct{}
	null  bool // NULL is among them: what is not in is unknown
}

func (c *membership) finish() {
	slices.Sort(c.ints)
	c.ints = slices.Compact(c.ints)
	slices.Sort(c.texts)
	c.texts = slices.Compact(c.texts)
	if len(c.texts) > 4 {
		c.has = make(map[string]struct{}, len(c.texts))
		for _, s := range c.texts {
			c.has[s] = struct{}{}
		}
	}
	if len(c.ints) > 4 {
		c.hasI = make(map[int64]struct{}, len(c.ints))
		for _, i := range c.ints {
			c.hasI[i] = struct{}{}
		}
	}
}

func (c *membership) eval(b *Batch, out []uint8) error {
	v, err := c.node.eval(b)
	if err != nil {
		return err
	}
	miss := uint8(no)
	if c.null {
		miss = unknown
	}
	set(out, miss)
	switch {
	case len(c.ints) > 0:
		for i := range out {
			x := int64(0)
			if v.t == Uint64 {
				if v.u[i] > math.MaxInt64 {
					continue
				}
				x = int64(v.u[i])
			} else {
				x = v.i[i]
			}
			in := false
			if c.hasI != nil {
				_, in = c.hasI[x]
			} else {
				in = slices.Contains(c.ints, x)
			}
			if in {
				out[i] = yes
			}
		}
	case len(c.texts) > 0:
		for i := range out {
			s := v.data[v.off[i]:v.off[i+1]]
			in := false
			if c.has != nil {
				_, in = c.has[string(s)]
			} else {
				for _, t := range c.texts {
					in = in || string(s) == t
				}
			}
			if in {
				out[i] = yes
			}
		}
	}
	nulls(out, v.valid)
	return nil
}

// matching is like, glob, prefix, suffix and contains.
type matching struct {
	col  int
	node value
	m    *pattern
}

func (c *matching) eval(b *Batch, out []uint8) error {
	v, err := c.node.eval(b)
	if err != nil {
		return err
	}
	for i := range out {
		out[i] = truthOf(c.m.match(v.data[v.off[i]:v.off[i+1]]))
	}
	nulls(out, v.valid)
	return nil
}
