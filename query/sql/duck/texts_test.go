//go:build cgo

package duck_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"daos/query/expr"
)

// TestTextsOfAllLengths takes texts and bytes through DuckDB: those that lie within
// a vector, those that don't, nulls between them, and whole chunks of each.
func TestTextsOfAllLengths(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	d := open(t)
	letters := []rune("abcé日😀\x00")
	for _, most := range []int{12, 13, 40, 3} {
		one := &table{schema: expr.Schema{{Name: "s", Type: expr.Text}, {Name: "b", Type: expr.Bytes}}}
		c := []expr.Vector{{Offsets: []uint64{0}}, {Offsets: []uint64{0}}}
		var want []string
		for range 5000 {
			var row []string
			for k := range c {
				v := &c[k]
				null := rng.IntN(6) == 0
				var b []byte
				for n := rng.IntN(most + 1); !null && len(b) < n; {
					if k == 0 {
						b = append(b, string(letters[rng.IntN(len(letters))])...)
					} else {
						b = append(b, byte(rng.IntN(256)))
					}
				}
				v.Values = append(v.Values, b...)
				v.Offsets = append(v.Offsets, uint64(len(v.Values)))
				if null {
					v.Valid, row = append(v.Valid, 0), append(row, "NULL")
				} else {
					v.Valid, row = append(v.Valid, 1), append(row, fmt.Sprintf("%d %X", len(b), b))
				}
			}
			want = append(want, strings.Join(row, "|"))
		}
		one.rows.N, one.rows.Columns = len(want), c
		const text = `SELECT strlen(s) || ' ' || hex(s), octet_length(b) || ' ' || hex(b) FROM "p/x"`
		got, _, err := query(t.Context(), d, text, map[string]*table{"p/x": one})
		if err != nil {
			t.Fatal(err)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("row %d of texts up to %d: %s, not %s", i, most, got[i], want[i])
			}
		}
		// The same ones as they are, also sorted: they outlive their chunk.
		for _, text := range []string{`SELECT s FROM "p/x" WHERE s IS NOT NULL ORDER BY s`, `SELECT max(s) FROM "p/x"`, `SELECT DISTINCT s FROM "p/x" WHERE s IS NOT NULL ORDER BY 1 DESC LIMIT 50`} {
			got, _, err := query(t.Context(), d, text, map[string]*table{"p/x": one})
			if err != nil || len(got) == 0 {
				t.Fatal(err, len(got))
			}
			for i := 1; i < len(got); i++ {
				if strings.Contains(text, "DESC") == (got[i-1] < got[i]) && got[i-1] != got[i] {
					t.Fatalf("%s: %q before %q", text, got[i-1], got[i])
				}
			}
		}
	}
}

// TestTextsThatAreNone are bytes that no text has, also where a letter is cut in two.
func TestTextsThatAreNone(t *testing.T) {
	d := open(t)
	for _, parts := range [][]string{{"a text of some length \xff that goes on"}, {"a longer text with half of \xc3", "\xa9 in another one, that is as long"}, {"\xff"}} {
		v := expr.Vector{Offsets: []uint64{0}}
		for _, p := range parts {
			v.Values = append(v.Values, p...)
			v.Offsets = append(v.Offsets, uint64(len(v.Values)))
		}
		one := &table{schema: expr.Schema{{Name: "s", Type: expr.Text}}}
		one.rows.N, one.rows.Columns = len(parts), []expr.Vector{v}
		got, _, err := query(t.Context(), d, `SELECT s FROM "p/x"`, map[string]*table{"p/x": one})
		for i := range got {
			if got[i] == parts[i] {
				t.Errorf("%q came through, %v", got[i], err)
			}
		}
	}
}
