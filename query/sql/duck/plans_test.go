//go:build cgo

package duck_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"daos/query/exec"
	"daos/query/expr"
	"daos/query/sql/duck"
)

var update = flag.Bool("update", false, "write testdata/plans.txt anew")

// statements are those whose plans are kept, by what they are about.
var statements = []string{
	"-- conditions",
	`SELECT * FROM "p/t" WHERE label = 3`,
	`SELECT id FROM "p/t" WHERE 3 >= label AND x BETWEEN 1 AND 2.5`,
	`SELECT id FROM "p/t" WHERE label IN (1, 2, NULL) OR name LIKE 'name 1%'`,
	`SELECT id FROM "p/t" WHERE NOT (label = 3 OR x IS NULL) AND isnan(x)`,
	`SELECT id FROM "p/t" WHERE starts_with(name, 'name 2') AND contains(name, 'x') AND length(name) = 10`,
	`SELECT id FROM "p/t" WHERE name GLOB 'name [12]*' AND name !~~ '%9%' AND name SIMILAR TO 'n.*'`,
	`SELECT id FROM "p/t" WHERE v[2] > 30 AND len(tokens) = 2 AND tokens[1] = 7`,
	`SELECT id FROM "p/t" WHERE "when" >= TIMESTAMP '1970-01-01 00:00:30' AND "when" < DATE '1970-01-02'`,
	`SELECT id FROM "p/t" WHERE h = 1 AND x > 0.1 AND x < 1e3 AND id <> 18446744073709551615`,
	`SELECT id FROM "p/t" WHERE lower(name) = 'x' AND id + 1 > 3 AND id % 2 = 0 AND id::text = '3'`,
	`SELECT id FROM "p/t" WHERE CASE WHEN label = 1 THEN true END AND coalesce(label, 0) = 1 AND label IS NOT DISTINCT FROM 1`,
	`SELECT id FROM "p/t" WHERE true AND 1 = 1 AND label = label`,
	`SELECT id FROM "p/t" WHERE id > -1 AND x < 3. AND id < 100000000000000000000 AND x <> 0.10000000000000000000001`,
	`SELECT id FROM "p/t" WHERE label = $n AND id < 9`,
	`SELECT id FROM "p/t" WHERE random() < 2 AND label = 3`,
	`SELECT id FROM "p/t" WHERE label = 1 AND (SELECT max(id) FROM "p/u" WHERE label = 2) > 3`,
	"-- names",
	`SELECT LABEL FROM "p/t" T WHERE t.Label = 3 AND "T"."label" < 9`,
	`SELECT id AS label FROM "p/t" WHERE label = 3`,
	`SELECT * FROM "p/t" AS q(a, b) WHERE b = 3`,
	`SELECT id FROM "p/t" WHERE nothing.label = 3 OR label = 3`,
	`SELECT * FROM "p/t", "p/u" WHERE label = 3`,
	`SELECT * FROM "p/t@s" AS before JOIN "p/t" AS now USING (id) WHERE before.label = 3 AND now.x > 1`,
	`SELECT id FROM "p/t" AT (VERSION => 's') WHERE label = 3`,
	`WITH "p/t" AS (SELECT * FROM "p/t" WHERE label = 3) SELECT * FROM "p/t" WHERE id = 3`,
	`SELECT * FROM (SELECT * FROM "p/t" WHERE label = 3) q WHERE q.id = 3`,
	"-- joins",
	`SELECT a.id FROM "p/t" a JOIN "p/u" b ON a.id = b.id AND b.label = 3 WHERE a.x > 1 AND b.x > 2 AND a.x > b.x`,
	`SELECT a.id FROM "p/t" a LEFT JOIN "p/u" b ON a.id = b.id WHERE a.label = 3 AND b.label = 3`,
	`SELECT a.id FROM "p/t" a RIGHT JOIN "p/u" b ON a.id = b.id WHERE a.label = 3 AND b.label = 3`,
	`SELECT a.id FROM "p/t" a FULL JOIN "p/u" b ON a.id = b.id WHERE a.label = 3 AND b.label = 3`,
	`SELECT a.id FROM "p/t" a LEFT JOIN "p/u" b ON a.id = b.id RIGHT JOIN "p/c" c ON c.label = a.label WHERE a.label = 3 AND c.label = 2`,
	`SELECT * FROM "p/t" a SEMI JOIN "p/u" b ON a.id = b.id WHERE a.label = 3`,
	`SELECT * FROM "p/t" a ANTI JOIN "p/u" b ON a.id = b.id WHERE a.label = 3`,
	`SELECT a.id FROM "p/t" a ASOF JOIN "p/u" b ON a.id >= b.id WHERE a.label = 3 AND b.label = 3`,
	`SELECT a.id FROM "p/t" a POSITIONAL JOIN "p/u" b WHERE a.label = 3 AND b.label = 3`,
	`SELECT a.id, m FROM "p/u" a, LATERAL (SELECT max(id) AS m FROM "p/t" b WHERE b.label = a.label AND b.x > 1) WHERE a.label = 3`,
	"-- groups",
	`SELECT label, count(*), sum(id), avg(x), max(name) FROM "p/t" WHERE x > 3 GROUP BY label`,
	`SELECT count(*), min(h) AS low FROM "p/t" t WHERE t.label = 3`,
	`SELECT max(t.x), t.label FROM "p/t" t GROUP BY name, 2 ORDER BY 1 DESC NULLS LAST, label LIMIT 5 OFFSET 1`,
	`SELECT label, count(id) AS n FROM "p/t" GROUP BY label ORDER BY n, max(id)`,
	`SELECT label, count(id) AS n, mean(id) FROM "p/t" GROUP BY label ORDER BY n, avg(id) LIMIT 3`,
	`SELECT label FROM "p/t" GROUP BY label`,
	`SELECT label + 1, count(*) FROM "p/t" GROUP BY label + 1`,
	`SELECT label, count(*) FROM "p/t" WHERE id % 2 = 0 GROUP BY label`,
	`SELECT x, count(*) FROM "p/t" GROUP BY x`,
	`SELECT label, count(*) + 1 FROM "p/t" GROUP BY label`,
	`SELECT label, sum(id + 1) FROM "p/t" GROUP BY label`,
	`SELECT label, count(DISTINCT id) FROM "p/t" GROUP BY label`,
	`SELECT label, sum(id) FILTER (WHERE id > 3) FROM "p/t" GROUP BY label`,
	`SELECT label, count(*) FROM "p/t" GROUP BY ROLLUP (label)`,
	`SELECT label, count(*) FROM "p/t" GROUP BY ALL`,
	`SELECT label, count(*) FROM "p/t" GROUP BY label QUALIFY row_number() OVER () < 3`,
	`SELECT DISTINCT label, count(*) FROM "p/t" GROUP BY label`,
	`SELECT a.label, count(*) FROM "p/t" a JOIN "p/u" b USING (id) GROUP BY a.label`,
	`SELECT label, count(*) FROM "p/t" TABLESAMPLE reservoir(5 ROWS) REPEATABLE (1) GROUP BY label`,
	`SELECT min(label, 2), count(*) OVER () FROM "p/t"`,
	`WITH q AS (SELECT 1) SELECT count(*) FROM "p/t"`,
	`SELECT count(*) FROM (SELECT label FROM "p/t" GROUP BY label)`,
	`SELECT count(*) FROM "p/t" UNION ALL SELECT count(*) FROM "p/u"`,
	"-- limits and what is read",
	`SELECT id FROM "p/t" LIMIT 3`,
	`SELECT id FROM "p"."p/t" WHERE label = 3`,
	`SELECT id FROM "p/t" WHERE label = 3 LIMIT 3 OFFSET 1`,
	`SELECT id FROM "p/t" WHERE lower(name) = 'x' LIMIT 3`,
	`SELECT id FROM "p/t" ORDER BY x LIMIT 3`,
	`SELECT DISTINCT label FROM "p/t" LIMIT 3`,
	`SELECT label, count(*) FROM "p/t" GROUP BY label HAVING count(*) > 1 LIMIT 3`,
	`SELECT count(*) FROM "p/t" WHERE id > 40`,
	`SELECT id + 1 FROM "p/t" LIMIT 3`,
	`SELECT * FROM "p/t" TABLESAMPLE reservoir(5 ROWS) REPEATABLE (1) WHERE label = 3`,
	`SELECT id, row_number() OVER () FROM "p/t" WHERE label = 3 QUALIFY id > 3`,
	`SELECT id FROM "p/t" WHERE label = 3 UNION ALL SELECT id FROM "p/u" WHERE label = 4`,
	`FROM "p/t" SELECT id WHERE label = 3`,
	`SELECT x.id FROM (VALUES (3)) x(id) WHERE x.id IN (SELECT id FROM "p/t" WHERE label = 3)`,
}

// TestPlans compares what is lifted out of statements, which columns are read
// and how many rows leave the tables with testdata/plans.txt.
func TestPlans(t *testing.T) {
	d := open(t)
	var b strings.Builder
	for _, text := range statements {
		if strings.HasPrefix(text, "--") {
			fmt.Fprintf(&b, "%s\n\n", text)
			continue
		}
		fmt.Fprintf(&b, "%s\n%s\n", text, planOf(t.Context(), d, text))
	}
	const file = "testdata/plans.txt"
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got, kept := strings.Split(b.String(), "\n\n"), strings.Split(string(want), "\n\n")
	for i := range max(len(got), len(kept)) {
		switch {
		case i >= len(got) || i >= len(kept):
			t.Fatalf("there are %d plans, not %d; -update writes %s anew: review the diff", len(got), len(kept), file)
		case got[i] != kept[i]:
			t.Errorf("the plan is\n%s\nnot\n%s\n-update writes %s anew: review the diff", got[i], kept[i], file)
		}
	}
}

func planOf(ctx context.Context, d *duck.DB, text string) string {
	plan, by, err := rewrite(d, text, map[string]*table{"p/t": numbers(60), "p/t@s": numbers(50), "p/u": numbers(20), "p/c": cases()})
	if err != nil {
		return "  " + err.Error() + "\n"
	}
	groups := ""
	err = d.Query(ctx, plan, by, given(text), func(s expr.Schema) error {
		if plan.Groups != nil {
			groups = plan.Groups.Text(s)
		}
		return nil
	}, func(*exec.Rows) error { return nil })
	var b strings.Builder
	for _, r := range plan.Refs {
		one := by[r.Handle].(*table)
		var columns []string
		for _, c := range one.opened {
			columns = append(columns, one.schema[c].Name)
		}
		fmt.Fprintf(&b, "  scan of %s", r.Address)
		if r.Where != nil {
			fmt.Fprintf(&b, " where %s", r.Where)
		}
		if r.Limit > 0 {
			fmt.Fprintf(&b, " limit %d", r.Limit)
		}
		if err == nil {
			fmt.Fprintf(&b, ": reads (%s), %d of %d rows leave it", strings.Join(columns, ", "), one.out, one.rows.N)
		}
		b.WriteByte('\n')
	}
	if plan.OneThread {
		b.WriteString("  in one thread\n")
	}
	if g := plan.Groups; g != nil {
		fmt.Fprintf(&b, "  groups by %v, %v: %s\n", g.By, g.Aggregates, groups)
	}
	for _, x := range plan.Conjuncts {
		what := "kept  "
		if x.Pushed {
			what = "pushed"
		}
		fmt.Fprintf(&b, "  %s %s [%s]: %s\n", what, x.Conjunct, x.Table, x.Why)
	}
	if err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		fmt.Fprintf(&b, "  error: %s\n", first)
	}
	return b.String()
}

// given are values for the parameters of a statement.
func given(text string) []duck.Param {
	if strings.Contains(text, "$n") {
		return []duck.Param{{Name: "n", Value: expr.IntValue(3)}}
	}
	return nil
}
