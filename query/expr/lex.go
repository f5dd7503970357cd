package expr

import (
	"strings"
	"unicode/utf8"

	"daos/internal/fault"
)

type kind uint8

const (
	end kind = iota
	name
	quoted // "name"
	number
	text
	blob   // x'..'
	symbol // operators and punctuation
)

type token struct {
	kind kind
	text string // of a name, symbol or number as written; of a quoted one its content
	at   int
}

// keyword are the words that are no names unless they are quoted.
var keyword = map[string]bool{"and": true, "or": true, "not": true, "in": true, "is": true, "null": true, "like": true,
	"glob": true, "between": true, "true": true, "false": true}

func nameByte(b byte) bool {
	return b == '_' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b >= utf8.RuneSelf
}

// Problem is the error of an expression with the place in its text marked.
func Problem(src string, at int, format string, args ...any) *fault.Error {
	e := fault.New(fault.Invalid, "query.where", "predicate", format, args...)
	if at >= 0 && src != "" {
		e.Detail += caret(src, at)
	}
	return e
}

// caret shows the line of the text with a mark below the place.
func caret(src string, at int) string {
	at = min(at, len(src))
	from := strings.LastIndexByte(src[:at], '\n') + 1
	to := len(src)
	if i := strings.IndexByte(src[at:], '\n'); i >= 0 {
		to = at + i
	}
	// A long line is shown around the place.
	const width = 60
	line := src[from:to]
	col := at - from
	head, tail := "", ""
	if len(line) > 2*width {
		lo, hi := max(0, col-width), min(len(line), col+width)
		for lo > 0 && !utf8.RuneStart(line[lo]) {
			lo--
		}
		for hi < len(line) && !utf8.RuneStart(line[hi]) {
			hi++
		}
		if lo > 0 {
			head = "..."
		}
		if hi < len(line) {
			tail = "..."
		}
		line, col = line[lo:hi], col-lo
	}
	pad := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, head+line[:col])
	return "\n  " + head + line + tail + "\n  " + pad + "^"
}

func lex(src string) ([]token, error) {
	if len(src) > MaxText {
		return nil, fault.New(fault.TooBig, "query.where", "predicate", "the text has %d bytes, at most %d are read", len(src), MaxText)
	}
	if !utf8.ValidString(src) {
		return nil, fault.New(fault.Invalid, "query.where", "predicate", "the text is not UTF-8")
	}
	var out []token
	for i := 0; i < len(src); {
		b := src[i]
		switch {
		case b == ' ' || b == '\t' || b == '\n' || b == '\r':
			i++
		case (b == 'x' || b == 'X') && i+1 < len(src) && src[i+1] == '\'':
			s, next, err := literal(src, i+1, '\'')
			if err != nil {
				return nil, err
			}
			out = append(out, token{blob, s, i})
			i = next
		case b >= '0' && b <= '9' || b == '.' && i+1 < len(src) && src[i+1] >= '0' && src[i+1] <= '9':
			next := numberEnd(src, i)
			out = append(out, token{number, src[i:next], i})
			i = next
		case nameByte(b):
			next := i
			for next < len(src) && nameByte(src[next]) {
				next++
			}
			out = append(out, token{name, src[i:next], i})
			i = next
		case b == '\'' || b == '"':
			s, next, err := literal(src, i, b)
			if err != nil {
				return nil, err
			}
			k := text
			if b == '"' {
				k = quoted
			}
			out = append(out, token{k, s, i})
			i = next
		default:
			n := 1
			if i+1 < len(src) {
				switch src[i : i+2] {
				case "<=", ">=", "<>", "!=", "==", "::":
					n = 2
				}
			}
			s := src[i : i+n]
			if n == 1 && strings.IndexByte("(),+-*/%<>=[].", b) < 0 {
				r, _ := utf8.DecodeRuneInString(src[i:])
				return nil, Problem(src, i, "%q is not understood here", r)
			}
			out = append(out, token{symbol, s, i})
			i += n
		}
	}
	return append(out, token{end, "", len(src)}), nil
}

// literal reads a quoted text that begins at i; a doubled quote is a quote.
func literal(src string, i int, quote byte) (s string, next int, err error) {
	var b strings.Builder
	for j := i + 1; j < len(src); j++ {
		if src[j] != quote {
			b.WriteByte(src[j])
			continue
		}
		if j+1 < len(src) && src[j+1] == quote {
			b.WriteByte(quote)
			j++
			continue
		}
		return b.String(), j + 1, nil
	}
	return "", 0, Problem(src, i, "a text begins with %c and does not end", quote).Do("close it with %c; a quote within it is doubled", quote)
}

// numberEnd is where the number at i ends: 12, 1.5, .5, 1e-3, 1_000.
func numberEnd(src string, i int) int {
	digits := func(j int) int {
		for j < len(src) && (src[j] >= '0' && src[j] <= '9' || src[j] == '_') {
			j++
		}
		return j
	}
	j := digits(i)
	if j < len(src) && src[j] == '.' {
		j = digits(j + 1)
	}
	if j < len(src) && (src[j] == 'e' || src[j] == 'E') {
		k := j + 1
		if k < len(src) && (src[k] == '+' || src[k] == '-') {
			k++
		}
		if n := digits(k); n > k {
			j = n
		}
	}
	return j
}
