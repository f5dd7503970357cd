package sql_test

import (
	"slices"
	"strings"
	"testing"

	"daos/query/sql"
)

func TestMisspelled(t *testing.T) {
	if !slices.IsSorted(sql.Keywords()) {
		t.Error("the keywords are not in order")
	}
	for text, want := range map[string]string{ // | is where the syntax error is
		"|SELEC a":                           `did you mean "SELECT"?`,
		"SELECT * FORM |t":                   `"FORM": did you mean "FROM"?`,
		"SELECT a FROM t\nORDR \n|BY a":      `"ORDR": did you mean "ORDER"?`,
		"SELECT a FROM t LIMT |3":            `"LIMT": did you mean "LIMIT"?`,
		"SELECT CASE WHEN a |ELZE b END":     `did you mean "ELSE"?`,
		"SELECT sum(a) OVER (PARTION |BY b)": `"PARTION": did you mean "PARTITION"?`,
		"SELECT a FROM t GROUP |YB a":        `did you mean "BY"?`,
		"SELECT a |t":                        "",
		"SELECT label |image FROM t":         "",
		`SELECT "form" |3`:                   "",
		"SELECT [1, 2|":                      "",
		"|":                                  "",
		"SELECT |FROM t":                     "",
	} {
		at := strings.Index(text, "|")
		if got := sql.Misspelled(strings.Replace(text, "|", "", 1), at); got != want {
			t.Errorf("%q: %q, not %q", text, got, want)
		}
	}
	for _, at := range []int{-1, 99} {
		if got := sql.Misspelled("SELEC", at); got != "" {
			t.Errorf("at %d: %q", at, got)
		}
	}
}
