package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"daos/internal/fault"
	arrayv1 "daos/proto/gen/daos/array/v1"
)

// index is one part of the text of a slice.
type index struct {
	text string
	at   int // where it begins, in bytes
}

// parseSlice reads "0:24,::2,5" for an array of a shape: an axis of a single
// position falls away in the answer, as in numpy. kept is the shape of the
// answer. The place in the text is marked in errors.
func parseSlice(s string, shape []uint64) (axes []*arrayv1.Axis, kept []uint64, err error) {
	wrong := func(at int, format string, args ...any) error {
		mark := strings.Repeat(" ", utf8.RuneCountInString(s[:at])) + "^"
		return fault.New(fault.Invalid, "array.slice", "slice", "%s\n  %s\n  %s", fmt.Sprintf(format, args...), s, mark).
			Do("write it as in numpy, without negative steps: 0:24,::2,5")
	}
	parts := indicesOf(s)
	for i, p := range parts {
		if p.text == "..." {
			rest := slices.Repeat([]index{{":", p.at}}, max(len(shape)-len(parts)+1, 0))
			parts = slices.Concat(parts[:i], rest, parts[i+1:])
			break
		}
	}
	if len(parts) > len(shape) {
		return nil, nil, wrong(parts[len(shape)].at, "%d indices for %d axes (the shape is %s)", len(parts), len(shape), numbersText(shape))
	}
	for len(parts) < len(shape) {
		parts = append(parts, index{":", len(s)})
	}
	for d, n := range shape {
		p := parts[d]
		bounds := strings.Split(p.text, ":")
		num := func(i int, missing int64) (int64, bool) {
			if i >= len(bounds) || strings.TrimSpace(bounds[i]) == "" {
				return missing, true
			}
			v, err := strconv.ParseInt(strings.TrimSpace(bounds[i]), 10, 63)
			if err == nil && v < 0 && i < 2 {
				v += int64(n)
			}
			return v, err == nil
		}
		if len(bounds) == 1 {
			i, ok := num(0, -1)
			if !ok || i < 0 || i >= int64(n) {
				return nil, nil, wrong(p.at, "%q is not a position along axis %d of length %d", p.text, d, n)
			}
			axes = append(axes, &arrayv1.Axis{Start: uint64(i), Count: 1})
			continue
		}
		from, ok1 := num(0, 0)
		to, ok2 := num(1, int64(n))
		step, ok3 := num(2, 1)
		if len(bounds) > 3 || !ok1 || !ok2 || !ok3 || step < 1 {
			return nil, nil, wrong(p.at, "%q is not a slice", p.text)
		}
		from, to = min(max(from, 0), int64(n)), min(max(to, 0), int64(n))
		count := int64(0)
		if to > from {
			count = (to-from-1)/step + 1
		}
		axes = append(axes, &arrayv1.Axis{Start: uint64(from), Count: uint64(count), Step: uint64(step)})
		kept = append(kept, uint64(count))
	}
	return axes, kept, nil
}

// indicesOf cuts the text of a slice at its commas; one behind the last index
// counts for nothing.
func indicesOf(s string) (out []index) {
	at := 0
	for p := range strings.SplitSeq(s, ",") {
		out = append(out, index{strings.TrimSpace(p), at + len(p) - len(strings.TrimLeft(p, " \t"))})
		at += len(p) + 1
	}
	if out[len(out)-1].text == "" {
		out = out[:len(out)-1]
	}
	return out
}
