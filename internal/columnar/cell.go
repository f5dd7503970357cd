package columnar

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"strconv"
	"strings"

	"daos/dataset/tensor"
	"daos/internal/half"
)

// Cell renders sample i of a column: numbers as numpy prints them, arrays in
// brackets cut to limit elements (0: all), bytes as hex, null as "null". exact
// is false if anything was left out.
func Cell(c *tensor.Column, d *tensor.Data, i, limit int) (text string, exact bool) {
	if d.Valid != nil && d.Valid[i] == 0 {
		return "null", true
	}
	if c.Layout == tensor.Fixed {
		size := c.ItemSize()
		b := d.Values[i*size : (i+1)*size]
		if len(c.Shape) == 0 {
			return Element(c.DType, b), true
		}
		return list(c.DType, b, limit)
	}
	b := d.Values[d.Offsets[i]:d.Offsets[i+1]]
	switch c.Layout {
	case tensor.String:
		return clip(string(b), limit)
	case tensor.Bytes:
		if limit > 0 && len(b) > limit {
			return "0x" + hex.EncodeToString(b[:limit]) + "…", false
		}
		return "0x" + hex.EncodeToString(b), true
	}
	return list(c.DType, b, limit)
}

func clip(s string, limit int) (string, bool) {
	if r := []rune(s); limit > 0 && len(r) > 8*limit {
		return string(r[:8*limit]) + "…", false
	}
	return s, true
}

func list(t tensor.DType, b []byte, limit int) (string, bool) {
	n := len(b) / t.Size()
	shown := n
	if limit > 0 {
		shown = min(n, limit)
	}
	parts := make([]string, 0, shown+1)
	for k := range shown {
		parts = append(parts, Element(t, b[k*t.Size():]))
	}
	if shown < n {
		parts = append(parts, "… "+strconv.Itoa(n)+" elements")
	}
	return "[" + strings.Join(parts, " ") + "]", shown == n
}

// Element renders one element, little-endian at the front of b.
func Element(t tensor.DType, b []byte) string {
	if len(b) < t.Size() || t.Size() == 0 {
		return "?"
	}
	switch t {
	case tensor.Bool:
		return strconv.FormatBool(b[0] != 0)
	case tensor.Int8:
		return strconv.Itoa(int(int8(b[0])))
	case tensor.Int16:
		return strconv.Itoa(int(int16(binary.LittleEndian.Uint16(b))))
	case tensor.Int32:
		return strconv.Itoa(int(int32(binary.LittleEndian.Uint32(b))))
	case tensor.Int64:
		return strconv.FormatInt(int64(binary.LittleEndian.Uint64(b)), 10)
	case tensor.Uint8:
		return strconv.Itoa(int(b[0]))
	case tensor.Uint16:
		return strconv.Itoa(int(binary.LittleEndian.Uint16(b)))
	case tensor.Uint32:
		return strconv.FormatUint(uint64(binary.LittleEndian.Uint32(b)), 10)
	case tensor.Uint64:
		return strconv.FormatUint(binary.LittleEndian.Uint64(b), 10)
	case tensor.Float16:
		return strconv.FormatFloat(float64(half.Float32(binary.LittleEndian.Uint16(b))), 'g', 5, 32)
	case tensor.Float32:
		return strconv.FormatFloat(float64(math.Float32frombits(binary.LittleEndian.Uint32(b))), 'g', -1, 32)
	default:
		return strconv.FormatFloat(math.Float64frombits(binary.LittleEndian.Uint64(b)), 'g', -1, 64)
	}
}
