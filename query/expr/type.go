package expr

import (
	"strconv"
	"strings"
)

// Type is the type of a column or of the value of an expression.
type Type uint8

// The types. Time is nanoseconds since 1970 in UTC. A Null literal has the type
// Null; List is a sample with dimensions or of variable length, of which only
// its length, its elements and whether it is there can be asked.
const (
	Null Type = iota
	Bool
	Int8
	Int16
	Int32
	Int64
	Uint8
	Uint16
	Uint32
	Uint64
	Float16
	Float32
	Float64
	Text
	Bytes
	Time
	List
)

var typeNames = [...]string{"null", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
	"float16", "float32", "float64", "text", "bytes", "timestamp", "list"}

var typeSizes = [...]int{0, 1, 1, 2, 4, 8, 1, 2, 4, 8, 2, 4, 8, 0, 0, 8, 0}

func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return "type(" + strconv.Itoa(int(t)) + ")"
}

// Size is the bytes of one value, 0 where they vary.
func (t Type) Size() int {
	if int(t) < len(typeSizes) {
		return typeSizes[t]
	}
	return 0
}

func (t Type) integer() bool { return t >= Int8 && t <= Uint64 }
func (t Type) float() bool   { return t >= Float16 && t <= Float64 }
func (t Type) numeric() bool { return t >= Int8 && t <= Float64 }
func (t Type) bytes() bool   { return t == Text || t == Bytes }

// Field is a column of a schema.
type Field struct {
	Name string
	Type Type
	// Elem is the type of the elements of a List, and Shape its dimensions;
	// a nil Shape is a list of variable length.
	Elem  Type
	Shape []uint64
}

// TypeName says the type for people: "float32[3,224]", "int64[]".
func (f *Field) TypeName() string {
	if f.Type != List {
		return f.Type.String()
	}
	if f.Shape == nil {
		return f.Elem.String() + "[]"
	}
	dims := make([]string, len(f.Shape))
	for i, n := range f.Shape {
		dims[i] = strconv.FormatUint(n, 10)
	}
	return f.Elem.String() + "[" + strings.Join(dims, ",") + "]"
}

// Schema is the columns that a predicate can name.
type Schema []Field

// Index is the place of a column, -1 where there is none. A name is matched as
// it is written, and else without regard to case where that is unambiguous.
func (s Schema) Index(name string) int {
	fold := -1
	for i := range s {
		if s[i].Name == name {
			return i
		}
		if strings.EqualFold(s[i].Name, name) {
			if fold >= 0 {
				fold = -2
			} else if fold == -1 {
				fold = i
			}
		}
	}
	return max(fold, -1)
}

// Nearest is the name that was probably meant, "" if none is near.
func (s Schema) Nearest(name string) string {
	names := make([]string, len(s))
	for i := range s {
		names[i] = s[i].Name
	}
	return nearest(name, names)
}

// nearest is the candidate with the smallest edit distance, if that is at most
// a third of the name (and at least one).
func nearest(name string, candidates []string) string {
	best, at := max(1, len(name)/3)+1, ""
	for _, c := range candidates {
		if d := distance(strings.ToLower(name), strings.ToLower(c), best); d < best {
			best, at = d, c
		}
	}
	return at
}

// distance is the number of insertions, deletions, substitutions and swaps of
// neighbours between two words (optimal string alignment), at most limit.
func distance(a, b string, limit int) int {
	if len(a) > 256 || len(b) > 256 || len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return min(prev[len(b)], limit)
}
