package near_test

import (
	"strings"
	"testing"

	"daos/internal/near"
)

func TestName(t *testing.T) {
	names := []string{"label", "quality", "name", "_id", "size", "mtime", "ctime"}
	for s, want := range map[string]string{
		"lable": "label", "Label": "label", "lab": "label", "qualty": "quality", "nme": "name", "atime": "mtime", "ctme": "ctime",
		"id": "_id", "x": "", "": "", "completely": "", strings.Repeat("l", 300): "",
	} {
		if got := near.Name(s, names); got != want {
			t.Errorf("%q is near %q, not %q", s, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"lable", "label", 1}, {"kitten", "sitting", 3}, {"ab", "ba", 1}, {"abc", "abc", 0}, {"ca", "abc", 3}} {
		if got := near.Distance(c.a, c.b); got != c.want || near.Distance(c.b, c.a) != c.want {
			t.Errorf("from %q to %q it is %d, not %d", c.a, c.b, got, c.want)
		}
	}
}
