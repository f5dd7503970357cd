//go:build cgo

package duck_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"daos/internal/fault"
	"daos/query/exec"
	"daos/query/expr"
	"daos/query/sql"
	"daos/query/sql/duck"
)

// table is rows in memory that a scan hands out in batches of 1000, filtered as
// the targets would do it.
type table struct {
	schema expr.Schema
	rows   exec.Rows
	ref    *sql.Ref
	of     *table // whose mention it is; nil: it is the table itself
	out    int    // rows that left it
	opened []int  // columns that were asked for
	fail   bool
	slow   time.Duration
}

func (t *table) Schema() expr.Schema {
	if t.ref != nil {
		return t.ref.Columns()
	}
	return t.schema
}
func (t *table) Rows() (uint64, bool) { return uint64(t.rows.N), true }

func (t *table) Open(columns []int) (duck.Reader, error) {
	t.opened = columns
	if t.of != nil {
		t.of.opened = columns
	}
	keep := make([]uint32, 0, t.rows.N)
	if t.ref != nil && t.ref.Where != nil {
		p, err := expr.Bind(t.ref.Where, t.schema, "")
		if err != nil {
			return nil, err
		}
		if keep, err = p.Filter(&expr.Batch{N: t.rows.N, Columns: t.rows.Columns}, keep); err != nil {
			return nil, err
		}
	} else {
		for i := range t.rows.N {
			keep = append(keep, uint32(i))
		}
	}
	if t.ref != nil && t.ref.Limit > 0 {
		keep = keep[:min(len(keep), int(t.ref.Limit))]
	}
	return &reader{t: t, columns: columns, keep: keep}, nil
}

type reader struct {
	t       *table
	columns []int
	keep    []uint32
	at      int
}

func (r *reader) Close() {}

func (r *reader) Next() (*exec.Rows, error) {
	if r.t.fail && r.at > 0 {
		return nil, fault.New(fault.Corrupt, "test", "p/t", "a chunk does not match its checksum")
	}
	if r.at == len(r.keep) {
		return nil, io.EOF
	}
	time.Sleep(r.t.slow)
	rows := r.keep[r.at:min(len(r.keep), r.at+1000)]
	r.at += len(rows)
	r.t.out += len(rows)
	if r.t.of != nil {
		r.t.of.out += len(rows)
	}
	out := &exec.Rows{N: len(rows)}
	for _, c := range r.columns {
		out.Columns = append(out.Columns, exec.Pick(&r.t.schema[c], &r.t.rows.Columns[c], rows))
	}
	return out, nil
}

// numbers is a table of n rows: id, label (0 to 9, null at each 13th), x (NaN at
// each 7th), name, v (float32[3]), tokens (int16[] of 0 to 3).
func numbers(n int) *table {
	t := &table{schema: expr.Schema{{Name: "id", Type: expr.Int64}, {Name: "label", Type: expr.Int32}, {Name: "x", Type: expr.Float64}, {Name: "name", Type: expr.Text},
		{Name: "v", Type: expr.List, Elem: expr.Float32, Shape: []uint64{3}}, {Name: "tokens", Type: expr.List, Elem: expr.Int16}, {Name: "when", Type: expr.Time}, {Name: "h", Type: expr.Float16}},
		rows: exec.Rows{N: n, Columns: make([]expr.Vector, 8)}}
	c := t.rows.Columns
	c[3].Offsets, c[5].Offsets = []uint64{0}, []uint64{0}
	for i := range n {
		c[0].Values = binary.LittleEndian.AppendUint64(c[0].Values, uint64(i))
		c[1].Values = binary.LittleEndian.AppendUint32(c[1].Values, uint32(i%10))
		c[1].Valid = append(c[1].Valid, byte(min(i%13, 1)))
		x := float64(i) / 3
		if i%7 == 0 {
			x = math.NaN()
		}
		c[2].Values = binary.LittleEndian.AppendUint64(c[2].Values, math.Float64bits(x))
		c[3].Values = fmt.Appendf(c[3].Values, "name %d%s", i, strings.Repeat("x", i%20))
		c[3].Offsets = append(c[3].Offsets, uint64(len(c[3].Values)))
		for k := range 3 {
			c[4].Values = binary.LittleEndian.AppendUint32(c[4].Values, math.Float32bits(float32(i*3+k)))
		}
		for range i % 4 {
			c[5].Values = binary.LittleEndian.AppendUint16(c[5].Values, uint16(i))
		}
		c[5].Offsets = append(c[5].Offsets, uint64(len(c[5].Values)))
		c[6].Values = binary.LittleEndian.AppendUint64(c[6].Values, uint64(i)*1e9)
		c[7].Values = binary.LittleEndian.AppendUint16(c[7].Values, 0x3c00) // 1
	}
	return t
}

func open(t *testing.T) *duck.DB {
	t.Helper()
	d, err := duck.Open(duck.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func ints(v []int32) (out expr.Vector) {
	for _, x := range v {
		out.Values = binary.LittleEndian.AppendUint32(out.Values, uint32(x))
	}
	return out
}

// rewrite takes a statement over tables by address apart.
func rewrite(d *duck.DB, text string, tables map[string]*table) (*sql.Plan, map[string]duck.Table, error) {
	tree, err := d.Tree(text)
	if err != nil {
		return nil, nil, err
	}
	plan, err := sql.Rewrite(tree, text, func(a string) (expr.Schema, error) {
		if t := tables[a]; t != nil {
			return t.schema, nil
		}
		return nil, fault.New(fault.NotFound, "test", a, "there is no such dataset")
	})
	if err != nil {
		return nil, nil, err
	}
	by := map[string]duck.Table{}
	for _, r := range plan.Refs {
		one := *tables[r.Address] // a table for each mention
		one.of, one.ref = tables[r.Address], r
		by[r.Handle] = &one
	}
	return plan, by, nil
}

// query runs a statement over tables by address and returns its rows as text.
func query(ctx context.Context, d *duck.DB, text string, tables map[string]*table, params ...duck.Param) ([]string, *sql.Plan, error) {
	plan, by, err := rewrite(d, text, tables)
	if err != nil {
		return nil, nil, err
	}
	var out []string
	var fields expr.Schema
	err = d.Query(ctx, plan, by, params, func(s expr.Schema) error { fields = s; return nil }, func(r *exec.Rows) error {
		for i := range r.N {
			var cells []string
			for c := range fields {
				cells = append(cells, show(&fields[c], &r.Columns[c], i))
			}
			out = append(out, strings.Join(cells, "|"))
		}
		return nil
	})
	return out, plan, err
}

func show(f *expr.Field, v *expr.Vector, i int) string {
	if v.Valid != nil && v.Valid[i] == 0 {
		return "NULL"
	}
	switch f.Type {
	case expr.Text:
		return string(v.Values[v.Offsets[i]:v.Offsets[i+1]])
	case expr.Bool:
		return fmt.Sprint(v.Values[i] != 0)
	case expr.Int32:
		return fmt.Sprint(int32(binary.LittleEndian.Uint32(v.Values[4*i:])))
	case expr.Float32:
		return fmt.Sprint(math.Float32frombits(binary.LittleEndian.Uint32(v.Values[4*i:])))
	case expr.Float64:
		return fmt.Sprint(math.Float64frombits(binary.LittleEndian.Uint64(v.Values[8*i:])))
	case expr.List:
		return "list"
	}
	return fmt.Sprint(int64(binary.LittleEndian.Uint64(v.Values[8*i:])))
}

func TestStatements(t *testing.T) {
	d := open(t)
	for _, c := range []struct {
		text, want string
		left       int // rows that left the table; -1: whatever
	}{
		{`SELECT count(*) FROM "p/t"`, "5000", 5000},
		{`SELECT id, name FROM "p/t@s" WHERE id = 7`, "7|name 7xxxxxxx", 1},
		{`SELECT count(*), sum(id), avg(x) FROM "p/t" WHERE label = 3 AND x < 100`, "", -1},
		{`SELECT label, count(*) FROM "p/t" WHERE id BETWEEN 10 AND 19 GROUP BY label ORDER BY label`, "0|1 1|1 2|1 4|1 5|1 6|1 7|1 8|1 9|1 NULL|1", 10},
		{`SELECT count(*) FROM "p/t" WHERE isnan(x)`, "715", 715},
		{`SELECT count(*) FROM "p/t" WHERE x > 1e300`, "715", 715}, // NaN is the greatest
		{`SELECT count(*) FROM "p/t" WHERE label IS NULL`, "385", 385},
		{`SELECT id FROM "p/t" WHERE v[2] = 31`, "10", 1},
		{`SELECT sum(len(tokens)) FROM "p/t" WHERE len(tokens) = 3`, "3750", 1250},
		{`SELECT a.id FROM "p/t" a JOIN "p/u" b ON a.id = b.id WHERE b.label = 3 AND a.id < 20 ORDER BY 1`, "3", -1},
		{`WITH c AS (SELECT * FROM "p/t" WHERE id < 3) SELECT count(*) FROM c`, "3", 3},
		{`SELECT id FROM "p/t" LIMIT 2 OFFSET 3`, "3 4", 5},
		{`SELECT id FROM "p/t" AT (VERSION => 's') WHERE id = 4`, "4", 1},
		{`SELECT epoch("when") FROM "p/t" WHERE "when" < TIMESTAMP '1970-01-01 00:00:02' ORDER BY 1`, "0 1", 2},
		{`SELECT h FROM "p/t" WHERE id = 1`, "1", 1},
		{`SELECT 1.5::decimal(4,1), 12::hugeint, DATE '2026-01-02', [1, 2]`, "1.5|12|2026-01-02|list", -1},
		{`SELECT (SELECT max(id) FROM "p/u" WHERE id < 9)`, "8", 9},
		{`SELECT id, id FROM "p/t" WHERE id = 1`, "1|1", 1},
	} {
		tables := map[string]*table{"p/t": numbers(5000), "p/t@s": numbers(5000), "p/u": numbers(50)}
		got, _, err := query(t.Context(), d, c.text, tables)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if s := strings.Join(got, " "); c.want != "" && s != c.want {
			t.Errorf("%s\n gives %s\n not   %s", c.text, s, c.want)
		}
		left := tables["p/t"].out + tables["p/t@s"].out + tables["p/u"].out
		if c.left >= 0 && left != c.left {
			t.Errorf("%s: %d rows left the tables, not %d", c.text, left, c.left)
		}
	}
}

// TestFilterAndProjection is the case that a ready-made bridge gets wrong: a
// filter over a subset of the columns.
func TestFilterAndProjection(t *testing.T) {
	d := open(t)
	tables := map[string]*table{"p/t": numbers(5000)}
	got, _, err := query(t.Context(), d, `SELECT label, count(*) FROM "p/t" WHERE id > 2500 AND label = 3 GROUP BY label`, tables)
	if err != nil || len(got) != 1 || got[0] != "3|231" {
		t.Fatalf("%v, %v", got, err)
	}
	if cols := tables["p/t"].opened; len(cols) != 2 {
		t.Errorf("the columns %v were read", cols)
	}
}

func TestWhatIsPushed(t *testing.T) {
	d := open(t)
	for _, c := range []struct{ text, want string }{
		{`SELECT * FROM "p/t" WHERE label = 3 AND lower(name) = 'x' AND id + 1 > 3`, `label = 3:true; lower(name) = 'x':false; id + 1 > 3:false`},
		{`SELECT * FROM "p/t" a LEFT JOIN "p/u" b USING (id) WHERE a.x > 1 AND b.x > 1`, "x > 1:true; x > 1:false"},
		{`SELECT * FROM "p/t" a RIGHT JOIN "p/u" b ON a.id = b.id WHERE a.x > 1 AND b.x > 1`, "x > 1:false; x > 1:true"},
		{`SELECT * FROM "p/t" a FULL JOIN "p/u" b ON a.id = b.id WHERE a.x > 1`, "x > 1:false"},
		{`SELECT * FROM "p/t" TABLESAMPLE 10% WHERE x > 1`, "x > 1:false"},
		{`SELECT label AS x FROM "p/t" WHERE x > 1`, "x > 1:false"},
		{`SELECT * FROM "p/t", "p/u" WHERE x > 1`, "x > 1:false"},
		{`SELECT * FROM "p/t", (SELECT 1 AS y) q WHERE label > 1`, "label > 1:false"},
		{`SELECT * FROM "p/t" t WHERE t.label IN (1, 2) AND t.name LIKE 'name 1%' AND t.x IS NOT NULL`, "label in (1, 2):true; name like 'name 1%':true; x is not null:true"},
		{`SELECT * FROM "p/t" WHERE label = 1 OR id = 2`, "(label = 1) or (id = 2):true"},
		{`SELECT * FROM "p/t" t WHERE EXISTS (SELECT 1 FROM "p/u" u WHERE u.id = t.id AND u.label = 2)`, "u.id = t.id:false; label = 2:true"},
		{`SELECT * FROM "p/t" q(a, b) WHERE a = 1`, "a = 1:false"},
	} {
		tables := map[string]*table{"p/t": numbers(100), "p/u": numbers(100)}
		_, plan, err := query(t.Context(), d, c.text, tables)
		if err != nil && !strings.Contains(err.Error(), "Ambiguous") {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if plan == nil {
			t.Errorf("%s: no plan: %v", c.text, err)
			continue
		}
		for _, part := range strings.Split(c.want, "; ") {
			text, pushed, _ := strings.Cut(part, ":")
			found := false
			for _, x := range plan.Conjuncts {
				found = found || x.Conjunct == text && fmt.Sprint(x.Pushed) == pushed && x.Why != ""
			}
			if !found {
				t.Errorf("%s: %s is not in %+v", c.text, part, plan.Conjuncts)
			}
		}
	}
}

func TestErrors(t *testing.T) {
	d := open(t)
	for _, c := range []struct{ text, want string }{
		{"SELEC 1", `near "SELEC"`},
		{"SELECT 1; SELECT 2", "2 statements"},
		{"CREATE TABLE x (i int)", "only SELECT"},
		{"EXPLAIN SELECT 1", "--explain"},
		{"COPY (SELECT 1) TO '/tmp/x'", "only SELECT"},
		{"SELECT * FROM t", `no table "t"`},
		{"SELECT * FROM p.t", `in double quotes: FROM "p/t"`},
		{`SELECT * FROM "p/x"`, "no such dataset"},
		{`SELECT nme FROM "p/t"`, "name"},
		{"SELECT * FROM read_csv('/etc/passwd')", "is a file"},
		{"SELECT * FROM '/etc/passwd'", "no such dataset"},
		{`SELECT $a FROM "p/t"`, "parameter a"},
		{`SELECT * FROM "p/t@s" AT (VERSION => 'v')`, "both name a snapshot"},
		{"SELECT getenv('HOME')", "getenv"},
		{"SELECT id FROM \"p/t\" WHERE id < 5\x00 AND id = 3", "no NUL characters"},
	} {
		_, _, err := query(t.Context(), d, c.text, map[string]*table{"p/t": numbers(10), "p/t@s": numbers(10)})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, not %s", c.text, err, c.want)
		}
	}
	tables := map[string]*table{"p/t": numbers(3000)}
	tables["p/t"].fail = true
	if _, _, err := query(t.Context(), d, `SELECT sum(id) FROM "p/t"`, tables); !fault.Is(err, fault.Corrupt) {
		t.Errorf("a scan that fails: %v", err)
	}
	got, _, err := query(t.Context(), d, `SELECT id FROM "p/t" WHERE id = $n`, map[string]*table{"p/t": numbers(10)}, duck.Param{Name: "n", Value: expr.IntValue(3)})
	if err != nil || len(got) != 1 || got[0] != "3" {
		t.Errorf("a parameter: %v, %v", got, err)
	}
}

func TestInterrupt(t *testing.T) {
	d := open(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, _, err := query(ctx, d, `SELECT count(*) FROM range(100000000000) a, range(1000) b WHERE a.range + b.range < 0`, nil)
	if !fault.Is(err, fault.Timeout, fault.Canceled) || time.Since(began) > 10*time.Second {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	d, err := duck.Open(duck.Options{Memory: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	_, _, err = query(t.Context(), d, `SELECT len(list(range)) FROM range(30000000)`, nil)
	if !fault.Is(err, fault.TooBig) {
		t.Errorf("a statement that needs more memory than there is: %v", err)
	}
	if got, _, err := query(t.Context(), d, "SELECT 1", nil); err != nil || len(got) != 1 {
		t.Errorf("after it: %v %v", got, err)
	}
}

func TestWhatIsSpilledIsBounded(t *testing.T) {
	dir := t.TempDir()
	d, err := duck.Open(duck.Options{Memory: 64 << 20, TempDir: dir, TempBytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	const text = `SELECT max(i), max(r) FROM (SELECT range AS i, row_number() OVER (ORDER BY hash(range)) AS r FROM range(4000000))`
	if _, _, err = query(t.Context(), d, text, nil); !fault.Is(err, fault.TooBig) || !strings.Contains(err.Error(), "query.temp") {
		t.Errorf("a sort that spills more than it may: %v", err)
	}
	more, err := duck.Open(duck.Options{Memory: 64 << 20, TempDir: t.TempDir(), TempBytes: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	defer more.Close()
	if got, _, err := query(t.Context(), more, text, nil); err != nil || got[0] != "3999999|4000000" {
		t.Errorf("one that spills what it may: %v, %v", got, err)
	}
}

// TestManyAndDeepConditions is more of them than one scan takes: the rest is
// DuckDB's, and no row is lost.
func TestManyAndDeepConditions(t *testing.T) {
	d := open(t)
	var many []string
	for i := range 1500 {
		many = append(many, fmt.Sprintf("id <> %d", i))
	}
	deep := "id = 4"
	for i := range 80 {
		deep = fmt.Sprintf("(label = %d AND (id = %d OR %s))", i%10, i, deep)
	}
	for _, c := range []struct{ where, want string }{
		{strings.Join(many, " AND "), "500"},
		{"id < 3 AND id NOT IN (" + strings.Trim(strings.Join(strings.Fields(fmt.Sprint(make([]int, 5000))), ","), "[]") + ")", "2"},
		{deep, "1"},
		{"id < 9 AND " + strings.Repeat("NOT NOT ", 31) + "id > 2", "6"},
		{"id < 9 AND " + strings.Repeat("NOT NOT ", 40) + "id > 2", "6"},
		{"id < 9 AND name <> '" + strings.Repeat("x", 1<<17) + "'", "9"},
	} {
		got, plan, err := query(t.Context(), d, `SELECT count(*) FROM "p/t" WHERE `+c.where, map[string]*table{"p/t": numbers(2000)})
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%.60s: %v, %v, not %s", c.where, got, err, c.want)
			continue
		}
		if err := expr.Check(plan.Refs[0].Where); plan.Refs[0].Where != nil && err != nil {
			t.Errorf("%.60s: %v", c.where, err)
		}
	}
}
