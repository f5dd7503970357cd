package service

import "strings"

// orders reports whether a statement orders its result: an ORDER BY that is not
// within parentheses. What stands in texts, names in quotes and comments does not
// count.
func orders(text string) bool {
	depth, last := 0, ""
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case strings.HasPrefix(text[i:], "--"):
			n := strings.IndexByte(text[i:], '\n')
			if n < 0 {
				return false
			}
			i += n
			continue
		case strings.HasPrefix(text[i:], "/*"):
			n := strings.Index(text[i+2:], "*/")
			if n < 0 {
				return false
			}
			i += n + 4
			continue
		case c == '\'' && last == "e" && text[i-1]|0x20 == 'e': // with escapes
			for i++; i < len(text) && text[i] != '\''; i++ {
				if text[i] == '\\' {
					i++
				}
			}
			last = ""
		case c == '\'' || c == '"':
			n := strings.IndexByte(text[i+1:], c) // a doubled one begins the next
			if n < 0 {
				return false
			}
			i += n + 2
			last = ""
			continue
		case c == '$':
			if tag, ok := dollarTag(text[i:]); ok {
				n := strings.Index(text[i+len(tag):], tag)
				if n < 0 {
					return false
				}
				i += n + 2*len(tag)
				last = ""
				continue
			}
		case c == '(' || c == '[' || c == '{':
			depth++
		case c == ')' || c == ']' || c == '}':
			depth--
		case wordByte(c):
			n := i
			for n < len(text) && (wordByte(text[n]) || text[n] >= '0' && text[n] <= '9') {
				n++
			}
			word := strings.ToLower(text[i:n])
			if depth == 0 && last == "order" && word == "by" {
				return true
			}
			last, i = word, n
			continue
		}
		if c != ' ' && c != '\t' && c != '\n' && c != '\r' {
			last = ""
		}
		i++
	}
	return false
}

func wordByte(c byte) bool { return c == '_' || c|0x20 >= 'a' && c|0x20 <= 'z' || c >= 0x80 }

// dollarTag is the $TAG$ that begins a text.
func dollarTag(s string) (string, bool) {
	for i := 1; i < len(s); i++ {
		if s[i] == '$' {
			return s[:i+1], true
		}
		if !wordByte(s[i]) && (i == 1 || s[i] < '0' || s[i] > '9') {
			break
		}
	}
	return "", false
}
