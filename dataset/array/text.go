package array

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"daos/internal/fault"
)

// units are the divisions of a second that Arrow's times count in.
var units = map[string]int64{"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}

// Text is one element as people read it: numbers, times in ISO form, bytes in hex.
func (d DType) Text(b []byte) string {
	if len(b) != d.size {
		return ""
	}
	switch {
	case d.Bool():
		return strconv.FormatBool(b[0] != 0)
	case d.kind == kindFloat:
		v, _ := d.Float(b)
		bits := 64
		if d.size < 8 {
			bits = 32
		}
		return strings.NewReplacer("+Inf", "inf", "-Inf", "-inf", "NaN", "nan").Replace(strconv.FormatFloat(v, 'g', -1, bits))
	case strings.HasPrefix(d.name, "complex"):
		half := DType{kind: kindFloat, size: d.size / 2, name: fmt.Sprintf("float%d", 4*d.size)}
		re, im := half.Text(b[:half.size]), half.Text(b[half.size:])
		if !strings.HasPrefix(im, "-") {
			im = "+" + im
		}
		return re + im + "j"
	case d.kind == kindInt:
		return d.intText(d.integer(b))
	case d.kind == kindUint:
		return d.integer(b).String()
	}
	return fmt.Sprintf("0x%x", b)
}

// integer is an element of an integer type of any width.
func (d DType) integer(b []byte) *big.Int {
	back := slices.Clone(b)
	slices.Reverse(back)
	n := new(big.Int).SetBytes(back)
	if d.kind == kindInt && b[len(b)-1]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	return n
}

// intText renders what an integer stands for.
func (d DType) intText(n *big.Int) string {
	base, args, _ := parameters(d.name)
	switch base {
	case "timestamp":
		per := units[args[0]]
		sec, rest := new(big.Int).DivMod(n, big.NewInt(per), new(big.Int))
		if s := sec.Int64(); s > -62135596800 && s < 253402300800 { // years 1 to 9999
			return time.Unix(s, rest.Int64()*(1e9/per)).UTC().Format("2006-01-02T15:04:05.999999999")
		}
	case "decimal128", "decimal256":
		if scale, err := strconv.Atoi(args[1]); err == nil && scale > 0 {
			sign, digits := "", new(big.Int).Abs(n).String()
			if n.Sign() < 0 {
				sign = "-"
			}
			if short := scale + 1 - len(digits); short > 0 {
				digits = strings.Repeat("0", short) + digits
			}
			return sign + digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
		}
	}
	switch d.name {
	case "date32":
		return time.Unix(n.Int64()*86400, 0).UTC().Format(time.DateOnly)
	case "date64":
		return time.UnixMilli(n.Int64()).UTC().Format(time.DateOnly)
	}
	return n.String()
}

// Parse reads one element: a number (of types counted in integers the count), true
// or false, or its bytes in hex ("0x...", as they lie in memory).
func (d DType) Parse(s string) ([]byte, error) {
	bad := fault.New(fault.Invalid, "array.element", s, "not an element of %s", d).Do("write a number, or its %d bytes in hex after 0x", d.size)
	if hex, ok := strings.CutPrefix(s, "0x"); ok {
		var b []byte
		if _, err := fmt.Sscanf(hex, "%x", &b); err != nil || len(b) != d.size {
			return nil, bad
		}
		return b, nil
	}
	switch {
	case d.Bool():
		v, err := strconv.ParseBool(s)
		if err != nil {
			return nil, bad
		}
		if v {
			return []byte{1}, nil
		}
		return []byte{0}, nil
	case d.kind == kindFloat:
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return nil, bad
		}
		return d.float(v), nil
	case d.kind == kindInt || d.kind == kindUint:
		n, ok := new(big.Int).SetString(s, 10)
		if !ok || len(s) > 100 {
			return nil, bad
		}
		return d.fromInteger(n, bad)
	}
	return nil, bad
}

func (d DType) fromInteger(n *big.Int, bad error) ([]byte, error) {
	if n.Sign() < 0 {
		if d.kind == kindUint {
			return nil, bad
		}
		n = new(big.Int).Add(n, new(big.Int).Lsh(big.NewInt(1), uint(8*d.size)))
		if n.Sign() < 0 || n.Bit(8*d.size-1) == 0 {
			return nil, bad
		}
	} else if n.BitLen() > 8*d.size || d.kind == kindInt && n.BitLen() == 8*d.size {
		return nil, bad
	}
	b := n.FillBytes(make([]byte, d.size))
	slices.Reverse(b)
	return b, nil
}

// float is the element of a float type that is nearest to v.
func (d DType) float(v float64) []byte {
	switch d.size {
	case 8:
		return binary.LittleEndian.AppendUint64(nil, math.Float64bits(v))
	case 4:
		return binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(v)))
	}
	// Few enough to look at all of them; the even one of two neighbours.
	var best []byte
	near := math.Inf(1)
	for u := range 1 << (8 * d.size) {
		b := binary.LittleEndian.AppendUint16(nil, uint16(u))[:d.size]
		x, _ := d.Float(b)
		switch {
		case math.IsNaN(v) && math.IsNaN(x), v == x && math.Signbit(v) == math.Signbit(x):
			return b
		case math.IsNaN(x) || math.IsInf(x, 0):
			continue
		}
		if dist := math.Abs(x - v); best == nil || dist < near || dist == near && u&1 == 0 && math.Signbit(x) == math.Signbit(v) {
			best, near = b, dist
		}
	}
	return best
}
