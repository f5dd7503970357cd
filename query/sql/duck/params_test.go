package duck_test

import (
	"math"
	"strings"
	"testing"

	"daos/query/exec"
	"daos/query/expr"
	"daos/query/sql"
	"daos/query/sql/duck"
)

// TestParametersHaveTypes asks for columns whose types DuckDB knows by the
// values of the parameters only.
func TestParametersHaveTypes(t *testing.T) {
	d := open(t)
	tables := map[string]*table{"p/t": numbers(50)}
	num := func(name string, n int64) duck.Param {
		return duck.Param{Name: name, Value: expr.Value{Type: expr.Int64, I: n}}
	}
	text := func(name, s string) duck.Param {
		return duck.Param{Name: name, Value: expr.Value{Type: expr.Text, S: s}}
	}
	null := func(name string) duck.Param { return duck.Param{Name: name, Value: expr.NullValue()} }
	for _, c := range []struct {
		sql, want string
		params    []duck.Param
	}{
		{`SELECT ?::INTEGER + 1 AS x, ?::VARCHAR AS t, ? IS NULL AS n`, "2|a|true", []duck.Param{num("1", 1), text("2", "a"), null("3")}},
		{`SELECT ? AS x, ? + 1 AS y`, "1|3", []duck.Param{num("1", 1), num("2", 2)}},
		{`SELECT $a AS a, $a + $b AS s, $c AS c`, "4000000000|4000000001|it's", []duck.Param{num("a", 4_000_000_000), num("b", 1), text("c", "it's")}},
		{`SELECT $x AS x, isnan($y) AS y`, "0.1|true", []duck.Param{{Name: "x", Value: expr.Value{Type: expr.Float64, F: 0.1}}, {Name: "y", Value: expr.Value{Type: expr.Float64, F: math.NaN()}}}},
		{`SELECT $x = 'inf'::DOUBLE AS a, $y AS y`, "true|-Inf", []duck.Param{{Name: "x", Value: expr.Value{Type: expr.Float64, F: math.Inf(1)}}, {Name: "y", Value: expr.Value{Type: expr.Float64, F: math.Inf(-1)}}}},
		{`SELECT $u::VARCHAR AS u, $b AS b`, "18446744073709551615|true", []duck.Param{{Name: "u", Value: expr.Value{Type: expr.Uint64, U: math.MaxUint64}}, {Name: "b", Value: expr.Value{Type: expr.Bool, B: true}}}},
		{`SELECT octet_length($b) AS n, hex($b) AS b`, "3|0027FF", []duck.Param{{Name: "b", Value: expr.Value{Type: expr.Bytes, S: "\x00'\xff"}}}},
		{`SELECT count(*) FROM "p/t" WHERE "when" < $w`, "2", []duck.Param{{Name: "w", Value: expr.Value{Type: expr.Time, I: 2e9}}}},
		{`SELECT count(*), $w FROM "p/t" WHERE "when" < $w`, "2|1970-01-01 00:00:02", []duck.Param{text("w", "1970-01-01 00:00:02")}},
		{`SELECT id, $x AS x FROM "p/t" WHERE id >= $i ORDER BY id LIMIT $n`, "7|z 8|z", []duck.Param{text("x", "z"), num("i", 7), num("n", 2)}},
		{`SELECT hex($t) AS t, $t || '!' AS u, length($t) AS n, $v AS v`, "610062|a\x00b!|3|\x00", []duck.Param{text("t", "a\x00b"), text("v", "\x00")}},
		{`SELECT $t AS t, $n AS n`, "a\x00b|1", []duck.Param{text("t", "a\x00b"), num("n", 1)}},
		{`SELECT ? AS n, ? AS t, ? AS m`, "1|a\x00b|3", []duck.Param{num("1", 1), text("2", "a\x00b"), num("3", 3)}},
		{`SELECT CASE WHEN ? THEN ? ELSE ? END AS q`, "a\x00b", []duck.Param{{Name: "1", Value: expr.BoolValue(true)}, text("2", "a\x00b"), text("3", "\x00")}},
		{`SELECT id AS unknown FROM "p/t" WHERE id = $i`, "7", []duck.Param{num("i", 7)}},
	} {
		got, _, err := query(t.Context(), d, c.sql, tables, c.params...)
		if err != nil {
			t.Errorf("%s: %v", c.sql, err)
		} else if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s\n gives %q\n not   %q", c.sql, s, c.want)
		}
	}
	for _, c := range []struct {
		params []duck.Param
		want   string
	}{
		{nil, "it has no value"},
		{[]duck.Param{num("a", 1), num("b", 1)}, "has no such parameter"},
	} {
		if _, _, err := query(t.Context(), d, `SELECT $a AS a, $a + 1 AS b`, tables, c.params...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, not %q", err, c.want)
		}
	}
}

// TestParametersOfTableFunctions: what is spent as an argument of a table function
// DuckDB does not get; it takes the others nevertheless, whatever their numbers are.
func TestParametersOfTableFunctions(t *testing.T) {
	d := open(t)
	all := map[string]expr.Value{"1": expr.TextValue("0:8"), "2": expr.IntValue(7), "3": expr.TextValue("a\x00b")}
	for _, text := range []string{
		`SELECT $3 AS x, id FROM slice('p/a', $1) WHERE id = $2`,
		`SELECT CASE WHEN id = $2 THEN $3 END AS x, id FROM slice('p/a', $1) WHERE id BETWEEN $2 AND $2`,
	} {
		tree, err := d.Tree(text)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := sql.Catalog{
			Table: func(r *sql.Ref) error { r.Schema = numbers(10).schema; return nil },
			Param: func(name string) (expr.Value, bool) { v, ok := all[name]; return v, ok },
		}.Rewrite(tree, text)
		if err != nil {
			t.Fatal(err)
		}
		var left []duck.Param
		for _, name := range []string{"1", "2", "3"} {
			if !plan.OnlySpent(name) {
				left = append(left, duck.Param{Name: name, Value: all[name]})
			}
		}
		by := map[string]duck.Table{}
		for _, r := range plan.Refs {
			one := *numbers(10)
			one.of, one.ref = &one, r
			by[r.Handle] = &one
		}
		var got []string
		var fields expr.Schema
		err = d.Query(t.Context(), plan, by, left, func(s expr.Schema) error { fields = s; return nil }, func(r *exec.Rows) error {
			for i := range r.N {
				got = append(got, show(&fields[0], &r.Columns[0], i)+"|"+show(&fields[1], &r.Columns[1], i))
			}
			return nil
		})
		if err != nil || len(left) != 2 || len(got) != 1 || got[0] != "a\x00b|7" {
			t.Errorf("%s: %d parameters, %q, %v", text, len(left), got, err)
		}
	}
}
