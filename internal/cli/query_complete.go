package cli

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"time"

	"daos/internal/columnar"
	datasetv1 "daos/proto/gen/daos/dataset/v1"
	queryv1 "daos/proto/gen/daos/query/v1"
	"daos/query/sql"
)

// completer completes what is typed in the shell. It is pure but for ask.
type completer struct {
	ask lookups
}

// lookups ask the server for names; each gives none where it can't be asked.
type lookups struct {
	addresses func(word string) []string
	columns   func(address string) []string
	snapshots func(dataset string) []string
}

// lookup asks the server, two seconds at most, and remembers columns for a while.
func (s *shell) lookup(ctx context.Context) lookups {
	type known struct {
		at    time.Time
		names []string
	}
	seen := map[string]known{}
	return lookups{
		addresses: func(word string) []string {
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			found, _ := s.a.complete(ctx, word, true, true)
			return found
		},
		columns: func(address string) []string {
			if k, ok := seen[address]; ok && s.a.now().Sub(k.at) < time.Minute {
				return k.names
			}
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			r, err := s.c.Query.Schema(ctx, &queryv1.SchemaRequest{Dataset: address})
			var names []string
			for _, f := range r.GetFields() {
				names = append(names, f.GetName())
			}
			if err == nil {
				seen[address] = known{s.a.now(), names}
			}
			return names
		},
		snapshots: func(dataset string) []string {
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			r, err := s.c.Datasets.ListSnapshots(ctx, &datasetv1.ListSnapshotsRequest{Dataset: dataset})
			if err != nil {
				return nil
			}
			var names []string
			for _, x := range r.GetSnapshots() {
				names = append(names, x.GetName())
			}
			return names
		},
	}
}

var atVersion = regexp.MustCompile(`(?i)\bat\s*\(\s*version\s*=>\s*$`)

// complete is what the word before place `at` of a line (in characters) may go
// on as: what stands before it, the words, and what stands behind. pending is
// what was typed in the lines before.
func (c *completer) complete(pending, line string, at int) (head string, words []string, tail string) {
	runes := []rune(line)
	before, tail := string(runes[:at]), string(runes[at:])
	if pending == "" && strings.HasPrefix(strings.TrimLeft(before, " "), ".") {
		head, words = c.command(before)
		return head, words, tail
	}
	whole := pending + "\n" + before
	last := sqlPiece{state: inSQL}
	if all := pieces(whole); len(all) > 0 {
		last = all[len(all)-1]
	}
	switch {
	case last.open && last.state == inName:
		word := last.text[1:]
		return strings.TrimSuffix(before, word), c.quoted(word, whole+`"`+tail), tail
	case last.open && last.state == inText:
		word := last.text[1:]
		prev := strings.TrimSuffix(whole, last.text)
		if inTableFunction(prev) {
			return strings.TrimSuffix(before, word), c.address(word, "'"), tail
		}
		names := quotedNames(prev)
		if len(names) == 0 || !atVersion.MatchString(prev) {
			return before, nil, tail
		}
		dataset, _, _ := strings.Cut(names[len(names)-1], "@")
		return strings.TrimSuffix(before, word), closed(beginning(c.ask.snapshots(dataset), word), "'"), tail
	case last.open:
		return before, nil, tail // in a comment
	}
	word := before[len(strings.TrimRightFunc(before, func(r rune) bool { return wordRune(r) || r == '.' })):]
	return strings.TrimSuffix(before, word), c.bare(word, strings.TrimSuffix(whole, word), whole+tail), tail
}

// closed puts a closing quote behind the only candidate.
func closed(words []string, quote string) []string {
	if len(words) == 1 {
		return []string{words[0] + quote}
	}
	return words
}

func beginning(all []string, word string) []string {
	var out []string
	for _, w := range all {
		if strings.HasPrefix(w, word) {
			out = append(out, w)
		}
	}
	return out
}

// address completes an address; one that is whole gets its closing quote.
func (c *completer) address(word, quote string) []string {
	found := beginning(c.ask.addresses(word), word)
	if len(found) == 1 && found[0] == word {
		return []string{word + quote}
	}
	return found
}

// inTableFunction reports whether a text ends where the address of a table
// function is to come.
func inTableFunction(before string) bool {
	words := wordsOf(before)
	n := len(words)
	if n < 2 || words[n-1] != "(" {
		return false
	}
	for _, f := range sql.Functions() {
		if strings.EqualFold(f.Name, words[n-2]) {
			return true
		}
	}
	return false
}

// tableWords are what can stand for a table without quotes: table functions and
// tables of the server.
func tableWords() (out []string) {
	for _, f := range sql.Functions() {
		out = append(out, f.Name+"('")
	}
	for _, f := range sql.SystemTables() {
		out = append(out, sql.SystemSchema+"."+f.Name)
	}
	return out
}

// quoted completes an address, or the name of a column that needs quotes.
func (c *completer) quoted(word, statement string) []string {
	found := c.address(word, `"`)
	if !strings.Contains(word, "/") {
		addresses, _ := tablesOf(statement)
		for _, a := range addresses {
			for _, n := range c.ask.columns(a) {
				if !plainName(n) && strings.HasPrefix(n, word) {
					found = append(found, n+`"`)
				}
			}
		}
	}
	return found
}

// plainName reports whether a name needs no quotes.
func plainName(s string) bool {
	for i, r := range s {
		if !wordRune(r) || i == 0 && r >= '0' && r <= '9' {
			return false
		}
	}
	return s != "" && !isKeyword(s)
}

// bare completes a word outside of quotes. before is what stands in front of it.
func (c *completer) bare(word, before, statement string) []string {
	addresses, alias := tablesOf(statement)
	if name, column, dotted := strings.Cut(word, "."); dotted {
		addr := alias[strings.ToLower(name)]
		if addr == "" {
			return beginning(tableWords(), word)
		}
		var out []string
		for _, n := range beginning(c.columnNames(addr), column) {
			out = append(out, name+"."+n)
		}
		return out
	}
	prev := ""
	if words := wordsOf(before); len(words) > 0 {
		prev = strings.ToUpper(words[len(words)-1])
	}
	var out []string
	if prev == "FROM" || prev == "JOIN" {
		if word != "" {
			return beginning(tableWords(), strings.ToLower(word))
		}
		for _, p := range c.ask.addresses("") {
			out = append(out, `"`+p)
		}
		return append(out, tableWords()...)
	}
	for _, a := range addresses {
		for _, n := range beginning(c.columnNames(a), word) {
			if !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
	}
	if len(out) > 0 && (word == "" || len(word) > 2) {
		return out // a column is likelier than a function or a keyword
	}
	for _, f := range beginning(sqlFunctions(), strings.ToLower(word)) {
		out = append(out, f+"(")
	}
	for _, k := range beginning(sql.Keywords(), strings.ToUpper(word)) {
		if word != strings.ToUpper(word) {
			k = strings.ToLower(k)
		}
		out = append(out, k)
	}
	return out
}

// columnNames are the columns of a dataset, as they are written in SQL.
func (c *completer) columnNames(address string) []string {
	var out []string
	for _, n := range c.ask.columns(address) {
		if !plainName(n) {
			n = `"` + strings.ReplaceAll(n, `"`, `""`) + `"`
		}
		out = append(out, n)
	}
	return out
}

// command completes a line that begins with a dot.
func (c *completer) command(before string) (head string, words []string) {
	trimmed := strings.TrimLeft(before, " ")
	name, arg, more := strings.Cut(trimmed, " ")
	if !more {
		var names []string
		for _, d := range dotCommands() {
			names = append(names, d.name)
		}
		return strings.TrimSuffix(before, trimmed), beginning(names, name)
	}
	head = strings.TrimSuffix(before, arg)
	switch name {
	case ".schema", ".tables":
		word := strings.TrimPrefix(strings.TrimLeft(arg, " "), `"`)
		return strings.TrimSuffix(before, word), beginning(c.ask.addresses(word), word)
	case ".format":
		return head, beginning(append(columnar.ResultFormats(), "auto"), arg)
	case ".timing", ".explain":
		return head, beginning([]string{"on", "off"}, arg)
	}
	return head, nil
}
