package expr

import (
	"slices"

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
			return nil, b.problem(c.Args[0], "isnan wants a column of numbers, not %s", given(v))
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

// given describes what stands where a column is wanted.
func given(v bound) string {
	if v.lit != nil {
		return "a constant"
	}
	return describe(v)
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
			return bound{}, b.problem(c, "%s wants a column of numbers, not %s", c.Fn, given(v))
		}
		return bound{t: arithType(v.t, v.t), node: &unary{c.Fn, v.node, arithType(v.t, v.t), x}, col: -1, x: x}, nil
	case Lower, Upper:
		v, err := b.value(c.Args[0])
		if err != nil {
			return bound{}, err
		}
		if v.t != Text || v.node == nil {
			return bound{}, b.problem(c, "%s wants a column of text, not %s", c.Fn, given(v))
		}
		return bound{t: Text, node: &cased{v.node, c.Fn == Upper}, col: -1, x: x}, nil
	case Length:
		v, err := b.value(c.Args[0])
		if err != nil {
			return bound{}, err
		}
		if v.node == nil || !v.t.bytes() && v.t != List {
			return bound{}, b.problem(c, "length wants a column of text, bytes or lists, not %s", given(v))
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
