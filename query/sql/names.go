package sql

import (
	"slices"
	"strconv"
	"strings"

	"daos/query/expr"
)

// fold is a name as DuckDB compares it: the letters A to Z are those in lower
// case, all others differ from each other.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// Columns are the columns of the dataset with the names that a statement has for
// them: SQL knows no case, so of names that differ in nothing else the first is
// itself and the others get a number, "Label_1".
func (r *Ref) Columns() expr.Schema {
	out := slices.Clone(r.Schema)
	taken := map[string]bool{}
	for i := range out {
		taken[fold(out[i].Name)] = false // a name that a number must not give
	}
	for i := range out {
		name := fold(out[i].Name)
		if !taken[name] {
			taken[name] = true
			continue
		}
		for n := 1; ; n++ {
			next := out[i].Name + "_" + strconv.Itoa(n)
			if _, ok := taken[fold(next)]; !ok {
				out[i].Name = next
				taken[fold(next)] = true
				break
			}
		}
	}
	return out
}

// column is the place of the column that a statement calls so, -1 if there is
// none.
func (r *Ref) column(name string) int {
	name = fold(name)
	for i, f := range r.Columns() {
		if fold(f.Name) == name {
			return i
		}
	}
	return -1
}
