package cli

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// sqlState is where in a text of SQL a place is.
type sqlState uint8

const (
	inSQL      sqlState = iota
	inText              // 'text'
	inName              // "name"
	inLine              // -- to the end of the line
	inBlock             // /* block */
	inDollar            // $$text$$ or $tag$text$tag$
	endOfQuery          // a semicolon of its own
)

// sqlPiece is a stretch of SQL of one state, quotes and marks included.
type sqlPiece struct {
	state sqlState
	text  string
	open  bool // it does not end within the text
}

// nextPiece cuts the first piece off a text that is not empty: comments and what
// is in quotes are one each.
func nextPiece(s string) (p sqlPiece, rest string) {
	until := func(state sqlState, begin, end string) (sqlPiece, string) {
		if i := strings.Index(s[len(begin):], end); i >= 0 {
			n := len(begin) + i + len(end)
			return sqlPiece{state, s[:n], false}, s[n:]
		}
		return sqlPiece{state, s, true}, ""
	}
	switch {
	case s[0] == ';':
		return sqlPiece{endOfQuery, s[:1], false}, s[1:]
	case s[0] == '\'':
		return until(inText, "'", "'") // '' within it begins the next piece, of the same kind
	case s[0] == '"':
		return until(inName, `"`, `"`)
	case strings.HasPrefix(s, "--"):
		return until(inLine, "--", "\n")
	case strings.HasPrefix(s, "/*"):
		return until(inBlock, "/*", "*/")
	case s[0] == '$':
		if tag := dollarTag(s); tag != "" {
			return until(inDollar, tag, tag)
		}
	}
	n := 1
	for n < len(s) && !strings.ContainsRune(`;'"$`, rune(s[n])) && !strings.HasPrefix(s[n:], "--") && !strings.HasPrefix(s[n:], "/*") {
		n++
	}
	return sqlPiece{inSQL, s[:n], false}, s[n:]
}

// dollarTag is "$$" or "$tag$" at the beginning of s, or "": $1 and $name are
// parameters.
func dollarTag(s string) string {
	i := strings.IndexByte(s[1:], '$')
	if i < 0 {
		return ""
	}
	for k, r := range s[1 : i+1] {
		if r != '_' && !unicode.IsLetter(r) && (k == 0 || !unicode.IsDigit(r)) {
			return ""
		}
	}
	return s[:i+2]
}

func pieces(s string) (all []sqlPiece) {
	for s != "" {
		var p sqlPiece
		p, s = nextPiece(s)
		all = append(all, p)
	}
	return all
}

// cutStatement cuts the first statement off a text, without its semicolon. whole
// is false while there is none.
func cutStatement(s string) (statement, rest string, whole bool) {
	n := 0
	for _, p := range pieces(s) {
		if p.state == endOfQuery {
			return s[:n], s[n+1:], true
		}
		n += len(p.text)
	}
	return s, "", false
}

// nothingIn reports whether a text has comments and blanks alone.
func nothingIn(s string) bool {
	for _, p := range pieces(s) {
		if p.state != inLine && p.state != inBlock && (p.state != inSQL || strings.TrimSpace(p.text) != "") {
			return false
		}
	}
	return true
}

// oneLine is a statement as a line of a history: without comments, blanks
// joined. ok is false where a line ends within quotes.
func oneLine(s string) (line string, ok bool) {
	var b strings.Builder
	for _, p := range pieces(s) {
		switch p.state {
		case inLine, inBlock:
			if !strings.HasSuffix(b.String(), " ") {
				b.WriteByte(' ')
			}
		case inSQL, endOfQuery:
			for _, r := range p.text {
				if unicode.IsSpace(r) {
					r = ' '
				}
				if r != ' ' || !strings.HasSuffix(b.String(), " ") {
					b.WriteRune(r)
				}
			}
		default:
			if strings.ContainsAny(p.text, "\r\n") || !utf8.ValidString(p.text) {
				return "", false
			}
			b.WriteString(p.text)
		}
	}
	return strings.TrimSpace(b.String()), utf8.ValidString(s)
}

// quotedNames are the names in double quotes, in order.
func quotedNames(s string) (names []string) {
	for _, p := range pieces(s) {
		if p.state == inName && !p.open {
			names = append(names, p.text[1:len(p.text)-1])
		}
	}
	return names
}

// wordsOf are the words and quoted names of a text, in order; a quoted one keeps
// its quotes, and all else is a word for each character.
func wordsOf(s string) (words []string) {
	for _, p := range pieces(s) {
		switch p.state {
		case inName, inText, inDollar:
			words = append(words, p.text)
		case inSQL:
			rest := p.text
			for rest != "" {
				r, n := utf8.DecodeRuneInString(rest)
				if wordRune(r) {
					if n = strings.IndexFunc(rest, func(r rune) bool { return !wordRune(r) }); n < 0 {
						n = len(rest)
					}
				}
				if w := rest[:n]; strings.TrimSpace(w) != "" {
					words = append(words, w)
				}
				rest = rest[n:]
			}
		}
	}
	return words
}

func wordRune(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }

// tablesOf maps what stands for a dataset in a statement to its address: its
// alias, or its address in quotes.
func tablesOf(s string) (addresses []string, alias map[string]string) {
	alias = map[string]string{}
	words := wordsOf(s)
	for i, w := range words {
		if len(w) < 2 || w[0] != '"' || w[len(w)-1] != '"' || !strings.Contains(w, "/") {
			continue
		}
		addr := w[1 : len(w)-1]
		if !slices.Contains(addresses, addr) {
			addresses = append(addresses, addr)
		}
		next := i + 1
		if next < len(words) && strings.EqualFold(words[next], "as") {
			next++
		}
		if next < len(words) {
			r, _ := utf8.DecodeRuneInString(words[next])
			if (r == '_' || unicode.IsLetter(r)) && !isKeyword(words[next]) {
				alias[strings.ToLower(words[next])] = addr
			}
		}
	}
	return addresses, alias
}
