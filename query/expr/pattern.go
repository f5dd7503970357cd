package expr

import (
	"bytes"
	"errors"
	"unicode/utf8"
)

// pattern is a compiled LIKE or GLOB pattern, or a plain prefix, suffix or part.
// Matching takes at most len(pattern) * len(text) steps.
type pattern struct {
	shape  shape
	text   []byte // of the plain shapes
	atoms  []atom
	prefix []byte // every match begins with it
	glob   bool   // counts bytes, as DuckDB's GLOB does
}

type shape uint8

const (
	general shape = iota
	exactly
	begins
	ends
	within
	anything
)

type atomKind uint8

const (
	aByte  atomKind = iota // this byte
	aOne                   // any one character; in a glob, any one byte
	aRun                   // any number of characters
	aClass                 // one of a set
)

type atom struct {
	kind   atomKind
	b      byte
	negate bool
	ranges []byteRange
}

type byteRange struct{ lo, hi byte }

func compilePattern(fn Fn, s string) (*pattern, error) {
	if len(s) > 4096 {
		return nil, errors.New("the pattern has over 4096 bytes")
	}
	switch fn {
	case Prefix:
		return &pattern{shape: begins, text: []byte(s), prefix: []byte(s)}, nil
	case Suffix:
		return &pattern{shape: ends, text: []byte(s)}, nil
	case Contains:
		return &pattern{shape: within, text: []byte(s)}, nil
	}
	p := &pattern{glob: fn == Glob}
	one, run := byte('_'), byte('%')
	if fn == Glob {
		one, run = '?', '*'
	}
	for i := 0; i < len(s); i++ {
		switch b := s[i]; {
		case b == one:
			p.atoms = append(p.atoms, atom{kind: aOne})
		case b == run:
			if n := len(p.atoms); n == 0 || p.atoms[n-1].kind != aRun {
				p.atoms = append(p.atoms, atom{kind: aRun})
			}
		case fn == Glob && b == '\\' && i+1 < len(s):
			i++
			p.atoms = append(p.atoms, atom{kind: aByte, b: s[i]})
		case fn == Glob && b == '[':
			a, n, ok := class(s[i:])
			if !ok {
				return nil, errors.New("a [ in a glob is closed with ]")
			}
			p.atoms = append(p.atoms, a)
			i += n - 1
		default:
			p.atoms = append(p.atoms, atom{kind: aByte, b: b})
		}
	}
	p.classify()
	return p, nil
}

// class reads [a-z] or [!a-z]; a ] that comes first is one of the set.
func class(s string) (a atom, n int, ok bool) {
	a.kind = aClass
	i := 1
	if i < len(s) && s[i] == '!' {
		a.negate = true
		i++
	}
	for first := true; i < len(s); first = false {
		if s[i] == ']' && !first {
			return a, i + 1, true
		}
		r := byteRange{s[i], s[i]}
		if i+2 < len(s) && s[i+1] == '-' && s[i+2] != ']' {
			r.hi = s[i+2]
			i += 2
		}
		a.ranges = append(a.ranges, r)
		i++
	}
	return a, 0, false
}

// classify finds the shapes that need no general matching, and the prefix.
func (p *pattern) classify() {
	var lit []byte
	runs, others := 0, 0
	for _, a := range p.atoms {
		switch a.kind {
		case aByte:
			lit = append(lit, a.b)
			if runs == 0 && others == 0 {
				p.prefix = append(p.prefix, a.b)
			}
		case aRun:
			runs++
		default:
			others++
		}
	}
	n := len(p.atoms)
	first := n > 0 && p.atoms[0].kind == aRun
	last := n > 0 && p.atoms[n-1].kind == aRun
	switch {
	case others > 0:
	case runs == 0:
		p.shape, p.text = exactly, lit
	case n == 1:
		p.shape = anything
	case runs == 1 && last:
		p.shape, p.text = begins, lit
	case runs == 1 && first:
		p.shape, p.text = ends, lit
	case runs == 2 && first && last:
		p.shape, p.text = within, lit
	}
}

func (p *pattern) match(s []byte) bool {
	switch p.shape {
	case exactly:
		return bytes.Equal(s, p.text)
	case begins:
		return bytes.HasPrefix(s, p.text)
	case ends:
		return bytes.HasSuffix(s, p.text)
	case within:
		return bytes.Contains(s, p.text)
	case anything:
		return true
	}
	if !bytes.HasPrefix(s, p.prefix) {
		return false
	}
	// Backtracking to the last run only: enough, since a run takes anything.
	i, j, backI, backJ := 0, 0, -1, 0
	for i < len(s) {
		if j < len(p.atoms) {
			a := &p.atoms[j]
			if a.kind == aRun {
				backI, backJ = i, j+1
				j++
				continue
			}
			if n := a.takes(s[i:], p.glob); n > 0 {
				i += n
				j++
				continue
			}
		}
		if backI < 0 {
			return false
		}
		backI += one(s[backI:], p.glob)
		i, j = backI, backJ
	}
	for j < len(p.atoms) && p.atoms[j].kind == aRun {
		j++
	}
	return j == len(p.atoms)
}

// takes is the bytes of s that the atom matches at its beginning, 0 for none.
func (a *atom) takes(s []byte, glob bool) int {
	switch a.kind {
	case aByte:
		if s[0] == a.b {
			return 1
		}
		return 0
	case aOne:
		return one(s, glob)
	}
	in := false
	for _, r := range a.ranges {
		in = in || r.lo <= s[0] && s[0] <= r.hi
	}
	if in == a.negate {
		return 0
	}
	return 1
}

// one is the length of the first character.
func one(s []byte, glob bool) int {
	if glob {
		return 1
	}
	_, n := utf8.DecodeRune(s)
	return n
}
