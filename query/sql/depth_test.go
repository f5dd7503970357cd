package sql_test

import (
	"strings"
	"testing"

	"daos/internal/fault"
	"daos/query/sql"
)

func TestCheckDepth(t *testing.T) {
	nested := func(open, shut string, n int) string {
		return "SELECT " + strings.Repeat(open, n) + "1" + strings.Repeat(shut, n)
	}
	for text, fine := range map[string]bool{
		nested("(", ")", sql.MaxDepth):                           true,
		nested("(", ")", sql.MaxDepth+1):                         false,
		nested("[", "]", sql.MaxLists):                           true,
		nested("[", "]", sql.MaxLists+1):                         false,
		nested("[", "]", 900):                                    false,
		nested("{'a': ", "}", sql.MaxLists+1):                    false,
		nested("([", "])", sql.MaxLists):                         true,
		nested("[(", ")]", sql.MaxLists+1):                       false,
		nested("list_value(", ")", sql.MaxDepth+1):               false,
		"SELECT x" + strings.Repeat("[1]", sql.MaxLists):         true,
		"SELECT x" + strings.Repeat("[1] ", sql.MaxLists+1):      false,
		"SELECT x::int" + strings.Repeat("[/* a */]", 900):       false,
		"SELECT " + strings.Repeat("x[1], ", 900) + "1":          true,
		"SELECT [" + strings.Repeat("[1], ", 900) + "[]]":        true,
		"SELECT " + strings.Repeat("(1), ", 900) + "1":           true,
		"SELECT '" + strings.Repeat("[", 900) + "'":              true,
		`SELECT "` + strings.Repeat("[", 900) + `"`:              true,
		"SELECT 'it''s " + strings.Repeat("[", 900) + "'":        true,
		`SELECT e'\'` + strings.Repeat("[", 900) + "'":           true,
		`SELECT '\'` + strings.Repeat("[", 900) + "'":            false, // no escape: the text has ended
		"SELECT $$" + strings.Repeat("[", 900) + "$$":            true,
		"SELECT $a$ $$ " + strings.Repeat("[", 900) + "$a$":      true,
		"SELECT $a, $1, " + strings.Repeat("[", 900) + "$a":      false,
		"SELECT 1 -- " + strings.Repeat("[", 900):                true,
		"SELECT 1 -- \n" + strings.Repeat("[", 900):              false,
		"SELECT 1 /* /* */ " + strings.Repeat("[", 900) + "*/":   true,
		"SELECT 1 /* */ " + strings.Repeat("[", 900):             false,
		"SELECT '" + strings.Repeat("[", 900):                    true, // the parser says that it has no end
		strings.Repeat(")", 900) + strings.Repeat("(", 100) + "": true,
	} {
		err := sql.CheckDepth(text)
		if fine != (err == nil) || err != nil && !fault.Is(err, fault.TooBig) {
			t.Errorf("%.60s: %v", text, err)
		}
	}
	err := sql.CheckDepth("SELECT 1,\n" + strings.Repeat("[", 900))
	if want := strings.Repeat("[", 10); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "^") {
		t.Errorf("the place is not shown: %v", err)
	}
}
