package expr

import (
	"math/big"
	"slices"
	"strings"

	"daos/internal/fault"
)

// Predicate is a bound predicate: names are columns of a schema, types agree.
// It is immutable and may be used by several goroutines.
type Predicate struct {
	expr    Expr
	root    truth
	columns []int
}

// Value is a bound expression that gives values, not only truth.
type bound struct {
	t    Type
	node value    // nil for a literal
	lit  *Literal // the literal
	col  int      // the column that the node is, else -1
	x    Expr
	f    *Field // of a list
}

// Bind resolves the names of a predicate and checks its types. src is the text
// that it was parsed from, for the mark in errors; it may be empty.
func Bind(x Expr, schema Schema, src string) (*Predicate, error) {
	if err := Check(x); err != nil {
		return nil, err
	}
	b := &binder{schema: schema, src: src}
	root, err := b.truth(x)
	if err != nil {
		return nil, err
	}
	slices.Sort(b.columns)
	return &Predicate{x, root, slices.Compact(b.columns)}, nil
}

// Columns are the places in the schema of the columns that are named, ascending.
func (p *Predicate) Columns() []int { return p.columns }

// Expr is what was bound.
func (p *Predicate) Expr() Expr { return p.expr }

type binder struct {
	schema  Schema
	src     string
	columns []int
}

func (b *binder) problem(x Expr, format string, args ...any) *fault.Error {
	return Problem(b.src, x.At(), format, args...)
}

// truth binds what must be true or false.
func (b *binder) truth(x Expr) (truth, error) {
	c, ok := x.(*Call)
	if !ok {
		return b.boolean(x)
	}
	switch c.Fn {
	case And, Or:
		n := &junction{or: c.Fn == Or}
		for _, a := range c.Args {
			t, err := b.truth(a)
			if err != nil {
				return nil, err
			}
			n.parts = append(n.parts, t)
		}
		return n, nil
	case Not:
		t, err := b.truth(c.Args[0])
		if err != nil {
			return nil, err
		}
		return &negation{t}, nil
	case IsNull, NotNull:
		v, err := b.value(c.Args[0])
		if err != nil {
			return nil, err
		}
		if v.node == nil {
			return constant((v.t == Null) == (c.Fn == IsNull)), nil
		}
		return &nullness{v.node, c.Fn == NotNull, v.col}, nil
	case Eq, Ne, Lt, Le, Gt, Ge:
		l, r, err := b.pair(c.Args[0], c.Args[1])
		if err != nil {
			return nil, err
		}
		return b.compare(c.Fn, l, r, c)
	case Between:
		return b.between(c)
	case In:
		return b.in(c)
	case Like, Glob, Prefix, Suffix, Contains:
		return b.match(c)
	case IsNaN:
		v, err := b.value(c.Args[0])
		if err != nil {
			return nil, err
		}
		if !v.t.numeric() || v.node == nil {
			return nil, b.problem(c.Args[0], "isnan wants a column of numbers, not %s", describe(v))
		}
		return &nanness{v.node}, nil
	}
	return b.boolean(x)
}

// boolean binds a column or literal as a predicate.
func (b *binder) boolean(x Expr) (truth, error) {
	v, err := b.value(x)
	if err != nil {
		return nil, err
	}
	switch {
	case v.node == nil && v.t == Bool:
		return constant(v.lit.Value.B), nil
	case v.node == nil && v.t == Null:
		return unknownness{}, nil
	case v.t == Bool:
		return &compareConst[uint8]{col: v.col, node: v.node, op: Eq, c: 1, t: Bool}, nil
	}
	return nil, b.problem(x, "%s is %s, not a condition", x, describe(v)).Do("compare it with something: %s = ...", x)
}

func describe(v bound) string {
	if v.f != nil && v.t == List {
		return v.f.TypeName()
	}
	return v.t.String()
}

func (b *binder) pair(x, y Expr) (l, r bound, err error) {
	if l, err = b.value(x); err != nil {
		return l, r, err
	}
	r, err = b.value(y)
	return l, r, err
}

// value binds what has a value.
func (b *binder) value(x Expr) (bound, error) {
	switch e := x.(type) {
	case *Literal:
		return bound{t: e.Value.Type, lit: e, col: -1, x: x}, nil
	case *Column:
		i := b.schema.Index(e.Name)
		if i < 0 {
			err := b.problem(x, "no column %q", e.Name)
			if n := b.schema.Nearest(e.Name); n != "" {
				return bound{}, err.Do("did you mean %q?", n)
			}
			return bound{}, err.Do("there are %s", b.names())
		}
		b.columns = append(b.columns, i)
		f := &b.schema[i]
		return bound{t: f.Type, node: &column{i, f.Type}, col: i, x: x, f: f}, nil
	}
	c := x.(*Call)
	switch c.Fn {
	case Add, Sub, Mul, Div, Mod:
		return b.arithmetic(c)
	case Negate, Abs:
		v, err := b.value(c.Args[0])
		if err != nil {
			return bound{}, err
		}
		if !v.t.numeric() || v.node == nil {
			return bound{}, b.problem(c, "%s wants a column of numbers, not %s", c.Fn, describe(v))
		}
		return bound{t: arithType(v.t, v.t), node: &unary{c.Fn, v.node, arithType(v.t, v.t), x}, col: -1, x: x}, nil
	case Lower, Upper:
		v, err := b.value(c.Args[0])
		if err != nil {
			return bound{}, err
		}
		if v.t != Text || v.node == nil {
			return bound{}, b.problem(c, "%s wants a column of text, not %s", c.Fn, describe(v))
		}
		return bound{t: Text, node: &cased{v.node, c.Fn == Upper}, col: -1, x: x}, nil
	case Length:
		v, err := b.value(c.Args[0])
		if err != nil {
			return bound{}, err
		}
		if v.node == nil || !v.t.bytes() && v.t != List {
			return bound{}, b.problem(c, "length wants a column of text, bytes or lists, not %s", describe(v))
		}
		return bound{t: Int64, node: &length{v.node, v.t, v.f}, col: -1, x: x}, nil
	case Element:
		return b.elementOf(c)
	}
	// A condition where a value is wanted: (a > 1) = (b > 1).
	t, err := b.truth(c)
	if err != nil {
		return bound{}, err
	}
	return bound{t: Bool, node: &asValue{t}, col: -1, x: x}, nil
}

func (b *binder) names() string {
	s := ""
	for i := range b.schema {
		if i == 12 {
			return s + ", ..."
		}
		if i > 0 {
			s += ", "
		}
		s += b.schema[i].Name
	}
	return s
}

func (b *binder) elementOf(c *Call) (bound, error) {
	l, i, err := b.pair(c.Args[0], c.Args[1])
	if err != nil {
		return bound{}, err
	}
	if l.t != List || l.col < 0 || len(l.f.Shape) > 1 {
		return bound{}, b.problem(c, "an element can be taken of a list of one dimension, not of %s", describe(l))
	}
	if i.lit == nil || i.t != Int64 || i.lit.Value.I == 0 {
		return bound{}, b.problem(c.Args[1], "the index of an element is a whole number from 1 (or -1 for the last one)")
	}
	return bound{t: l.f.Elem, node: &element{l.col, l.f, i.lit.Value.I}, col: -1, x: c}, nil
}

// arithType is the type that arithmetic on two types is done in.
func arithType(a, b Type) Type {
	switch {
	case a.integer() && b.integer():
		return Int64
	case a == Float64 || b == Float64:
		return Float64
	}
	return Float32
}

func (b *binder) arithmetic(c *Call) (bound, error) {
	l, r, err := b.pair(c.Args[0], c.Args[1])
	if err != nil {
		return bound{}, err
	}
	for _, v := range []bound{l, r} {
		if !v.t.numeric() {
			return bound{}, b.problem(v.x, "%s wants numbers, not %s", c.Fn, describe(v))
		}
	}
	if l.node == nil && r.node == nil {
		return bound{}, b.problem(c, "%s of two constants", c.Fn).Do("write the result")
	}
	// A literal takes the other side's kind of number, as DuckDB has it.
	lt, rt := l.t, r.t
	fix := func(v *bound, t *Type, o Type) error {
		if v.node != nil {
			return nil
		}
		dec := v.lit.Value.Dec != ""
		switch {
		case o.float() && (dec || v.t.integer()):
			*t = o
		case o.integer() && dec && c.Fn != Div:
			return b.problem(v.x, "%s of an integer column and the decimal %s", c.Fn, v.lit.Value).
				Do("write it as a double: %se0", v.lit.Value)
		}
		return nil
	}
	if err := fix(&l, &lt, r.t); err != nil {
		return bound{}, err
	}
	if err := fix(&r, &rt, l.t); err != nil {
		return bound{}, err
	}
	t := arithType(lt, rt)
	if c.Fn == Div && t == Int64 {
		t = Float64
	}
	if c.Fn == Mod && t != Int64 {
		return bound{}, b.problem(c, "%% wants integers, not %s and %s", describe(l), describe(r))
	}
	ln, rn := l.node, r.node
	if ln == nil {
		ln = &fill{l.lit.Value}
	}
	if rn == nil {
		rn = &fill{r.lit.Value}
	}
	return bound{t: t, node: &calculation{c.Fn, ln, rn, t, c}, col: -1, x: c}, nil
}

// flip is the operator with its sides exchanged.
func flip(f Fn) Fn {
	switch f {
	case Lt:
		return Gt
	case Le:
		return Ge
	case Gt:
		return Lt
	case Ge:
		return Le
	}
	return f
}

func (b *binder) mismatch(l, r bound, c *Call) error {
	e := b.problem(c, "%s is %s and %s is %s: they can't be compared", l.x, describe(l), r.x, describe(r))
	if l.t == Text && r.node == nil && r.t.numeric() {
		return e.Do("compare text with text: '%s'", r.x)
	}
	return e
}

// compare binds l op r.
func (b *binder) compare(op Fn, l, r bound, c *Call) (truth, error) {
	if l.node == nil && r.node == nil {
		return nil, b.problem(c, "%s compares two constants", c).Do("name a column")
	}
	if l.node == nil {
		l, r, op = r, l, flip(op)
	}
	if r.node == nil {
		if r.t == Null {
			return unknownness{}, nil
		}
		return b.compareLiteral(op, l, r, c)
	}
	var t Type
	switch {
	case l.t.integer() && r.t.integer():
		t = Int64
	case l.t.numeric() && r.t.numeric():
		t = arithType(l.t, r.t)
	case l.t == r.t && (l.t == Text || l.t == Bytes || l.t == Time || l.t == Bool):
		t = l.t
	default:
		return nil, b.mismatch(l, r, c)
	}
	return &comparison{op, l.node, r.node, t}, nil
}

func (b *binder) compareLiteral(op Fn, l, r bound, c *Call) (truth, error) {
	v := r.lit.Value
	switch {
	case l.t.integer() && v.Type.numeric():
		if v.Type == Float64 && v.Dec == "" {
			return &compareConst[float64]{col: l.col, node: l.node, op: op, c: v.F, t: Float64}, nil
		}
		return intCompare(op, l, v.rat()), nil
	case l.t == Float64 && v.Type.numeric():
		return &compareConst[float64]{col: l.col, node: l.node, op: op, c: v.double(), t: Float64}, nil
	case l.t.float() && v.Type.numeric():
		if v.Type == Float64 && v.Dec == "" {
			return &compareConst[float64]{col: l.col, node: l.node, op: op, c: v.F, t: Float64}, nil
		}
		return &compareConst[float32]{col: l.col, node: l.node, op: op, c: float32(v.double()), t: Float32}, nil
	case l.t == Bytes && v.Type == Text && strings.Contains(v.S, "\\"):
		return nil, b.problem(r.x, "a backslash in a text that is compared with bytes is an escape in SQL").Do("write the bytes in hexadecimal: x'%x'", v.S)
	case l.t == Text && v.Type == Text, l.t == Bytes && (v.Type == Bytes || v.Type == Text):
		return &compareBytes{col: l.col, node: l.node, op: op, c: []byte(v.S)}, nil
	case l.t == Time && v.Type == Time:
		return &compareConst[int64]{col: l.col, node: l.node, op: op, c: v.I, t: Time}, nil
	case l.t == Time && v.Type == Text:
		ns, ok := ParseTime(v.S)
		if !ok {
			return nil, b.problem(r.x, "'%.40s' is not a time between 1678 and 2261", v.S).Do("write it as '2026-01-31 12:00:00'")
		}
		return &compareConst[int64]{col: l.col, node: l.node, op: op, c: ns, t: Time}, nil
	case l.t == Bool && v.Type == Bool:
		var c uint8
		if v.B {
			c = 1
		}
		return &compareConst[uint8]{col: l.col, node: l.node, op: op, c: c, t: Bool}, nil
	}
	return nil, b.mismatch(l, r, c)
}

// double is the number as a float64.
func (v Value) double() float64 {
	switch v.Type {
	case Int64:
		return float64(v.I)
	case Uint64:
		return float64(v.U)
	}
	return v.F
}

// intCompare compares an integer with any exact number: one that is no integer
// moves to the next one, one out of range of 64 bits decides alone.
func intCompare(op Fn, l bound, c *big.Rat) truth {
	whole := new(big.Int)
	if !c.IsInt() {
		switch op {
		case Eq:
			return &decided{l.node, no}
		case Ne:
			return &decided{l.node, yes}
		case Lt, Le: // x < 2.5 is x <= 2
			op = Le
		case Gt, Ge: // x > 2.5 is x > 2
			op = Gt
		}
		// The floor, also below zero.
		whole.Div(c.Num(), c.Denom())
	} else {
		whole.Set(c.Num())
	}
	if l.t == Uint64 {
		if whole.IsUint64() {
			return &compareConst[uint64]{col: l.col, node: l.node, op: op, c: whole.Uint64(), t: Uint64}
		}
	} else if whole.IsInt64() {
		return &compareConst[int64]{col: l.col, node: l.node, op: op, c: whole.Int64(), t: Int64}
	}
	above := whole.Sign() > 0 // the constant is above every value, or below
	answer := uint8(no)
	if op == Ne || above && (op == Lt || op == Le) || !above && (op == Gt || op == Ge) {
		answer = yes
	}
	return &decided{l.node, answer}
}

func (b *binder) between(c *Call) (truth, error) {
	n := &junction{}
	x, err := b.value(c.Args[0])
	if err != nil {
		return nil, err
	}
	if x.node == nil {
		return nil, b.problem(c.Args[0], "between wants a column before it")
	}
	for i, op := range []Fn{Ge, Le} {
		r, err := b.value(c.Args[i+1])
		if err != nil {
			return nil, err
		}
		t, err := b.compare(op, x, r, c)
		if err != nil {
			return nil, err
		}
		n.parts = append(n.parts, t)
	}
	if x.t.integer() || x.t == Float16 || x.t == Float32 {
		if err := b.oneKind(c, c.Args[1:]); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// oneKind refuses doubles beside other numbers: DuckDB would turn all of them,
// and the column, into doubles.
func (b *binder) oneKind(c *Call, args []Expr) error {
	double, other := false, false
	for _, a := range args {
		if l, ok := a.(*Literal); ok && l.Value.Type.numeric() {
			if l.Value.Type == Float64 && l.Value.Dec == "" {
				double = true
			} else {
				other = true
			}
		}
	}
	if double && other {
		return b.problem(c, "%s mixes doubles (with an exponent) with other numbers", c.Fn).Do("write all of them in one way")
	}
	return nil
}

func (b *binder) in(c *Call) (truth, error) {
	x, err := b.value(c.Args[0])
	if err != nil {
		return nil, err
	}
	if x.node == nil {
		return nil, b.problem(c.Args[0], "in wants a column before it")
	}
	if err := b.oneKind(c, c.Args[1:]); err != nil {
		return nil, err
	}
	set := &membership{col: x.col, node: x.node, t: x.t}
	rest := &junction{or: true}
	for _, a := range c.Args[1:] {
		l, ok := a.(*Literal)
		if !ok {
			return nil, b.problem(a, "the values of in are constants")
		}
		if l.Value.Type == Null {
			set.null = true
			continue
		}
		t, err := b.compare(Eq, x, bound{t: l.Value.Type, lit: l, col: -1, x: a}, c)
		if err != nil {
			return nil, err
		}
		switch e := t.(type) {
		case *compareConst[int64]:
			set.ints = append(set.ints, e.c)
		case *compareBytes:
			set.texts = append(set.texts, string(e.c))
		case *decided: // never equal
		default:
			rest.parts = append(rest.parts, t)
		}
	}
	set.finish()
	if len(rest.parts) == 0 {
		return set, nil
	}
	rest.parts = append(rest.parts, set)
	return rest, nil
}

func (b *binder) match(c *Call) (truth, error) {
	x, p, err := b.pair(c.Args[0], c.Args[1])
	if err != nil {
		return nil, err
	}
	if x.t != Text || x.node == nil {
		return nil, b.problem(c.Args[0], "%s wants a column of text, not %s", c.Fn, describe(x))
	}
	if p.lit == nil || p.t != Text && p.t != Null {
		return nil, b.problem(c.Args[1], "%s wants a text in single quotes", c.Fn)
	}
	if p.t == Null {
		return unknownness{}, nil
	}
	m, err := compilePattern(c.Fn, p.lit.Value.S)
	if err != nil {
		return nil, b.problem(c.Args[1], "%s", err.Error())
	}
	return &matching{col: x.col, node: x.node, m: m}, nil
}
