package expr

import (
	"encoding/hex"
	"math"
	"strconv"
	"strings"
	"time"

	"daos/internal/fault"
)

// Limits of a tree: what comes from a client is checked against them before
// anything is done with it.
const (
	MaxDepth   = 64
	MaxNodes   = 4096
	MaxLiteral = 64 << 10
	MaxText    = 256 << 10
)

// Fn is a function or operator. The numbers are on the wire.
type Fn uint8

// The closed list.
const (
	Eq       Fn = 1
	Ne       Fn = 2
	Lt       Fn = 3
	Le       Fn = 4
	Gt       Fn = 5
	Ge       Fn = 6
	Between  Fn = 7 // x, low, high
	In       Fn = 8 // x, then the literals
	IsNull   Fn = 9
	NotNull  Fn = 10
	And      Fn = 11 // two or more
	Or       Fn = 12 // two or more
	Not      Fn = 13
	Like     Fn = 14 // text, pattern
	Glob     Fn = 15 // text, pattern
	Prefix   Fn = 16 // text, prefix
	Add      Fn = 17
	Sub      Fn = 18
	Mul      Fn = 19
	Div      Fn = 20 // always of floats
	Mod      Fn = 21
	Length   Fn = 22 // characters of a text, bytes of a blob, elements of a list
	Lower    Fn = 23
	Abs      Fn = 24
	Element  Fn = 25 // list, index from 1 as DuckDB counts
	Negate   Fn = 26
	IsNaN    Fn = 27
	Contains Fn = 28 // text, part
	Suffix   Fn = 29 // text, suffix
	Upper    Fn = 30
	lastFn      = Upper
)

var fnNames = [...]string{"", "=", "<>", "<", "<=", ">", ">=", "between", "in", "is null", "is not null", "and", "or", "not", "like", "glob",
	"prefix", "+", "-", "*", "/", "%", "length", "lower", "abs", "element", "-", "isnan", "contains", "suffix", "upper"}

func (f Fn) String() string {
	if f > 0 && f <= lastFn {
		return fnNames[f]
	}
	return "fn(" + strconv.Itoa(int(f)) + ")"
}

// named are the functions that are written as name(arguments), with other
// names that people know them by.
var named = map[string]Fn{"length": Length, "len": Length, "lower": Lower, "lcase": Lower, "upper": Upper, "ucase": Upper, "abs": Abs,
	"element": Element, "list_element": Element, "array_extract": Element, "isnan": IsNaN,
	"prefix": Prefix, "starts_with": Prefix, "suffix": Suffix, "ends_with": Suffix, "contains": Contains}

// Expr is a node of a tree: *Column, *Literal or *Call.
type Expr interface {
	// At is the place in the text, in bytes, -1 where there was none.
	At() int
	// String is the text form; Parse of it gives the same tree.
	String() string
}

// Column names a column.
type Column struct {
	Name string
	Pos  int
}

// Literal is a constant.
type Literal struct {
	Value Value
	Pos   int
}

// Call is a function or operator with its arguments.
type Call struct {
	Fn   Fn
	Args []Expr
	Pos  int
}

// At is the place in the text.
func (c *Column) At() int { return c.Pos }

// At is the place in the text.
func (l *Literal) At() int { return l.Pos }

// At is the place in the text.
func (c *Call) At() int { return c.Pos }

// Value is a constant: its type says which field holds it. Integers that fit
// into an int64 are Int64, larger ones Uint64; a number with a point but without
// an exponent is a decimal as DuckDB's, exact until it meets a column: Dec holds
// its digits and F its nearest float64.
type Value struct {
	Type Type
	B    bool
	I    int64 // Int64, Time
	U    uint64
	F    float64
	S    string // Text, Bytes
	Dec  string
}

// NullValue is the constant NULL.
func NullValue() Value { return Value{Type: Null} }

// BoolValue is a truth value.
func BoolValue(b bool) Value { return Value{Type: Bool, B: b} }

// IntValue is an integer.
func IntValue(i int64) Value { return Value{Type: Int64, I: i} }

// UintValue is an integer, an Int64 if it fits into one.
func UintValue(u uint64) Value {
	if u <= math.MaxInt64 {
		return IntValue(int64(u))
	}
	return Value{Type: Uint64, U: u}
}

// FloatValue is a floating point number.
func FloatValue(f float64) Value { return Value{Type: Float64, F: f} }

// DecimalValue is a number written with its digits, "0.25".
func DecimalValue(s string) (Value, error) {
	x, err := Parse(s)
	if err != nil {
		return Value{}, err
	}
	l, ok := x.(*Literal)
	if !ok || !l.Value.Type.numeric() {
		return Value{}, fault.New(fault.Invalid, "query.where", "predicate", "%.40q is not a decimal", s)
	}
	return l.Value, nil
}

// TextValue is a text.
func TextValue(s string) Value { return Value{Type: Text, S: s} }

// BytesValue is a byte string.
func BytesValue(b []byte) Value { return Value{Type: Bytes, S: string(b)} }

// TimeValue is a timestamp.
func TimeValue(nanos int64) Value { return Value{Type: Time, I: nanos} }

// String is the literal as text.
func (v Value) String() string {
	switch v.Type {
	case Null:
		return "NULL"
	case Bool:
		if v.B {
			return "true"
		}
		return "false"
	case Int64:
		return strconv.FormatInt(v.I, 10)
	case Uint64:
		return strconv.FormatUint(v.U, 10)
	case Float64:
		switch {
		case v.Dec != "":
			return v.Dec
		case math.IsNaN(v.F):
			return "'nan'::double"
		case math.IsInf(v.F, 1):
			return "'inf'::double"
		case math.IsInf(v.F, -1):
			return "'-inf'::double"
		}
		s := strconv.FormatFloat(v.F, 'g', -1, 64)
		if !strings.Contains(s, "e") {
			s += "e0" // an exponent makes it a double, not a decimal
		}
		return s
	case Text:
		return "'" + strings.ReplaceAll(v.S, "'", "''") + "'"
	case Bytes:
		return "x'" + hex.EncodeToString([]byte(v.S)) + "'"
	case Time:
		return "timestamp '" + time.Unix(0, v.I).UTC().Format("2006-01-02 15:04:05.999999999") + "'"
	}
	return "?"
}

func (l *Literal) String() string { return l.Value.String() }

func (c *Column) String() string { return quoteName(c.Name) }

// quoteName writes a name so that it is read as one.
func quoteName(s string) string {
	plain := s != "" && !(s[0] >= '0' && s[0] <= '9') && !keyword[strings.ToLower(s)]
	for i := 0; plain && i < len(s); i++ {
		plain = nameByte(s[i])
	}
	if plain {
		return s
	}
	return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
}

func (c *Call) String() string {
	a := func(i int) string { return operand(c.Args[i]) }
	list := func(from int) string {
		s := make([]string, 0, len(c.Args))
		for _, x := range c.Args[from:] {
			s = append(s, x.String())
		}
		return strings.Join(s, ", ")
	}
	switch c.Fn {
	case Between:
		return a(0) + " between " + a(1) + " and " + a(2)
	case In:
		return a(0) + " in (" + list(1) + ")"
	case IsNull, NotNull:
		return a(0) + " " + c.Fn.String()
	case Not:
		return "not " + a(0)
	case Negate:
		return "-" + a(0)
	case And, Or:
		s := make([]string, len(c.Args))
		for i := range s {
			s[i] = a(i)
		}
		return strings.Join(s, " "+c.Fn.String()+" ")
	case Length, Lower, Upper, Abs, IsNaN, Prefix, Suffix, Contains, Element:
		return c.Fn.String() + "(" + list(0) + ")"
	}
	return a(0) + " " + c.Fn.String() + " " + a(1)
}

// operand puts parentheses around what is itself an operator.
func operand(x Expr) string {
	if c, ok := x.(*Call); ok {
		switch c.Fn {
		case Length, Lower, Upper, Abs, IsNaN, Prefix, Suffix, Contains, Element:
		default:
			return "(" + c.String() + ")"
		}
	}
	if l, ok := x.(*Literal); ok && (l.Value.Type == Int64 && l.Value.I < 0 || l.Value.Type == Float64 && math.Signbit(l.Value.F) && !math.IsNaN(l.Value.F)) {
		return "(" + l.String() + ")"
	}
	return x.String()
}

// Conjuncts are the parts of a predicate that must all hold.
func Conjuncts(x Expr) []Expr {
	if x == nil {
		return nil
	}
	if c, ok := x.(*Call); ok && c.Fn == And {
		var out []Expr
		for _, a := range c.Args {
			out = append(out, Conjuncts(a)...)
		}
		return out
	}
	return []Expr{x}
}

// Conjunction is the predicate that all of them hold, nil for none.
func Conjunction(xs ...Expr) Expr {
	var parts []Expr
	for _, x := range xs {
		parts = append(parts, Conjuncts(x)...)
	}
	switch len(parts) {
	case 0:
		return nil
	case 1:
		return parts[0]
	}
	return &Call{Fn: And, Args: parts, Pos: parts[0].At()}
}

// Parts is the number of parts of an expression, which MaxNodes bounds.
func Parts(x Expr) int {
	n := 0
	walk(x, func(Expr) { n++ })
	return n
}

// Columns are the names of the columns of an expression, each once, in the
// order met.
func Columns(x Expr) []string {
	var out []string
	seen := map[string]bool{}
	walk(x, func(e Expr) {
		if c, ok := e.(*Column); ok && !seen[c.Name] {
			seen[c.Name] = true
			out = append(out, c.Name)
		}
	})
	return out
}

func walk(x Expr, fn func(Expr)) {
	if x == nil {
		return
	}
	fn(x)
	if c, ok := x.(*Call); ok {
		for _, a := range c.Args {
			walk(a, fn)
		}
	}
}
