//go:build cgo

package duck_test

import (
	"fmt"
	"strings"
	"testing"

	"daos/query/exec"
	"daos/query/expr"
	"daos/query/sql/duck"
)

// elements shows a list with its nulls.
func elements(f *expr.Field, v *expr.Vector, i int) string {
	if v.Valid != nil && v.Valid[i] == 0 {
		return "NULL"
	}
	w := f.Elem.Size()
	from, to := 0, 0
	if f.Shape != nil {
		from, to = i*int(f.Shape[0]), (i+1)*int(f.Shape[0])
	} else {
		from, to = int(v.Offsets[i])/w, int(v.Offsets[i+1])/w
	}
	var out []string
	for k := from; k < to; k++ {
		if v.Elements != nil && v.Elements[k] == 0 {
			for _, b := range v.Values[k*w : (k+1)*w] {
				if b != 0 {
					return "a null that is not zero"
				}
			}
			out = append(out, "NULL")
			continue
		}
		one := expr.Field{Type: f.Elem}
		out = append(out, show(&one, &expr.Vector{Values: v.Values[k*w:]}, 0))
	}
	return "[" + strings.Join(out, " ") + "]"
}

// TestNullsInLists is elements that are null, in lists and arrays, in several
// chunks and rows, beside rows that are null themselves.
func TestNullsInLists(t *testing.T) {
	d := open(t)
	for _, c := range []struct{ text, want string }{
		{`SELECT [1, NULL, 3]::int[]`, "[1 NULL 3]"},
		{`SELECT [NULL, NULL]::int[2]`, "[NULL NULL]"},
		{`SELECT x FROM (VALUES ([1.5, NULL]::double[2]), (NULL), ([NULL, 2.5]::double[2])) t(x)`, "[1.5 NULL] NULL [NULL 2.5]"},
		{`SELECT x FROM (VALUES ([]::int[]), ([NULL]), (NULL), ([7]), ([8, NULL, 9])) t(x)`, "[] [NULL] NULL [7] [8 NULL 9]"},
		{`SELECT list(label ORDER BY id) FROM "p/t" WHERE id IN (12, 13, 14)`, "[2 NULL 4]"},
		{`SELECT [true, NULL, false]`, "[true NULL false]"},
		{`SELECT list_transform([1, 2, 3], lambda x: CASE WHEN x = 2 THEN NULL ELSE x END)`, "[1 NULL 3]"},
		{`SELECT [id, NULL, id + 1][2:] FROM "p/t" WHERE id BETWEEN 3 AND 4 ORDER BY id`, "[NULL 4] [NULL 5]"},
		{`SELECT {'a': [1, NULL], 'b': NULL}`, "{'a': [1, NULL], 'b': NULL}"}, // as text
		{`SELECT MAP {'k': NULL}`, "{k=NULL}"},
		{`SELECT [[1, NULL], NULL]`, "[[1, NULL], NULL]"},
		{`SELECT ['a', NULL]`, "[a, NULL]"},
	} {
		got, err := lists(t, d, c.text)
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%s\n gives %s, %v\n not   %s", c.text, strings.Join(got, " "), err, c.want)
		}
	}
	got, err := lists(t, d, `SELECT CASE WHEN id % 3 = 0 THEN NULL ELSE [id, CASE WHEN id % 5 = 0 THEN NULL ELSE 1 END] END FROM "p/t" ORDER BY id`)
	if err != nil || len(got) != 5000 {
		t.Fatalf("%d rows, %v", len(got), err)
	}
	for i, s := range got {
		want := "NULL"
		switch {
		case i%3 == 0:
		case i%5 == 0:
			want = fmt.Sprintf("[%d NULL]", i)
		default:
			want = fmt.Sprintf("[%d 1]", i)
		}
		if s != want {
			t.Fatalf("row %d is %s, not %s", i, s, want)
		}
	}
}

// lists runs a statement of one column; its rows are joined as a sink joins them.
func lists(t *testing.T, d *duck.DB, text string) ([]string, error) {
	tables := map[string]*table{"p/t": numbers(5000)}
	plan, by, err := rewrite(d, text, tables)
	if err != nil {
		return nil, err
	}
	var fields expr.Schema
	var all exec.Rows
	err = d.Query(t.Context(), plan, by, nil, func(s expr.Schema) error {
		fields, all.Columns = s, make([]expr.Vector, len(s))
		return nil
	}, func(r *exec.Rows) error {
		exec.Append(&fields[0], &all.Columns[0], all.N, &r.Columns[0], r.N)
		all.N += r.N
		return nil
	})
	var out []string
	for i := range all.N {
		if fields[0].Type == expr.List {
			out = append(out, elements(&fields[0], &all.Columns[0], i))
		} else {
			out = append(out, show(&fields[0], &all.Columns[0], i))
		}
	}
	return out, err
}
