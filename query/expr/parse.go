package expr

import (
	"encoding/hex"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"daos/internal/fault"
	"daos/internal/near"
)

// Parse reads a predicate or value expression:
//
//	label = 3 and quality > 0.8
//	path like 'train/%' and size between 1_000 and 2e6 and name not in ('a', 'b')
//	isnan(score) or length(tokens) % 2 = 0 or "odd name" is null
//
// Names are as they are written, in double quotes where they are no plain
// words; a text is in single quotes, x'00ff' is a blob, timestamp '2026-01-31
// 12:00:00' a time. From the weakest to the strongest: or; and; not; = <> < <=
// > >= between in like glob is; + -; * / %; - of one; [i].
//
// An error marks the place.
func Parse(src string) (Expr, error) {
	toks, err := lex(src)
	if err != nil {
		return nil, err
	}
	p := &parser{src: src, toks: toks}
	if p.peek().kind == end {
		return nil, Problem(src, 0, "the predicate is empty").Do("write a condition, for instance: label = 3")
	}
	x, err := p.or()
	if err != nil {
		return nil, err
	}
	if t := p.peek(); t.kind != end {
		return nil, p.unexpected(t, "and, or, or the end")
	}
	return x, Check(x)
}

// Check verifies the limits of a tree, whatever it was made from.
func Check(x Expr) error {
	nodes := 0
	var visit func(x Expr, depth int) error
	visit = func(x Expr, depth int) error {
		if nodes++; nodes > MaxNodes {
			return fault.New(fault.TooBig, "query.where", "predicate", "the predicate has more than %d parts", MaxNodes).
				Do("split it, or join with a table of the values")
		}
		if depth > MaxDepth {
			return fault.New(fault.TooBig, "query.where", "predicate", "the predicate is nested deeper than %d", MaxDepth)
		}
		switch e := x.(type) {
		case *Column:
			if e == nil || e.Name == "" || len(e.Name) > 1024 {
				return fault.New(fault.Invalid, "query.where", "predicate", "a column without a name, or with one of over 1024 bytes")
			}
		case *Literal:
			if e == nil || e.Value.Type > Time || len(e.Value.S) > MaxLiteral {
				return fault.New(fault.TooBig, "query.where", "predicate", "a literal of an unknown type or of over %d bytes", MaxLiteral)
			}
		case *Call:
			if e == nil || e.Fn == 0 || e.Fn > lastFn {
				return fault.New(fault.Invalid, "query.where", "predicate", "a function that is not known")
			}
			if err := arity(e); err != nil {
				return err
			}
			for _, a := range e.Args {
				if err := visit(a, depth+1); err != nil {
					return err
				}
			}
		default:
			return fault.New(fault.Invalid, "query.where", "predicate", "a part that is missing")
		}
		return nil
	}
	return visit(x, 1)
}

func arity(c *Call) error {
	lo, hi := 2, 2
	switch c.Fn {
	case Between:
		lo, hi = 3, 3
	case And, Or:
		hi = MaxNodes
	case In:
		hi = MaxNodes
	case IsNull, NotNull, Not, Length, Lower, Upper, Abs, Negate, IsNaN:
		lo, hi = 1, 1
	}
	if n := len(c.Args); n < lo || n > hi {
		return fault.New(fault.Invalid, "query.where", "predicate", "%s has %d arguments, not %d", c.Fn, len(c.Args), lo)
	}
	return nil
}

type parser struct {
	src   string
	toks  []token
	at    int
	depth int
}

func (p *parser) peek() token { return p.toks[p.at] }

func (p *parser) next() token {
	t := p.toks[p.at]
	if t.kind != end {
		p.at++
	}
	return t
}

// word reports whether the next token is one of the words, and takes it.
func (p *parser) word(words ...string) bool {
	t := p.peek()
	if t.kind == name && slices.ContainsFunc(words, func(w string) bool { return strings.EqualFold(t.text, w) }) {
		p.at++
		return true
	}
	return false
}

func (p *parser) symbol(s string) bool {
	if t := p.peek(); t.kind == symbol && t.text == s {
		p.at++
		return true
	}
	return false
}

func (p *parser) unexpected(t token, wanted string) error {
	what := "the end"
	if t.kind != end {
		what = strconv.Quote(t.text)
	}
	return Problem(p.src, t.at, "%s where %s was expected", what, wanted)
}

func (p *parser) expect(s string) error {
	if !p.symbol(s) {
		return p.unexpected(p.peek(), strconv.Quote(s))
	}
	return nil
}

func (p *parser) deeper() error {
	if p.depth++; p.depth > MaxDepth {
		return Problem(p.src, p.peek().at, "the predicate is nested deeper than %d", MaxDepth)
	}
	return nil
}

func (p *parser) or() (Expr, error) {
	if err := p.deeper(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	return p.chain(Or, "or", p.and)
}

func (p *parser) and() (Expr, error) { return p.chain(And, "and", p.not) }

func (p *parser) chain(fn Fn, word string, part func() (Expr, error)) (Expr, error) {
	x, err := part()
	if err != nil {
		return nil, err
	}
	args := []Expr{x}
	at := p.peek().at
	for p.word(word) {
		if x, err = part(); err != nil {
			return nil, err
		}
		args = append(args, x)
	}
	if len(args) == 1 {
		return x, nil
	}
	return &Call{fn, args, at}, nil
}

func (p *parser) not() (Expr, error) {
	at := p.peek().at
	if p.word("not") {
		if err := p.deeper(); err != nil {
			return nil, err
		}
		defer func() { p.depth-- }()
		x, err := p.not()
		if err != nil {
			return nil, err
		}
		return &Call{Not, []Expr{x}, at}, nil
	}
	return p.comparison()
}

var comparisons = map[string]Fn{"=": Eq, "==": Eq, "<>": Ne, "!=": Ne, "<": Lt, "<=": Le, ">": Gt, ">=": Ge}

func (p *parser) comparison() (Expr, error) {
	x, err := p.sum()
	if err != nil {
		return nil, err
	}
	for {
		t := p.peek()
		if t.kind == symbol {
			fn, ok := comparisons[t.text]
			if !ok {
				return x, nil
			}
			p.next()
			y, err := p.sum()
			if err != nil {
				return nil, err
			}
			x = &Call{fn, []Expr{x, y}, t.at}
			continue
		}
		if t.kind != name {
			return x, nil
		}
		if p.word("is") {
			fn := IsNull
			if p.word("not") {
				fn = NotNull
			}
			if !p.word("null") {
				return nil, p.unexpected(p.peek(), "null")
			}
			x = &Call{fn, []Expr{x}, t.at}
			continue
		}
		mark := p.at
		negate := p.word("not")
		y, err := p.postfix(x, t.at)
		if err != nil {
			return nil, err
		}
		if y == nil {
			if negate {
				p.at = mark
				return nil, p.unexpected(t, "and, or, or the end")
			}
			return x, nil
		}
		if x = y; negate {
			x = &Call{Not, []Expr{y}, t.at}
		}
	}
}

// postfix reads between, in, like and glob; nil if there is none of them.
func (p *parser) postfix(x Expr, at int) (Expr, error) {
	switch {
	case p.word("between"):
		lo, err := p.sum()
		if err != nil {
			return nil, err
		}
		if !p.word("and") {
			return nil, p.unexpected(p.peek(), "and")
		}
		hi, err := p.sum()
		if err != nil {
			return nil, err
		}
		return &Call{Between, []Expr{x, lo, hi}, at}, nil
	case p.word("in"):
		if err := p.expect("("); err != nil {
			return nil, err
		}
		args := []Expr{x}
		for {
			y, err := p.sum()
			if err != nil {
				return nil, err
			}
			if len(args) > MaxNodes {
				return nil, Problem(p.src, y.At(), "the list has more than %d values", MaxNodes).Do("join with a table of them")
			}
			args = append(args, y)
			if p.symbol(")") {
				return &Call{In, args, at}, nil
			}
			if err := p.expect(","); err != nil {
				return nil, err
			}
		}
	case p.word("like"), p.word("glob"):
		fn := Like
		if strings.EqualFold(p.toks[p.at-1].text, "glob") {
			fn = Glob
		}
		y, err := p.sum()
		if err != nil {
			return nil, err
		}
		return &Call{fn, []Expr{x, y}, at}, nil
	}
	return nil, nil
}

func (p *parser) sum() (Expr, error) {
	return p.binary(p.product, map[string]Fn{"+": Add, "-": Sub})
}

func (p *parser) product() (Expr, error) {
	return p.binary(p.unary, map[string]Fn{"*": Mul, "/": Div, "%": Mod})
}

func (p *parser) binary(part func() (Expr, error), ops map[string]Fn) (Expr, error) {
	x, err := part()
	if err != nil {
		return nil, err
	}
	for n := 0; ; n++ {
		t := p.peek()
		fn, ok := ops[t.text]
		if t.kind != symbol || !ok {
			return x, nil
		}
		if n > MaxDepth { // the tree leans to the left, one deeper for each
			return nil, Problem(p.src, t.at, "more than %d operators in a row", MaxDepth)
		}
		p.next()
		y, err := part()
		if err != nil {
			return nil, err
		}
		x = &Call{fn, []Expr{x, y}, t.at}
	}
}

func (p *parser) unary() (Expr, error) {
	t := p.peek()
	if !p.symbol("-") {
		if p.symbol("+") {
			return p.unary()
		}
		return p.primary()
	}
	if err := p.deeper(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	if n := p.peek(); n.kind == number {
		p.next()
		v, err := p.number("-"+n.text, t.at)
		if err != nil {
			return nil, err
		}
		return p.element(&Literal{v, t.at})
	}
	x, err := p.unary()
	if err != nil {
		return nil, err
	}
	if l, ok := x.(*Literal); ok && l.Value.Type.numeric() {
		v, ok := l.Value.negative()
		if !ok {
			return nil, Problem(p.src, t.at, "the integer -%s does not fit into 64 bits", l)
		}
		return &Literal{v, t.at}, nil
	}
	return &Call{Negate, []Expr{x}, t.at}, nil
}

// negative is -v of a number.
func (v Value) negative() (Value, bool) {
	switch {
	case v.Type == Int64 && v.I == math.MinInt64:
		return Value{Type: Uint64, U: 1 << 63}, true
	case v.Type == Int64:
		return IntValue(-v.I), true
	case v.Type == Uint64:
		return IntValue(math.MinInt64), v.U == 1<<63
	}
	v.F = -v.F
	if s, ok := strings.CutPrefix(v.Dec, "-"); ok {
		v.Dec = s
	} else if v.Dec != "" {
		v.Dec = "-" + v.Dec
	}
	return v, true
}

func (p *parser) primary() (Expr, error) {
	t := p.next()
	switch t.kind {
	case symbol:
		if t.text != "(" {
			break
		}
		x, err := p.or()
		if err != nil {
			return nil, err
		}
		if err := p.expect(")"); err != nil {
			return nil, err
		}
		return p.element(x)
	case number:
		v, err := p.number(t.text, t.at)
		if err != nil {
			return nil, err
		}
		return &Literal{v, t.at}, nil
	case text:
		if p.symbol("::") {
			return p.cast(t)
		}
		return &Literal{TextValue(t.text), t.at}, nil
	case blob:
		b, err := hex.DecodeString(t.text)
		if err != nil {
			return nil, Problem(p.src, t.at, "x'%.40s' is not a blob", t.text).Do("write pairs of hexadecimal digits")
		}
		return &Literal{BytesValue(b), t.at}, nil
	case quoted:
		return p.element(&Column{t.text, t.at})
	case name:
		return p.word1(t)
	}
	p.at = max(0, p.at-1)
	return nil, p.unexpected(t, "a column, a value or \"(\"")
}

// word1 reads what begins with a word.
func (p *parser) word1(t token) (Expr, error) {
	switch strings.ToLower(t.text) {
	case "null":
		return &Literal{NullValue(), t.at}, nil
	case "true", "false":
		return &Literal{BoolValue(strings.EqualFold(t.text, "true")), t.at}, nil
	case "timestamp", "date":
		if s := p.peek(); s.kind == text {
			p.next()
			return p.time(s)
		}
	case "and", "or", "not", "in", "is", "like", "glob", "between":
		return nil, p.unexpected(t, "a column, a value or \"(\"")
	}
	if !p.symbol("(") {
		return p.element(&Column{t.text, t.at})
	}
	fn, ok := named[strings.ToLower(t.text)]
	if !ok {
		names := make([]string, 0, len(named))
		for n := range named {
			names = append(names, n)
		}
		slices.Sort(names)
		e := Problem(p.src, t.at, "no function %q", t.text)
		if n := near.Name(t.text, names); n != "" {
			return nil, e.Do("did you mean %q?", n)
		}
		return nil, e.Do("there are %s", strings.Join(names, ", "))
	}
	var args []Expr
	if !p.symbol(")") {
		for {
			x, err := p.or()
			if err != nil {
				return nil, err
			}
			args = append(args, x)
			if p.symbol(")") {
				break
			}
			if err := p.expect(","); err != nil {
				return nil, err
			}
		}
	}
	c := &Call{fn, args, t.at}
	if err := arity(c); err != nil {
		return nil, Problem(p.src, t.at, "%s(...) has %d arguments", strings.ToLower(t.text), len(args))
	}
	return p.element(c)
}

// element reads [i] behind a list.
func (p *parser) element(x Expr) (Expr, error) {
	t := p.peek()
	if !p.symbol("[") {
		return x, nil
	}
	i, err := p.sum()
	if err != nil {
		return nil, err
	}
	if err := p.expect("]"); err != nil {
		return nil, err
	}
	return &Call{Element, []Expr{x, i}, t.at}, nil
}

// number reads a number as DuckDB does: whole ones are integers as long as
// they fit, ones with a point and no exponent decimals, the rest doubles.
func (p *parser) number(s string, at int) (Value, error) {
	s = strings.ReplaceAll(s, "_", "")
	if !strings.ContainsAny(s, ".eE") {
		if i, err := strconv.ParseInt(s, 10, 64); err == nil {
			return IntValue(i), nil
		}
		if u, err := strconv.ParseUint(s, 10, 64); err == nil {
			return UintValue(u), nil
		}
		return Value{}, Problem(p.src, at, "the integer %.40s does not fit into 64 bits", s)
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && !math.IsInf(f, 0) {
		return Value{}, Problem(p.src, at, "%q is not a number", s)
	}
	if math.IsInf(f, 0) {
		return Value{}, Problem(p.src, at, "the number %.40s is out of range", s)
	}
	v := FloatValue(f)
	if !strings.ContainsAny(s, "eE") && len(s) <= 38 {
		v.Dec = strings.TrimPrefix(s, "+")
		if v.Dec[0] == '.' {
			v.Dec = "0" + v.Dec
		}
		if strings.HasPrefix(v.Dec, "-.") {
			v.Dec = "-0" + v.Dec[1:]
		}
		if v.Dec[len(v.Dec)-1] == '.' {
			v.Dec += "0"
		}
	}
	return v, nil
}

// cast reads 'nan'::double and its like: the one cast there is.
func (p *parser) cast(t token) (Expr, error) {
	ty := p.next()
	if ty.kind == name {
		switch strings.ToLower(ty.text) {
		case "double", "float8":
			f, err := strconv.ParseFloat(strings.TrimSpace(t.text), 64)
			if err != nil && !math.IsInf(f, 0) {
				return nil, Problem(p.src, t.at, "'%.40s' is not a number", t.text)
			}
			return &Literal{FloatValue(f), t.at}, nil
		case "timestamp":
			return p.time(t)
		}
	}
	return nil, Problem(p.src, ty.at, "a text can be cast to double and timestamp only")
}

var timeForms = []string{"2006-01-02", "2006-01-02 15:04", "2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05.999999999",
	"2006-01-02 15:04:05.999999999Z07:00", time.RFC3339Nano}

// ParseTime reads a time in UTC unless it says otherwise, nanoseconds since 1970.
func ParseTime(s string) (int64, bool) {
	for _, form := range timeForms {
		t, err := time.Parse(form, strings.TrimSpace(s))
		if err != nil {
			continue
		}
		if y := t.Year(); y < 1678 || y > 2261 {
			return 0, false
		}
		return t.UnixNano(), true
	}
	return 0, false
}

func (p *parser) time(t token) (Expr, error) {
	ns, ok := ParseTime(t.text)
	if !ok {
		return nil, Problem(p.src, t.at, "'%.40s' is not a time between 1678 and 2261", t.text).Do("write it as 2026-01-31 12:00:00")
	}
	return &Literal{TimeValue(ns), t.at}, nil
}

// rat is the exact value of a number.
func (v Value) rat() *big.Rat {
	switch v.Type {
	case Int64:
		return new(big.Rat).SetInt64(v.I)
	case Uint64:
		return new(big.Rat).SetInt(new(big.Int).SetUint64(v.U))
	case Float64:
		if v.Dec != "" {
			if r, ok := new(big.Rat).SetString(v.Dec); ok {
				return r
			}
		}
		if math.IsNaN(v.F) || math.IsInf(v.F, 0) {
			return nil
		}
		return new(big.Rat).SetFloat64(v.F)
	}
	return nil
}
