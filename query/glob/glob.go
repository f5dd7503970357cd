// Package glob matches names and paths against patterns. A path is bytes; a
// pattern is too.
//
//   - any run of characters but '/'
//     ?      one character but '/' (a UTF-8 sequence, or one byte that is none)
//     [a-z]  one character of a class; [!a-z] or [^a-z] one that is not in it, nor '/'
//     \x     the character x itself
//     **     as a whole component: any number of components, also none
//
// "**/x" is x at any depth, "a/**" all below a (not a itself), "a/**/b" b at any
// depth below a. A leading dot is an ordinary character, a match covers the
// whole path, and case counts. Matching takes at most len(pattern) * len(path)
// steps, whatever the pattern.
//
// Start with Compile.
package glob

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"daos/internal/fault"
)

// MaxPattern is the largest length of a pattern.
const MaxPattern = 4096

// Pattern is a compiled pattern. It is immutable.
type Pattern struct {
	text  string
	parts []part // components
	all   bool   // matches every path: "**"
}

// part is one component of a pattern.
type part struct {
	any   bool   // "**"
	kind  kind   // how to match fast
	text  []byte // the literal part of a fast kind
	atoms []atom
}

type kind uint8

const (
	general kind = iota
	literal
	prefix // text*
	suffix // *text
	every  // *
)

type atomKind uint8

const (
	one   atomKind = iota // ?
	run                   // *
	exact                 // lit
	class                 // set
)

type atom struct {
	kind atomKind
	lit  rune // or, for a byte that is no UTF-8, invalid + byte
	neg  bool
	set  []span
}

type span struct{ lo, hi rune }

// invalid marks a byte that is not part of a UTF-8 sequence.
const invalid rune = 1 << 24

// Compile reads a pattern. A leading '/' is refused: paths begin with a name.
func Compile(pattern string) (*Pattern, error) {
	bad := func(why string) error {
		return fault.New(fault.Invalid, "glob.compile", pattern, "%s", why).
			Do(`patterns have '*', '?', '[a-z]', '[!a]', '**' as a whole component; '\' quotes`)
	}
	if pattern == "" {
		return nil, bad("an empty pattern")
	}
	if len(pattern) > MaxPattern {
		return nil, fault.New(fault.TooBig, "glob.compile", pattern[:32]+"...", "a pattern of %d bytes, at most %d are allowed", len(pattern), MaxPattern)
	}
	p := &Pattern{text: pattern}
	for _, c := range split(pattern) {
		if c == "" {
			return nil, bad("an empty component")
		}
		if c == "**" {
			if n := len(p.parts); n == 0 || !p.parts[n-1].any { // "**/**" is "**"
				p.parts = append(p.parts, part{any: true})
			}
			continue
		}
		atoms, why := parse(c)
		if why != "" {
			return nil, bad(why)
		}
		p.parts = append(p.parts, classify(atoms))
	}
	p.all = len(p.parts) == 1 && p.parts[0].any
	return p, nil
}

// split cuts at '/' outside of quotes and classes.
func split(s string) []string {
	var out []string
	from := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '/':
			out = append(out, s[from:i])
			from = i + 1
		}
	}
	return append(out, s[from:])
}

func char(b []byte) (rune, int) {
	if b[0] < utf8.RuneSelf {
		return rune(b[0]), 1
	}
	r, n := utf8.DecodeRune(b)
	if r == utf8.RuneError && n <= 1 {
		return invalid + rune(b[0]), 1
	}
	return r, n
}

func parse(c string) (atoms []atom, why string) {
	b := []byte(c)
	for len(b) > 0 {
		r, n := char(b)
		b = b[n:]
		switch r {
		case '*':
			if k := len(atoms); k == 0 || atoms[k-1].kind != run {
				atoms = append(atoms, atom{kind: run})
			}
		case '?':
			atoms = append(atoms, atom{kind: one})
		case '\\':
			if len(b) == 0 {
				return nil, `a '\' at the end`
			}
			r, n = char(b)
			b = b[n:]
			if r == '/' {
				return nil, `a quoted '/'`
			}
			atoms = append(atoms, atom{kind: exact, lit: r})
		case '[':
			a, rest, why := parseClass(b)
			if why != "" {
				return nil, why
			}
			atoms, b = append(atoms, a), rest
		default:
			atoms = append(atoms, atom{kind: exact, lit: r})
		}
	}
	return atoms, ""
}

func parseClass(b []byte) (a atom, rest []byte, why string) {
	a.kind = class
	if len(b) > 0 && (b[0] == '!' || b[0] == '^') {
		a.neg, b = true, b[1:]
	}
	get := func() (rune, bool) {
		if len(b) > 0 && b[0] == '\\' {
			b = b[1:]
		}
		if len(b) == 0 {
			return 0, false
		}
		r, n := char(b)
		b = b[n:]
		return r, true
	}
	for first := true; ; first = false {
		if len(b) > 0 && b[0] == ']' && !first {
			return a, b[1:], ""
		}
		lo, ok := get()
		if !ok {
			return a, nil, "a '[' without its ']'"
		}
		hi := lo
		if len(b) > 1 && b[0] == '-' && b[1] != ']' {
			b = b[1:]
			if hi, ok = get(); !ok {
				return a, nil, "a '[' without its ']'"
			}
		}
		if hi < lo {
			return a, nil, "a range that ends before it starts"
		}
		a.set = append(a.set, span{lo, hi})
	}
}

func classify(atoms []atom) part {
	p := part{atoms: atoms}
	lit, ok := literalOf(atoms)
	switch {
	case ok:
		p.kind, p.text = literal, lit
	case len(atoms) == 1 && atoms[0].kind == run:
		p.kind = every
	case atoms[0].kind == run:
		if lit, ok := literalOf(atoms[1:]); ok {
			p.kind, p.text = suffix, lit
		}
	case atoms[len(atoms)-1].kind == run:
		if lit, ok := literalOf(atoms[:len(atoms)-1]); ok {
			p.kind, p.text = prefix, lit
		}
	}
	return p
}

func literalOf(atoms []atom) ([]byte, bool) {
	var b []byte
	for _, a := range atoms {
		if a.kind != exact {
			return nil, false
		}
		if a.lit >= invalid {
			b = append(b, byte(a.lit-invalid))
		} else {
			b = utf8.AppendRune(b, a.lit)
		}
	}
	return b, true
}

// String is the pattern as it was written.
func (p *Pattern) String() string { return p.text }

// MatchName reports whether a name, without '/', matches a pattern of one component.
func (p *Pattern) MatchName(name []byte) bool {
	return p.all || len(p.parts) == 1 && p.parts[0].match(name)
}

// IsName reports whether the pattern has one component, as one for names must.
func (p *Pattern) IsName() bool { return len(p.parts) == 1 }

// Match reports whether a path, of one or more components, matches.
func (p *Pattern) Match(path []byte) bool {
	if p.all {
		return true
	}
	// The last "**" met is the only one worth coming back to: whatever an
	// earlier one could take, the last can take as well.
	i, rest, more := 0, path, true
	backPart, back, canBack := 0, []byte(nil), false
	for {
		if i < len(p.parts) && p.parts[i].any {
			if i == len(p.parts)-1 {
				if more {
					return true
				}
			} else {
				i++
				backPart, back, canBack = i, rest, more
				continue
			}
		} else if !more && i == len(p.parts) {
			return true
		} else if more && i < len(p.parts) {
			name, tail, found := bytes.Cut(rest, slash)
			if p.parts[i].match(name) {
				i, rest, more = i+1, tail, found
				continue
			}
		}
		if !canBack {
			return false
		}
		_, back, canBack = bytes.Cut(back, slash)
		if !canBack {
			return false
		}
		i, rest, more = backPart, back, true
	}
}

var slash = []byte{'/'}

func (p *part) match(name []byte) bool {
	switch p.kind {
	case every:
		return true
	case literal:
		return bytes.Equal(name, p.text)
	case prefix:
		return bytes.HasPrefix(name, p.text)
	case suffix:
		return bytes.HasSuffix(name, p.text)
	}
	i, at := 0, 0
	backAtom, backAt := -1, 0
	for {
		if i < len(p.atoms) && p.atoms[i].kind == run {
			i++
			backAtom, backAt = i, at
			continue
		}
		if at == len(name) {
			return i == len(p.atoms)
		}
		if i < len(p.atoms) {
			r, n := char(name[at:])
			if p.atoms[i].is(r) {
				i, at = i+1, at+n
				continue
			}
		}
		if backAtom < 0 {
			return false
		}
		_, n := char(name[backAt:])
		backAt += n
		i, at = backAtom, backAt
	}
}

func (a *atom) is(r rune) bool {
	switch a.kind {
	case one:
		return true
	case exact:
		return r == a.lit
	}
	for _, s := range a.set {
		if s.lo <= r && r <= s.hi {
			return !a.neg
		}
	}
	return a.neg
}

// Quote returns a pattern that matches s and nothing else.
func Quote(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if strings.IndexByte(`*?[\`, s[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
