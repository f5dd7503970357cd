package array

import (
	"fmt"
	"strconv"
	"strings"

	"daos/internal/fault"
)

// kind is what an element is compared as.
type kind uint8

const (
	kindNone  kind = iota // no order: complex numbers, intervals
	kindUint              // unsigned, little-endian
	kindInt               // two's complement, little-endian
	kindFloat             // IEEE 754-like, by its sign, exponent and fraction bits
	kindBytes             // byte strings, in byte order
)

// DType is an element type. The zero value is none.
type DType struct {
	name string
	size int
	kind kind
	// nan is the smallest magnitude (bits without the sign) that is not a number,
	// of a float of up to 16 bits.
	nan uint16
}

// Name is the type's canonical name, which is on disk.
func (d DType) Name() string { return d.name }

// Size is the bytes of one element.
func (d DType) Size() int { return d.size }

func (d DType) String() string { return d.name }

// IsZero reports whether d is no type.
func (d DType) IsZero() bool { return d.size == 0 }

// Bool reports whether the type is bool, of which only 0 and 1 are values.
func (d DType) Bool() bool { return d.name == "bool" }

var plain = [...]DType{
	{"bool", 1, kindUint, 0},
	{"int8", 1, kindInt, 0}, {"int16", 2, kindInt, 0}, {"int32", 4, kindInt, 0}, {"int64", 8, kindInt, 0},
	{"uint8", 1, kindUint, 0}, {"uint16", 2, kindUint, 0}, {"uint32", 4, kindUint, 0}, {"uint64", 8, kindUint, 0},
	{"float16", 2, kindFloat, 0x7c01}, {"float32", 4, kindFloat, 0}, {"float64", 8, kindFloat, 0},
	{"bfloat16", 2, kindFloat, 0x7f81}, {"float8_e4m3fn", 1, kindFloat, 0x7f}, {"float8_e5m2", 1, kindFloat, 0x7d},
	{"complex64", 8, kindNone, 0}, {"complex128", 16, kindNone, 0},
	{"date32", 4, kindInt, 0}, {"date64", 8, kindInt, 0},
	{"interval[month]", 4, kindInt, 0}, {"interval[day_time]", 8, kindNone, 0}, {"interval[month_day_nano]", 16, kindNone, 0},
}

// MaxElement is the most bytes of one element.
const MaxElement = 64 << 10

// ParseDType reads the name of a type; blanks after commas don't matter.
// "float8_e4m3" is taken for "float8_e4m3fn".
func ParseDType(s string) (DType, error) {
	if s == "float8_e4m3" {
		s = "float8_e4m3fn"
	}
	for _, d := range plain {
		if d.name == s {
			return d, nil
		}
	}
	if base, args, ok := parameters(s); ok {
		if d, ok := parametric(base, args); ok {
			return d, nil
		}
	}
	if len(s) > 64 {
		s = s[:64] + "..."
	}
	return DType{}, fault.New(fault.Invalid, "array.dtype", s, "unknown dtype %q", s).
		Do("use bool, int8 to uint64, float16, float32, float64, bfloat16, float8_e4m3fn, float8_e5m2, complex64, complex128, or an Arrow type of fixed width as timestamp[ns]")
}

// parameters cuts "name[a, b]" or "name(a, b)".
func parameters(s string) (base string, args []string, ok bool) {
	i := strings.IndexAny(s, "[(")
	if i <= 0 || len(s) > 128 {
		return "", nil, false
	}
	if end := map[byte]byte{'[': ']', '(': ')'}[s[i]]; s[len(s)-1] != end {
		return "", nil, false
	}
	for _, a := range strings.Split(s[i+1:len(s)-1], ",") {
		args = append(args, strings.TrimSpace(a))
	}
	return s[:i], args, true
}

func parametric(base string, args []string) (DType, bool) {
	unit := func(among string) bool {
		return len(args) == 1 && args[0] != "" && strings.Contains(" "+among+" ", " "+args[0]+" ")
	}
	timed := func(size int) (DType, bool) { return DType{base + "[" + args[0] + "]", size, kindInt, 0}, true }
	switch base {
	case "time32":
		if unit("s ms") {
			return timed(4)
		}
	case "time64":
		if unit("us ns") {
			return timed(8)
		}
	case "duration":
		if unit("s ms us ns") {
			return timed(8)
		}
	case "timestamp":
		zone := ""
		if len(args) == 2 {
			z, ok := strings.CutPrefix(args[1], "tz=")
			if !ok || z == "" || strings.ContainsAny(z, "[]()\"\\\x00") {
				return DType{}, false
			}
			zone, args = ", tz="+z, args[:1]
		}
		if unit("s ms us ns") {
			return DType{"timestamp[" + args[0] + zone + "]", 8, kindInt, 0}, true
		}
	case "fixed_size_binary":
		if n, err := strconv.Atoi(args[0]); err == nil && len(args) == 1 && n > 0 && n <= MaxElement {
			return DType{fmt.Sprintf("fixed_size_binary[%d]", n), n, kindBytes, 0}, true
		}
	case "decimal128", "decimal256":
		if len(args) != 2 {
			return DType{}, false
		}
		most, size := 38, 16
		if base == "decimal256" {
			most, size = 76, 32
		}
		p, err1 := strconv.Atoi(args[0])
		s, err2 := strconv.Atoi(args[1])
		if err1 == nil && err2 == nil && p >= 1 && p <= most && s >= -most && s <= most {
			return DType{fmt.Sprintf("%s(%d, %d)", base, p, s), size, kindInt, 0}, true
		}
	}
	return DType{}, false
}
