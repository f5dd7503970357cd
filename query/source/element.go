package source

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"daos/dataset/array"
	"daos/internal/half"
	"daos/query/expr"
)

// AxisNames are the columns of the positions along n axes: the axes' names, or
// dim_0, dim_1, ... where they have none or one that is taken.
func AxisNames(dims []string, n int) []string {
	var out expr.Schema
	names := make([]string, 0, n)
	for d := range n {
		axis := fmt.Sprintf("dim_%d", d)
		if d < len(dims) && dims[d] != "" {
			axis = dims[d]
		}
		for out.Index(axis) >= 0 || strings.EqualFold(axis, "value") || axis == RowID {
			axis = "dim." + axis
		}
		out = append(out, expr.Field{Name: axis})
		names = append(names, axis)
	}
	return names
}

// ElementType is the type of a column of elements, and how they are widened to
// it (nil: they are taken as they are). ok is false for elements that no column
// holds: complex and decimal numbers, intervals of several parts, bytes.
func ElementType(t array.DType) (ty expr.Type, widen func([]byte) []byte, ok bool) {
	for i := expr.Bool; i <= expr.Float64; i++ {
		if i.String() == t.Name() {
			return i, nil, true
		}
	}
	if unit, ok := strings.CutPrefix(t.Name(), "timestamp["); ok { // a zone is about how it is shown
		if strings.HasPrefix(unit, "ns") {
			return expr.Time, nil, true
		}
		return expr.Int64, nil, true
	}
	switch t.Name() {
	case "date64", "duration[ns]", "duration[us]", "duration[ms]", "duration[s]", "time64[us]", "time64[ns]":
		return expr.Int64, nil, true
	case "date32", "time32[s]", "time32[ms]", "interval[month]":
		return expr.Int32, nil, true
	case "bfloat16":
		return expr.Float32, func(b []byte) []byte {
			out := make([]byte, 2*len(b))
			for i := 0; i < len(b); i += 2 {
				out[2*i+2], out[2*i+3] = b[i], b[i+1]
			}
			return out
		}, true
	case "float8_e5m2":
		return expr.Float32, each(func(x byte) float32 { return half.Float32(uint16(x) << 8) }), true
	case "float8_e4m3fn":
		return expr.Float32, each(e4m3), true
	}
	return expr.Null, nil, false
}

// each widens elements of one byte.
func each(value func(byte) float32) func([]byte) []byte {
	return func(b []byte) []byte {
		out := make([]byte, 0, 4*len(b))
		for _, x := range b {
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(value(x)))
		}
		return out
	}
}

// e4m3 is the value of a float8_e4m3fn number (Micikevicius et al. 2022): no
// infinities, one NaN of each sign.
func e4m3(x byte) float32 {
	sign := float32(1)
	if x&0x80 != 0 {
		sign = -1
	}
	exp, frac := int(x>>3&15), float32(x&7)
	switch {
	case x&0x7f == 0x7f:
		return float32(math.NaN())
	case exp == 0:
		return sign * frac / 8 * float32(math.Ldexp(1, -6))
	}
	return sign * (1 + frac/8) * float32(math.Ldexp(1, exp-7))
}
