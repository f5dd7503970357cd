//go:build cgo

package duck_test

import (
	"strings"
	"testing"

	"daos/query/expr"
)

// TestNames is names that mean something else than they seem to: tables, aliases
// and common table expressions called like addresses, columns that differ in
// case only.
func TestNames(t *testing.T) {
	d := open(t)
	for _, c := range []struct{ text, want string }{
		{`WITH "p/t" AS (SELECT 7 AS id) SELECT id FROM "p/t"`, "7"},
		{`WITH "p/t" AS (SELECT id + 100 AS id FROM "p/t" WHERE id = 3) SELECT id FROM "p/t"`, "103"},
		{`WITH "P/T" AS (SELECT 7 AS id) SELECT id FROM "p/t"`, "7"},
		{`WITH u AS (SELECT max(id) AS id FROM "p/t"), "p/t" AS (SELECT 8 AS id) SELECT u.id, "p/t".id FROM u, "p/t"`, "4999|8"},
		{`WITH "p/t" AS (SELECT 8 AS id), u AS (SELECT * FROM "p/t") SELECT id FROM u`, "8"},
		{`WITH RECURSIVE "p/t" AS (SELECT 1 AS id UNION ALL SELECT id + 1 FROM "p/t" WHERE id < 3) SELECT sum(id) FROM "p/t"`, "6"},
		{`WITH RECURSIVE "p/t" AS (SELECT id FROM "p/t" WHERE id < 2) SELECT count(*) FROM "p/t"`, "2"},
		{`WITH x AS (WITH "p/t" AS (SELECT 9 AS id) SELECT * FROM "p/t") SELECT x.id, count(*) FROM x, "p/t" GROUP BY 1`, "9|5000"},
		{`SELECT (WITH "p/t" AS (SELECT 5 AS id) SELECT id FROM "p/t"), count(*) FROM "p/t"`, "5|5000"},
		{`SELECT "p/u".id FROM "p/t" "p/u" WHERE "p/u".id = 60`, "60"},
		{`SELECT count(*) FROM "p/u" "p/t", "p/t" b WHERE "p/t".id = 3 AND b.id = 60`, "1"},
		{`SELECT "p/t".id FROM "p/t" WHERE "p/t".id = 4`, "4"},
		{`SELECT "P/T".id FROM "p/t" WHERE "P/T".label = 4 AND id < 10`, "4"},
		{`SELECT Label, label_2 FROM "p/c" ORDER BY 1`, "1|-1 2|-2"},
		{`SELECT label_1 FROM "p/c" WHERE Label_1 < 11`, "10"},
		{`SELECT "Label", "label" FROM "p/c" WHERE label = 2`, "2|2"},
		{`SELECT Label FROM "p/c" WHERE LABEL_2 = -1`, "1"},
		{`SELECT a.label_2 FROM "p/c" a WHERE a."label_2" < 0 AND a."Label" > 1`, "-2"},
		{`SELECT * FROM "p/c" WHERE LABEL_3 = 30 ORDER BY 1`, "1|-1|30|10"},
	} {
		tables := map[string]*table{"p/t": numbers(5000), "p/u": numbers(50), "p/c": cases()}
		got, plan, err := query(t.Context(), d, c.text, tables)
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%s\n gives %s, %v\n not   %s", c.text, strings.Join(got, " "), err, c.want)
			continue
		}
		for _, x := range plan.Conjuncts {
			if !x.Pushed && x.Table != "" && x.Conjunct != "count(...)" { // what is not only groups
				t.Errorf("%s: %+v", c.text, x)
			}
		}
	}
}

// cases has columns that SQL can't tell apart, and one that is called as one of
// them would be.
func cases() *table {
	t := &table{schema: expr.Schema{{Name: "Label", Type: expr.Int32}, {Name: "label", Type: expr.Int32}, {Name: "LABEL", Type: expr.Int32}, {Name: "Label_1", Type: expr.Int32}}}
	t.rows.N = 2
	for _, v := range [][2]int32{{1, 2}, {-1, -2}, {30, 31}, {10, 11}} {
		t.rows.Columns = append(t.rows.Columns, ints(v[:]))
	}
	return t
}

// TestErrorsAreInTheWritersWords: no name and no place of what is run in the
// statement's stead.
func TestErrorsAreInTheWritersWords(t *testing.T) {
	d := open(t)
	for _, c := range []struct{ text, what, at, do string }{
		{`SELECT nme FROM "p/t"`, `no column "nme"`, "nme FROM", `did you mean "name"?`},
		{`SELECT id, lengt(name) FROM "p/t"`, `no function "lengt"`, "lengt", `did you mean "length"?`},
		{`SELECT id FROM "p/t" WHERE lable = 3 AND id < 5`, `no column "lable"`, "lable", `did you mean "label"?`},
		{"SELECT id\nFROM \"p/t\"\nWHERE id > 3 AND\n  qality > 1", `no column "qality"`, "qality", "there are h, id, label, name, tokens, v, when, x"},
		{`SELECT a.nme FROM "p/t" a JOIN "p/u" b USING (id)`, `"a" does not have a column named "nme"`, "a.nme", `did you mean "name"?`},
		{`SELECT b.id FROM "p/t" a`, `no table "b" in this FROM clause`, "b.id", `did you mean "a"?`},
		{`SELECT "p/u".id FROM "p/t"`, `no table "p/u" in this FROM clause`, `"p/u".id`, `did you mean "p/t"?`},
		{`SELECT name + 1 FROM "p/t"`, `No function matches`, `+ 1`, "Candidate functions"},
		{`SELECT id FROM "p/t" WHERE name LIKE 3`, `No function matches`, `LIKE 3`, "VARCHAR"},
		{`SELECT id FROM "p/t" GROUP BY label`, `must appear in the GROUP BY`, "id FROM", ""},
		{`SELECT CAST(name AS int) FROM "p/t"`, `Could not convert string`, "CAST", ""},
		{`SELECT 1.5, CAST(name AS int) FROM "p/t"`, `Could not convert string`, "CAST", ""}, // casts are put around it
		{`SELECT id::foo FROM "p/t"`, `no type "foo"`, "foo FROM", ""},
		{`SELECT CAST(id AS INTT), name FROM "p/t"`, `no type "INTT"`, "INTT)", `did you mean "INT"?`},
		{`SELECT id::VARCHR FROM "p/t"`, `no type "VARCHR"`, "VARCHR", `did you mean "VARCHAR"?`},
		{`SELECT id FROM "p/t" WHERE name COLLATE NoCas = 'a'`, `no collation "nocas"`, "NoCas", `did you mean "nocase"?`},
		{`SELEC id FROM "p/t"`, `syntax error at or near "SELEC"`, "SELEC id", `did you mean "SELECT"?`},
		{`SELECT id FROM "p/t" WEHRE id > 3`, `syntax error`, "id > 3", `"WEHRE": did you mean "WHERE"?`},
		{`SELECT label FROM "p/t" GROUP YB label`, `syntax error`, "YB", `did you mean "BY"?`},
		{`SELECT id FROM "p/t" z(a) WHERE a = 1`, `no column "id"`, "id FROM", ""},
		{`SELECT sum(id) * 9223372036854775807 FROM "p/t"`, "415051741658464911315 does not fit into 64 bits", "", "::DOUBLE"},
		{`SELECT id FROM "p/t" a, "p/t" b`, `Ambiguous reference to column name "id"`, "id FROM", ""},
		{`WITH "c/c" AS (SELECT 1 AS x) SELECT y FROM "c/c"`, `no column "y"`, "y FROM", `"x"?`},
		{`SELECT 'größer', nme FROM "p/t"`, `no column "nme"`, "nme FROM", `did you mean "name"?`},
		{`SELECT id FROM "p/t" ORDER BY nme LIMIT 3`, `no column "nme"`, "nme LIMIT", `did you mean "name"?`},
		{`SELECT * FROM nosuch(1)`, `no table function "nosuch"`, "nosuch", ""},
		{`SELECT error('s0 daos_scan')`, "s0 daos_scan", "", ""},
		{`SELECT * EXCLUDE (nme) FROM "p/t"`, `Column "nme" in EXCLUDE list not found`, "nme)", `did you mean "name"?`},
		{`SELECT id FROM "p/t" JOIN "p/u" USING (nme)`, `Column "nme" does not exist`, "nme)", `did you mean "name"?`},
		{`SELECT id FROM "p/t" WHERE getenv('HOME') = 'x'`, `no function "getenv"`, "getenv", ""},
	} {
		_, _, err := query(t.Context(), d, c.text, map[string]*table{"p/t": numbers(10), "p/u": numbers(10)})
		if err == nil {
			t.Errorf("%s: no error", c.text)
			continue
		}
		got := err.Error()
		for _, s := range []string{c.what, c.do} {
			if !strings.Contains(got, s) {
				t.Errorf("%s: %q is not in\n%s", c.text, s, got)
			}
		}
		if strings.Contains(got, "s0'") || strings.Contains(got, "daos_scan(") || strings.Contains(got, "LINE 1") || strings.Contains(got, "exception_") {
			t.Errorf("%s: it shows what is run in its stead:\n%s", c.text, got)
		}
		if c.at != "" && !strings.HasPrefix(pointed(got), c.at) {
			t.Errorf("%s: the mark is at %q, not at %q:\n%s", c.text, pointed(got), c.at, got)
		}
	}
}

// pointed is what the caret of an error points at.
func pointed(s string) string {
	lines := strings.Split(s, "\n")
	for i := 1; i < len(lines); i++ {
		if strings.TrimSpace(lines[i]) == "^" {
			above := []rune(lines[i-1])
			if at := strings.IndexByte(lines[i], '^'); at < len(above) {
				return string(above[at:])
			}
		}
	}
	return ""
}
