package expr

import (
	"slices"
	"strconv"
	"strings"
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

// comparison reads comparisons and IS, whose operands are those of ranged: a = b
// in (1) is a = (b in (1)), and a = b is null is (a = b) is null.
func (p *parser) comparison() (Expr, error) {
	x, err := p.ranged()
	if err != nil {
		return nil, err
	}
	compared := false
	for {
		t := p.peek()
		if fn, ok := comparisons[t.text]; ok && t.kind == symbol {
			if compared {
				return nil, Problem(p.src, t.at, "two comparisons in a row").Do("put one of them in brackets, or join them by and")
			}
			p.next()
			y, err := p.ranged()
			if err != nil {
				return nil, err
			}
			x, compared = &Call{fn, []Expr{x, y}, t.at}, true
			continue
		}
		if t.kind != name || !p.word("is") {
			return x, nil
		}
		fn := IsNull
		if p.word("not") {
			fn = NotNull
		}
		if !p.word("null") {
			return nil, p.unexpected(p.peek(), "null")
		}
		if x, err = p.postfixes(&Call{fn, []Expr{x}, t.at}); err != nil {
			return nil, err
		}
		compared = false
	}
}

// ranged reads a sum with what is asked of it by between, in, like and glob.
func (p *parser) ranged() (Expr, error) {
	x, err := p.sum()
	if err != nil {
		return nil, err
	}
	return p.postfixes(x)
}

func (p *parser) postfixes(x Expr) (Expr, error) {
	for {
		t := p.peek()
		if t.kind != name {
			return x, nil
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
