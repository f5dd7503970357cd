package cli

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"daos/dataset/array"
	"daos/internal/fault"
	arrayv1 "daos/proto/gen/daos/array/v1"
)

// parseSlice reads "0:24,::2,5" for an array of a shape: an axis of a single
// position falls away in the answer, as in numpy, and has no step. kept is the
// shape of the answer. The place in the text is marked in errors.
func parseSlice(s string, shape []uint64) (axes []*arrayv1.Axis, kept []uint64, err error) {
	parsed, alone, wrong := array.ParseSlice(s, shape, nil)
	if wrong != nil {
		return nil, nil, markedSlice(s, shape, wrong)
	}
	for d := range parsed {
		a := &arrayv1.Axis{Start: parsed[d].Start, Count: parsed[d].Count}
		if !alone[d] {
			a.Step = parsed[d].Step
			kept = append(kept, a.GetCount())
		}
		axes = append(axes, a)
	}
	return axes, kept, nil
}

// markedSlice is the error of a slice, with a mark below the place in the text.
func markedSlice(s string, shape []uint64, wrong *array.SliceError) error {
	var what string
	switch wrong.Fault {
	case array.TooManyIndices:
		what = fmt.Sprintf("%d indices for %d axes (the shape is %s)", wrong.Count, len(shape), numbersText(shape))
	case array.TwoEllipses:
		what = "a second ellipsis"
	case array.AxisTooLong:
		what = fmt.Sprintf("axis %d is too long for a slice", wrong.Axis)
	case array.NotIndex, array.OutOfRange:
		what = fmt.Sprintf("%q is not a position along axis %d of length %d", wrong.Part, wrong.Axis, shape[wrong.Axis])
	default:
		what = fmt.Sprintf("%q is not a slice", wrong.Part)
	}
	mark := strings.Repeat(" ", utf8.RuneCountInString(s[:wrong.At])) + "^"
	return fault.New(fault.Invalid, "array.slice", "slice", "%s\n  %s\n  %s", what, s, mark).
		Do("write it as in numpy, without negative steps: 0:24,::2,5")
}
