package array_test

import (
	"fmt"
	"testing"

	"daos/dataset/array"
)

// What numpy gives for the same text, by hand; a position that falls away is "i".
func TestParseSlice(t *testing.T) {
	shape, names := []uint64{10, 7, 3}, []string{"time", "y", "x"}
	for in, want := range map[string]string{
		"": "0:10:1 0:7:1 0:3:1", " ": "0:10:1 0:7:1 0:3:1", "...": "0:10:1 0:7:1 0:3:1", "-1,": "i9 0:7:1 0:3:1",
		"2:9:3, ::5": "2:3:3 0:2:5 0:3:1", "..., -3": "0:10:1 0:7:1 i0", "1,...,2": "i1 0:7:1 i2", "-4:-1, 8:100": "6:3:1 7:0:1 0:3:1",
		"x=1": "0:10:1 0:7:1 i1", "X = :2, 5": "i5 0:7:1 0:2:1", "..., 1, time=0": "i0 0:7:1 i1", "y=...": "not index of 1 at 0",
		"0:3, nine:, 1": "not slice of 1 at 5", "1,2,0,5": "too many of -1 at 6", "time=1, 2": "twice of 0 at 8", "...,...": "ellipses of -1 at 4",
		"z=1": "no axis of -1 at 0", "10": "out of range of 0 at 0", "::0": "step of 0 at 0", "1:2:3:4": "not slice of 0 at 0", ",": "not index of 0 at 0",
		"9223372036854775807:, 0:18446744073709551616, ::99999999999999999999": "10:0:1 0:7:1 0:1:9223372036854775807",
		"-9223372036854775809:, :-9223372036854775808, 2::4611686018427387904": "0:10:1 0:0:1 2:1:4611686018427387904",
		"9223372036854775808": "out of range of 0 at 0", "-9223372036854775809": "out of range of 0 at 0", "0:1e3": "not slice of 0 at 0",
	} {
		axes, alone, wrong := array.ParseSlice(in, shape, names)
		got := ""
		if wrong != nil {
			fault := map[array.SliceFault]string{array.TooManyIndices: "too many", array.TwoEllipses: "ellipses", array.NoSuchAxis: "no axis", array.AxisTwice: "twice",
				array.NotIndex: "not index", array.OutOfRange: "out of range", array.NotSlice: "not slice", array.BadStep: "step"}[wrong.Fault]
			got = fmt.Sprintf("%s of %d at %d", fault, wrong.Axis, wrong.At)
		}
		for d, a := range axes {
			if d > 0 {
				got += " "
			}
			if alone[d] {
				got += fmt.Sprintf("i%d", a.Start)
			} else {
				got += fmt.Sprintf("%d:%d:%d", a.Start, a.Count, a.Step)
			}
		}
		if got != want {
			t.Errorf("%q: %s; want %s", in, got, want)
		}
	}
	if _, _, wrong := array.ParseSlice("x=1", shape, nil); wrong == nil || wrong.Fault != array.NotIndex {
		t.Errorf("axes without names: %v", wrong)
	}
	if _, _, wrong := array.ParseSlice("0:1", []uint64{1 << 63}, nil); wrong == nil || wrong.Fault != array.AxisTooLong {
		t.Errorf("an axis longer than an int64: %v", wrong)
	}
	if _, _, wrong := array.ParseSlice("X=1", []uint64{5, 5}, []string{"x", "X "}); wrong != nil {
		t.Errorf("a name in another case: %v", wrong)
	}
	if _, _, wrong := array.ParseSlice("aB=1", []uint64{5, 5}, []string{"ab", "AB"}); wrong == nil || wrong.Fault != array.NoSuchAxis {
		t.Errorf("a name that two axes have in another case: %v", wrong)
	}
}
