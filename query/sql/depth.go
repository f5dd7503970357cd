package sql

import (
	"strings"

	"daos/internal/fault"
)

const (
	// MaxDepth is how deep the brackets of a statement may be nested.
	MaxDepth = 256
	// MaxLists is how deep those of lists and structs may be, and how many may
	// follow each other (x[1][2], int[][]): the time that DuckDB takes for them grows
	// with a high power of their depth, and can't be interrupted.
	MaxLists = 48
)

// CheckDepth refuses a statement whose brackets are nested too deep, before it
// comes to DuckDB's parser. Those in texts, names and comments don't count.
func CheckDepth(text string) error {
	var open []byte // brackets that are not closed
	var last byte   // the character before, of those that mean something
	lists, chain := 0, 0
	for i := 0; i < len(text); {
		c, next := text[i], i+1
		switch {
		case c == ' ' || '\t' <= c && c <= '\r':
			i = next
			continue
		case strings.HasPrefix(text[i:], "--"), strings.HasPrefix(text[i:], "/*"):
			i = commentEnd(text, i)
			continue
		case c == '\'' || c == '"':
			next = quoteEnd(text, i)
		case c == '$' && (i == 0 || !isWord(text[i-1])):
			next = dollarEnd(text, i)
		case c == '(' || c == '[' || c == '{':
			if c == '[' && last == ']' {
				chain++
			} else if c != '(' {
				chain = 1
			}
			if open = append(open, c); c != '(' {
				lists++
			}
			if len(open) > MaxDepth {
				return Problem(text, i, fault.TooBig, "brackets are nested more than %d deep", MaxDepth).Do("nest less: WITH gives parts of a statement names")
			}
			if max(lists, chain) > MaxLists {
				return Problem(text, i, fault.TooBig, "lists and structs are nested more than %d deep", MaxLists).Do("nest less")
			}
		case (c == ')' || c == ']' || c == '}') && len(open) > 0:
			if open[len(open)-1] != '(' {
				lists--
			}
			open = open[:len(open)-1]
		}
		i, last = next, c
	}
	return nil
}

// quoteEnd is where the text or name ends that begins at i; of E'...' a backslash
// takes what follows it.
func quoteEnd(s string, i int) int {
	q := s[i]
	escapes := q == '\'' && i > 0 && s[i-1]|0x20 == 'e' && (i < 2 || !isWord(s[i-2]))
	for i++; i < len(s); i++ {
		switch {
		case escapes && s[i] == '\\':
			i++
		case s[i] == q: // two are one of the text, which another one begins with
			return i + 1
		}
	}
	return len(s)
}

// dollarEnd is where $tag$...$tag$ ends; behind the $ where that is a parameter.
func dollarEnd(s string, i int) int {
	n := i + 1
	for n < len(s) && (isWord(s[n]) || s[n] >= 0x80) {
		n++
	}
	if n == len(s) || s[n] != '$' || n > i+1 && '0' <= s[i+1] && s[i+1] <= '9' {
		return i + 1
	}
	tag := s[i : n+1]
	if end := strings.Index(s[n+1:], tag); end >= 0 {
		return n + 1 + end + len(tag)
	}
	return len(s)
}

// commentEnd is where the comment ends that begins at i; those with a star nest.
func commentEnd(s string, i int) int {
	if s[i] == '-' {
		if n := strings.IndexAny(s[i:], "\r\n"); n >= 0 {
			return i + n
		}
		return len(s)
	}
	depth := 0
	for i < len(s) {
		switch {
		case strings.HasPrefix(s[i:], "/*"):
			depth++
			i += 2
		case strings.HasPrefix(s[i:], "*/"):
			if i += 2; depth == 1 {
				return i
			}
			depth--
		default:
			i++
		}
	}
	return i
}
