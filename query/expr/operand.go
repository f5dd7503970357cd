package expr

import (
	"encoding/hex"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"daos/internal/near"
)

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
			if strings.EqualFold(t.text, "date") && len(s.text) != len("2006-01-02") {
				return nil, Problem(p.src, s.at, "'%.40s' is not a day", s.text).Do("write it as 2026-01-31, or a timestamp")
			}
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

// offset reports whether a time says how far it is from UTC.
func offset(s string) bool {
	_, clock, _ := strings.Cut(strings.ReplaceAll(strings.TrimSpace(s), "T", " "), " ")
	return strings.ContainsAny(clock, "Zz+-")
}

func (p *parser) time(t token) (Expr, error) {
	ns, ok := ParseTime(t.text)
	if ok && offset(t.text) { // DuckDB takes no notice of it in this type
		return nil, Problem(p.src, t.at, "a timestamp is in UTC, '%.40s' is not", t.text).Do("write it in UTC: timestamp '%s'", time.Unix(0, ns).UTC().Format("2006-01-02 15:04:05"))
	}
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
