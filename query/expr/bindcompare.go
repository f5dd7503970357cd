package expr

import (
	"math/big"
	"strings"
)

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
		return nil, b.problem(c.Args[0], "%s wants a column of text, not %s", c.Fn, given(x))
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
