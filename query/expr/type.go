package expr

import (
	"strconv"
	"strings"

	"daos/internal/near"
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
	return near.Name(name, names)
}
