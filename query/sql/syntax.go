package sql

import (
	"slices"
	"strconv"
	"strings"

	"daos/internal/near"
)

// Keywords are the words of SQL that people write in statements, in their order:
// what is completed, and what a misspelled word may have been.
func Keywords() []string {
	return []string{
		"ALL", "AND", "ANTI", "AS", "ASC", "ASOF", "AT", "BETWEEN", "BY", "CASE", "CAST", "COLUMNS", "CROSS", "DESC", "DESCRIBE", "DISTINCT", "ELSE",
		"END", "EXCEPT", "EXCLUDE", "EXISTS", "EXPLAIN", "FALSE", "FILTER", "FIRST", "FROM", "FULL", "GROUP", "HAVING", "ILIKE", "IN", "INNER",
		"INTERSECT", "INTERVAL", "IS", "JOIN", "LAST", "LATERAL", "LEFT", "LIKE", "LIMIT", "NATURAL", "NOT", "NULL", "NULLS", "OFFSET", "ON", "OR", "ORDER",
		"OUTER", "OVER", "PARTITION", "PIVOT", "POSITIONAL", "QUALIFY", "REPLACE", "RIGHT", "ROLLUP", "SAMPLE", "SELECT", "SEMI", "SIMILAR", "SUMMARIZE",
		"TABLESAMPLE", "THEN", "TRUE", "UNION", "UNNEST", "UNPIVOT", "USING", "VALUES", "VERSION", "WHEN", "WHERE", "WINDOW", "WITH",
	}
}

// types are the names of types that people write.
func types() []string {
	return []string{
		"BIGINT", "BIT", "BLOB", "BOOL", "BOOLEAN", "BYTEA", "CHAR", "DATE", "DECIMAL", "DOUBLE", "FLOAT", "HUGEINT", "INT", "INTEGER", "INTERVAL",
		"JSON", "NUMERIC", "REAL", "SMALLINT", "STRING", "TEXT", "TIME", "TIMESTAMP", "TIMESTAMPTZ", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP_S",
		"TIMETZ", "TINYINT", "UBIGINT", "UHUGEINT", "UINTEGER", "USMALLINT", "UTINYINT", "UUID", "VARCHAR",
	}
}

// Misspelled suggests a keyword where a statement has a syntax error. DuckDB is
// stopped by the misspelled word itself, or took that for a name and is stopped
// by what comes behind it.
func Misspelled(text string, at int) string {
	if at < 0 || at > len(text) {
		return ""
	}
	end := at
	for end < len(text) && isWord(text[end]) {
		end++
	}
	here := text[at:end]
	if n := keywordLike(here); n != "" {
		return "did you mean " + strconv.Quote(n) + "?"
	}
	before := strings.TrimRight(text[:at], " \t\r\n")
	begin := len(before)
	for begin > 0 && isWord(before[begin-1]) {
		begin--
	}
	if begin > 0 && strings.IndexByte(`"'.`, before[begin-1]) >= 0 {
		return "" // a part of a name, or of a text
	}
	if n := keywordLike(before[begin:]); n != "" {
		return strconv.Quote(before[begin:]) + ": did you mean " + strconv.Quote(n) + "?"
	}
	return ""
}

// keywordLike is the keyword that a word is nearly; "" where it is one.
func keywordLike(word string) string {
	word = strings.ToUpper(word)
	_, known := slices.BinarySearch(Keywords(), word)
	most := 1
	switch {
	case len(word) < 2 || known:
		return ""
	case len(word) >= 6:
		most = 2
	}
	best := ""
	for _, k := range Keywords() {
		if len(word) == 2 && !(k[0] == word[1] && len(k) == 2 && k[1] == word[0]) { // two letters that changed places, no others
			continue
		}
		if d := near.Distance(word, k); d <= most && (best == "" || d < near.Distance(word, best)) {
			best = k
		}
	}
	return best
}
