package expr

import (
	"bytes"
	"math"
	"strings"
)

// Stats summarises one column of a chunk. The zero value says nothing.
type Stats struct {
	Known bool // Rows, Nulls and NaNs are right
	Rows  uint64
	Nulls uint64
	NaNs  uint64
	// Min and Max are bounds of the values that are neither null nor NaN: of
	// the column's kind, Int64 or Uint64, Float64, Text or Bytes, Time. nil: no
	// bound is known (or there is no value). Bounds of texts may be wider than
	// the values.
	Min, Max *Value
}

// outcome is the answers that are possible.
type outcome struct{ yes, no, unknown bool }

var open = outcome{true, true, true}

// Verdict says what a chunk's statistics decide.
type Verdict uint8

// The verdicts.
const (
	Some Verdict = iota // it has to be looked at
	None                // no row can match
	All                 // every row matches
)

// Prune says whether any row of a chunk can match, or all of them do, from the
// statistics of its columns, by place in the schema.
func (p *Predicate) Prune(s []Stats) Verdict {
	o := p.root.may(s)
	switch {
	case !o.yes:
		return None
	case !o.no && !o.unknown:
		return All
	}
	return Some
}

func (c constant) may([]Stats) outcome    { return outcome{yes: bool(c), no: !bool(c)} }
func (unknownness) may([]Stats) outcome   { return outcome{unknown: true} }
func (c *comparison) may([]Stats) outcome { return open }

func (c *decided) may([]Stats) outcome {
	return outcome{yes: c.answer == yes, no: c.answer == no, unknown: true}
}

func (c *junction) may(s []Stats) outcome {
	o := c.parts[0].may(s)
	for _, p := range c.parts[1:] {
		q := p.may(s)
		if c.or {
			o = outcome{o.yes || q.yes, o.no && q.no, (o.unknown && (q.unknown || q.no)) || (q.unknown && (o.unknown || o.no))}
		} else {
			o = outcome{o.yes && q.yes, o.no || q.no, (o.unknown && (q.unknown || q.yes)) || (q.unknown && (o.unknown || o.yes))}
		}
	}
	return o
}

func (c *negation) may(s []Stats) outcome {
	o := c.of.may(s)
	return outcome{o.no, o.yes, o.unknown}
}

// of is the statistics of a column, nil where nothing is known.
func of(s []Stats, col int) *Stats {
	if col < 0 || col >= len(s) || !s[col].Known {
		return nil
	}
	return &s[col]
}

func (c *nullness) may(s []Stats) outcome {
	st := of(s, c.col)
	if st == nil {
		return outcome{yes: true, no: true}
	}
	some, all := st.Nulls > 0, st.Nulls == st.Rows
	if c.not {
		return outcome{yes: !all, no: some}
	}
	return outcome{yes: some, no: !all}
}

func (c *nanness) may(s []Stats) outcome {
	col, ok := c.node.(*column)
	if !ok {
		return open
	}
	st := of(s, col.col)
	if st == nil {
		return open
	}
	return outcome{yes: st.NaNs > 0, no: st.NaNs+st.Nulls < st.Rows, unknown: st.Nulls > 0}
}

// sides is which results of a three-way comparison with a constant are possible.
func sides(op Fn, less, equal, greater, null bool) outcome {
	o := outcome{unknown: null}
	for _, x := range []struct {
		may  bool
		sign int
	}{{less, -1}, {equal, 0}, {greater, 1}} {
		if x.may {
			if holds(op, x.sign) {
				o.yes = true
			} else {
				o.no = true
			}
		}
	}
	return o
}

func (c *compareConst[T]) may(s []Stats) outcome {
	st := of(s, c.col)
	if st == nil {
		return open
	}
	null := st.Nulls > 0
	values := st.Rows - st.Nulls - st.NaNs // neither null nor NaN
	var less, equal, greater bool
	var nan bool
	if f, ok := any(c.c).(float64); ok {
		nan = math.IsNaN(f)
	}
	switch {
	case values == 0:
	case nan:
		less = true
	default:
		lo, hi := -1, 1 // the sign of min-c, max-c
		if st.Min != nil {
			lo = c.against(st.Min)
		}
		if st.Max != nil {
			hi = c.against(st.Max)
		}
		less, equal, greater = lo < 0, lo <= 0 && hi >= 0, hi > 0
	}
	if st.NaNs > 0 {
		if nan {
			equal = true
		} else {
			greater = true
		}
	}
	return sides(c.op, less, equal, greater, null)
}

// against compares a bound with the constant.
func (c *compareConst[T]) against(v *Value) int {
	switch k := any(c.c).(type) {
	case int64:
		if v.Type == Uint64 {
			return compareMixed(v.U, k)
		}
		return three(v.I, k)
	case uint64:
		if v.Type == Uint64 {
			return three(v.U, k)
		}
		return -compareMixed(k, v.I)
	case float32:
		return threeFloat(float64(float32(v.double())), float64(k))
	case float64:
		return threeFloat(v.double(), k)
	case uint8:
		return three(bit(v.B), k)
	}
	return 0
}

func (c *compareBytes) may(s []Stats) outcome {
	st := of(s, c.col)
	if st == nil {
		return open
	}
	if st.Nulls == st.Rows {
		return outcome{unknown: true}
	}
	lo, hi := -1, 1
	if st.Min != nil {
		lo = bytes.Compare([]byte(st.Min.S), c.c)
	}
	if st.Max != nil {
		hi = bytes.Compare([]byte(st.Max.S), c.c)
	}
	return sides(c.op, lo < 0, lo <= 0 && hi >= 0, hi > 0, st.Nulls > 0)
}

func (c *membership) may(s []Stats) outcome {
	st := of(s, c.col)
	if st == nil {
		return open
	}
	o := outcome{no: !c.null, unknown: c.null || st.Nulls > 0}
	if st.Nulls == st.Rows {
		return outcome{unknown: true}
	}
	for _, i := range c.ints {
		k := compareConst[int64]{col: c.col, op: Eq, c: i}
		o.yes = o.yes || k.may(s).yes
	}
	for _, t := range c.texts {
		k := compareBytes{col: c.col, op: Eq, c: []byte(t)}
		o.yes = o.yes || k.may(s).yes
	}
	return o
}

func (c *matching) may(s []Stats) outcome {
	st := of(s, c.col)
	if st == nil || len(c.m.prefix) == 0 {
		return open
	}
	if st.Nulls == st.Rows {
		return outcome{unknown: true}
	}
	o := outcome{yes: true, no: true, unknown: st.Nulls > 0}
	if st.Max != nil && bytes.Compare([]byte(st.Max.S), c.m.prefix) < 0 {
		o.yes = false
	}
	if st.Min != nil && st.Min.S > string(c.m.prefix) && !bytes.HasPrefix([]byte(st.Min.S), c.m.prefix) {
		o.yes = false
	}
	return o
}

// Range is the bounds of a text or bytes column that a predicate implies: all
// rows that match have lo <= value and, unless open, value < hi. Without any
// bound it is (nil, nil, true).
func Range(x Expr, column string) (lo, hi []byte, unbounded bool) {
	unbounded = true
	low := func(b []byte) {
		if bytes.Compare(b, lo) > 0 {
			lo = b
		}
	}
	high := func(b []byte) {
		if unbounded || bytes.Compare(b, hi) < 0 {
			hi, unbounded = b, false
		}
	}
	after := func(s string) []byte { return append([]byte(s), 0) }
	for _, c := range Conjuncts(x) {
		call, ok := c.(*Call)
		if !ok || len(call.Args) < 2 {
			continue
		}
		if call.Fn == In {
			if lo, hi, ok := extremes(call, column); ok {
				low(lo)
				high(after(string(hi)))
			}
			continue
		}
		name, lit := call.Args[0], call.Args[1]
		op := call.Fn
		if _, ok := name.(*Literal); ok && op <= Ge {
			name, lit, op = lit, name, flip(op)
		}
		col, isCol := name.(*Column)
		l, isLit := lit.(*Literal)
		if !isCol || !isLit || col.Name != column || !l.Value.Type.bytes() {
			continue
		}
		switch op {
		case Eq:
			low([]byte(l.Value.S))
			high(after(l.Value.S))
		case Lt:
			high([]byte(l.Value.S))
		case Le:
			high(after(l.Value.S))
		case Gt:
			low(after(l.Value.S))
		case Ge:
			low([]byte(l.Value.S))
		case Between:
			low([]byte(l.Value.S))
			if h, ok := call.Args[2].(*Literal); ok && h.Value.Type.bytes() {
				high(after(h.Value.S))
			}
		case Like, Glob, Prefix:
			if m, err := compilePattern(op, l.Value.S); err == nil && len(m.prefix) > 0 {
				low(m.prefix)
				if next, ok := successor(m.prefix); ok {
					high(next)
				}
			}
		}
	}
	return lo, hi, unbounded
}

// extremes are the least and the greatest text of "column in (texts)".
func extremes(in *Call, column string) (lo, hi []byte, ok bool) {
	if col, isCol := in.Args[0].(*Column); !isCol || col.Name != column {
		return nil, nil, false
	}
	for i, a := range in.Args[1:] {
		l, isLit := a.(*Literal)
		if !isLit || !l.Value.Type.bytes() {
			return nil, nil, false
		}
		s := []byte(l.Value.S)
		if i == 0 || bytes.Compare(s, lo) < 0 {
			lo = s
		}
		if i == 0 || bytes.Compare(s, hi) > 0 {
			hi = s
		}
	}
	return lo, hi, true
}

// Common is the longest string that all strings s with lo <= s < hi begin with
// (unbounded: there is no hi).
func Common(lo, hi []byte, unbounded bool) []byte {
	for n := len(lo); n > 0; n-- {
		if next, ok := successor(lo[:n]); ok && !unbounded && bytes.Compare(hi, next) <= 0 {
			return lo[:n]
		}
	}
	return nil
}

// successor is the first byte string after all those with a prefix.
func successor(p []byte) ([]byte, bool) {
	out := bytes.Clone(p)
	for i := len(out) - 1; i >= 0; i-- {
		if out[i] != 0xff {
			out[i]++
			return out[:i+1], true
		}
	}
	return nil, false
}

// Compare orders two bounds of one kind: numbers by their value, texts byte by
// byte.
func (v Value) Compare(o Value) int {
	switch {
	case v.Type == Int64 && o.Type == Int64, v.Type == Time && o.Type == Time:
		return three(v.I, o.I)
	case v.Type == Uint64 && o.Type == Uint64:
		return three(v.U, o.U)
	case v.Type == Uint64 && o.Type == Int64:
		return compareMixed(v.U, o.I)
	case v.Type == Int64 && o.Type == Uint64:
		return -compareMixed(o.U, v.I)
	case v.Type.numeric() && o.Type.numeric():
		return threeFloat(v.double(), o.double())
	case v.Type == Bool:
		return three(bit(v.B), bit(o.B))
	}
	return strings.Compare(v.S, o.S)
}

// Comparison takes apart "column op constant", whichever side the column is on.
func Comparison(x Expr) (column string, op Fn, v Value, ok bool) {
	c, isCall := x.(*Call)
	if !isCall || c.Fn > Ge || len(c.Args) != 2 {
		return "", 0, Value{}, false
	}
	l, r, op := c.Args[0], c.Args[1], c.Fn
	if _, lit := l.(*Literal); lit {
		l, r, op = r, l, flip(op)
	}
	col, isCol := l.(*Column)
	lit, isLit := r.(*Literal)
	if !isCol || !isLit {
		return "", 0, Value{}, false
	}
	return col.Name, op, lit.Value, true
}

// Comparisons are the Conjuncts, with "column between a and b" as its two halves.
func Comparisons(x Expr) []Expr {
	var out []Expr
	for _, c := range Conjuncts(x) {
		if b, ok := c.(*Call); ok && b.Fn == Between && len(b.Args) == 3 {
			out = append(out, &Call{Fn: Ge, Args: []Expr{b.Args[0], b.Args[1]}, Pos: b.Pos}, &Call{Fn: Le, Args: []Expr{b.Args[0], b.Args[2]}, Pos: b.Pos})
			continue
		}
		out = append(out, c)
	}
	return out
}

// Prunes reports whether the statistics of a column can decide a condition.
func Prunes(x Expr) bool {
	c, ok := x.(*Call)
	if !ok {
		return false
	}
	switch c.Fn {
	case And, Or, Not:
		for _, a := range c.Args {
			if Prunes(a) {
				return true
			}
		}
		return false
	case Between, In, IsNull, NotNull, Like, Glob, Prefix, IsNaN:
		_, ok := c.Args[0].(*Column)
		return ok
	}
	_, _, v, ok := Comparison(x)
	return ok && v.Type != Null
}
