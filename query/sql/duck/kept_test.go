//go:build cgo

package duck_test

import (
	"strings"
	"testing"
)

// TestNothingIsLost is statements whose rows or types were once changed on the
// way to the table: by a limit that came too early, or by the text that DuckDB
// makes of a tree.
func TestNothingIsLost(t *testing.T) {
	d := open(t)
	for _, c := range []struct{ text, want string }{
		{`SELECT count(*) FROM (SELECT label FROM "p/t" WHERE id IN (1, 11, 12) GROUP BY ALL LIMIT 2)`, "2"},
		{`SELECT count(*) FROM (SELECT h FROM "p/t" GROUP BY ALL LIMIT 2)`, "1"},
		{`SELECT count(*) FROM (SELECT label FROM "p/t" GROUP BY ALL LIMIT 8)`, "8"},
		{`SELECT id FROM (SELECT * REPLACE (count(*) OVER () AS id) FROM "p/t" LIMIT 1)`, "5000"},
		{`SELECT count(*) FROM (SELECT * REPLACE (unnest([id, id]) AS id) FROM "p/t" LIMIT 3 OFFSET 2)`, "3"},
		{`SELECT typeof(1e0), typeof(-1.5e0), typeof(1.5)`, "DOUBLE|DOUBLE|DECIMAL(2,1)"},
		{`SELECT 9007199254740993 = 9007199254740992e0`, "true"},
		{`SELECT count(*) FROM "p/t" WHERE x > 1e400`, "715"},
		{`SELECT count(*) FROM "p/t" WHERE x > -1e400 AND name <> '"value":Infinity'`, "5000"},
		{`SELECT count(*) FROM "p/t" WHERE "when" >= TIMESTAMP '1970-01-01 00:00:10-00:01'`, "4990"}, // the offset is nothing to it
		{`SELECT count(*) FROM "p/t" WHERE id > label IN (3)`, "4615"},
		{`SELECT '"value":Infinity,\"value":-Infinity'`, `"value":Infinity,\"value":-Infinity`},
	} {
		got, _, err := query(t.Context(), d, c.text, map[string]*table{"p/t": numbers(5000)})
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
		} else if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s\n gives %s\n not   %s", c.text, s, c.want)
		}
	}
}
