package service

import "testing"

func TestOrders(t *testing.T) {
	for text, want := range map[string]bool{
		`SELECT path FROM "p/t" ORDER BY size`:                             true,
		"select path from t order\n\tby 1":                                 true,
		"select path from t order /* so */ by 1":                           true,
		`SELECT path FROM "p/t"`:                                           false,
		`SELECT path FROM "order by"`:                                      false,
		`SELECT 'a order by' FROM "p/t"`:                                   false,
		`SELECT 'it''s order by' FROM "p/t"`:                               false,
		`SELECT e'it\' order by 1' FROM "p/t"`:                             false,
		`SELECT $$ order by 1 $$ FROM "p/t"`:                               false,
		`SELECT $x$ order by $$ 1 $x$ FROM "p/t" ORDER BY 1`:               true,
		`SELECT path FROM "p/t" -- order by x`:                             false,
		"SELECT path FROM t -- order by x\nORDER BY y":                     true,
		`SELECT path /* order by x */ FROM "p/t"`:                          false,
		`SELECT row_number() OVER (ORDER BY size) FROM "p/t"`:              false,
		`SELECT path FROM (SELECT path FROM "p/t" ORDER BY size LIMIT 5)`:  false,
		`WITH x AS (SELECT 1 ORDER BY 1) SELECT path FROM x ORDER BY path`: true,
		`SELECT path FROM a UNION SELECT path FROM b ORDER BY path`:        true,
		`SELECT "order", by FROM t`:                                        false,
		`SELECT orderx by FROM t`:                                          false,
		`SELECT path FROM t WHERE id = $1 ORDER BY path`:                   true,
		`SELECT path FROM t WHERE s = 'unfinished order by`:                false,
		`/* unfinished ORDER BY x`:                                         false,
		`-- ORDER BY x`:                                                    false,
		`SELECT list[1] FROM t ORDER BY list[2]`:                           true,
		`SELECT {'a': 1} FROM t ORDER BY 1`:                                true,
		`$`:                                                                false,
		``:                                                                 false,
	} {
		if got := orders(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func FuzzOrders(f *testing.F) {
	f.Add("SELECT path FROM t WHERE s = $x$ a $x$ -- c\n/* d */ ORDER BY e'\\''")
	f.Fuzz(func(_ *testing.T, text string) { orders(text) })
}
