//go:build cgo

package duck

import (
	"slices"
	"strconv"
	"testing"
)

// TestDistinct numbers very many columns too: a statement may have as many as
// its text has room for, and each look over all before it would never end.
func TestDistinct(t *testing.T) {
	got := distinct([]string{"a", "b", "a", "a_1", "a", "a_1", ""})
	if want := []string{"a", "b", "a_2", "a_1", "a_3", "a_1_1", ""}; !slices.Equal(got, want) {
		t.Errorf("%q, not %q", got, want)
	}
	many := slices.Repeat([]string{"1"}, 300_000)
	if got = distinct(many); got[0] != "1" || got[len(many)-1] != "1_"+strconv.Itoa(len(many)-1) {
		t.Errorf("%q ... %q", got[0], got[len(many)-1])
	}
}
