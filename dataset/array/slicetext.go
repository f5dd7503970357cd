package array

import (
	"errors"
	"slices"
	"strconv"
	"strings"
)

// SliceFault says what is wrong with the text of a slice.
type SliceFault int

// What can be wrong with it.
const (
	TooManyIndices SliceFault = iota + 1
	TwoEllipses
	NoSuchAxis
	AxisTwice
	AxisTooLong
	NotIndex   // neither a position nor start:stop:step
	OutOfRange // a position that the axis does not have
	NotSlice   // there are colons, and it is not start:stop:step
	BadStep    // a step is 1 or more
)

// SliceError is a fault of the text of a slice and where it lies.
type SliceError struct {
	Fault SliceFault
	At    int    // where the part begins, in bytes of the text
	Part  string // the part, without the name of an axis
	Axis  int    // of the array; -1 where it is of none
	Name  string // of the axis, where the part names one
	Count int    // indices in the text, of TooManyIndices
}

// maxPositions is the largest length of an axis that a slice is written for.
const maxPositions = 1 << 62

// ParseSlice reads a slice as numpy writes it, "0:24, ::2, 5" or "..., -1", for
// an array of a shape. Steps are 1 or more. Axes that it does not name are whole;
// with names an axis can be named: "x=0:10". alone says of each axis whether one
// position of it is taken, so that it falls away in the answer.
func ParseSlice(text string, shape []uint64, names []string) (axes []Axis, alone []bool, wrong *SliceError) {
	axes, alone = make([]Axis, len(shape)), make([]bool, len(shape))
	for d := range axes {
		axes[d] = Axis{Count: shape[d], Step: 1}
	}
	if strings.TrimSpace(text) == "" {
		return axes, alone, nil
	}
	parts := slicePartsOf(text, names)
	count := 0 // indices that take the next axis
	for i := range parts {
		if parts[i].text != "..." && !parts[i].named {
			count++
		}
	}
	given := make([]bool, len(shape))
	at, behind, skipped := 0, count, false
	for i := range parts {
		p := &parts[i]
		bad := func(f SliceFault, axis int) *SliceError { return &SliceError{f, p.at, p.text, axis, p.name, count} }
		d := at
		switch {
		case p.text == "..." && !p.named:
			if skipped {
				return nil, nil, bad(TwoEllipses, -1)
			}
			skipped = true
			at = max(at, len(shape)-behind)
			continue
		case p.named:
			if d = axisNamed(names, p.name); d < 0 {
				return nil, nil, bad(NoSuchAxis, -1)
			}
		default:
			at++
			behind--
		}
		if d >= len(shape) {
			return nil, nil, bad(TooManyIndices, -1)
		}
		if given[d] {
			return nil, nil, bad(AxisTwice, d)
		}
		given[d] = true
		var f SliceFault
		if axes[d], alone[d], f = parseAxis(p.text, shape[d]); f != 0 {
			return nil, nil, bad(f, d)
		}
	}
	return axes, alone, nil
}

// slicePart is one part of the text of a slice.
type slicePart struct {
	text  string
	at    int // where it begins, in bytes
	name  string
	named bool
}

// slicePartsOf cuts the text of a slice at its commas; one behind the last index
// counts for nothing.
func slicePartsOf(text string, names []string) (out []slicePart) {
	at := 0
	for whole := range strings.SplitSeq(text, ",") {
		p := slicePart{text: strings.TrimSpace(whole), at: at + len(whole) - len(strings.TrimLeft(whole, " \t"))}
		if name, rest, ok := strings.Cut(p.text, "="); ok && names != nil {
			p.name, p.text, p.named = strings.TrimSpace(name), strings.TrimSpace(rest), true
		}
		out = append(out, p)
		at += len(whole) + 1
	}
	if last := out[len(out)-1]; last.text == "" && !last.named {
		out = out[:len(out)-1]
	}
	return out
}

// axisNamed is the number of the axis of a name, whatever its case where that
// leaves no choice; -1 if there is none.
func axisNamed(names []string, name string) int {
	if d := slices.Index(names, name); d >= 0 {
		return d
	}
	same := func(n string) bool { return strings.EqualFold(n, name) }
	d := slices.IndexFunc(names, same)
	if d >= 0 && slices.ContainsFunc(names[d+1:], same) {
		return -1
	}
	return d
}

// parseAxis reads "5", "-1", "0:24", "::2" for an axis of n positions.
func parseAxis(p string, n uint64) (a Axis, alone bool, wrong SliceFault) {
	if n > maxPositions {
		return a, false, AxisTooLong
	}
	bounds := strings.Split(p, ":")
	num := func(i int, missing int64) (int64, bool) {
		if i >= len(bounds) || strings.TrimSpace(bounds[i]) == "" {
			return missing, true
		}
		// Beyond 2^63 it is the largest number, or the smallest: no axis is so long.
		v, err := strconv.ParseInt(strings.TrimSpace(bounds[i]), 10, 64)
		if v < 0 && i < 2 {
			v += int64(n)
		}
		return v, err == nil || errors.Is(err, strconv.ErrRange)
	}
	if len(bounds) == 1 {
		i, ok := num(0, -1)
		switch {
		case !ok || p == "":
			return a, true, NotIndex
		case i < 0 || i >= int64(n):
			return a, true, OutOfRange
		}
		return Axis{Start: uint64(i), Count: 1, Step: 1}, true, 0
	}
	from, ok1 := num(0, 0)
	to, ok2 := num(1, int64(n))
	step, ok3 := num(2, 1)
	switch {
	case len(bounds) > 3 || !ok1 || !ok2 || !ok3:
		return a, false, NotSlice
	case step < 1:
		return a, false, BadStep
	}
	from, to = min(max(from, 0), int64(n)), min(max(to, 0), int64(n))
	a = Axis{Start: uint64(from), Step: uint64(step)}
	if to > from {
		a.Count = uint64((to-from-1)/step) + 1
	}
	return a, false, 0
}
