package array

import (
	"math"
	"testing"
)

// TestASelectionDoesNotWrapAround is strides whose last position, taken modulo
// 2^64, lies inside the array.
func TestASelectionDoesNotWrapAround(t *testing.T) {
	shape := []uint64{1 << 34}
	for _, c := range []struct {
		a  Axis
		ok bool
	}{
		{Axis{Start: 0, Count: 1<<20 + 1, Step: 1 << 44}, false},
		{Axis{Start: 1 << 31, Count: 1 << 33, Step: 1 << 31}, false},
		{Axis{Start: 1, Count: 2, Step: math.MaxUint64}, false},
		{Axis{Start: 1 << 34, Count: 1, Step: 1}, false},
		{Axis{Start: math.MaxUint64, Count: 2, Step: 2}, false},
		{Axis{Start: 1 << 34, Count: 0, Step: 1}, true},
		{Axis{Start: 1<<34 - 1, Count: 1, Step: math.MaxUint64}, true},
		{Axis{Start: 3, Count: 2, Step: 1<<34 - 4}, true},
		{Axis{Start: 3, Count: 2, Step: 1<<34 - 3}, false},
	} {
		if _, err := checkAxes("p/a", []Axis{c.a}, shape); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c.a, err)
		}
	}
}
