package kv

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"strconv"
	"unicode/utf8"

	"daos/internal/fault"
)

// Encoding is how the fields of a schema lie in a value. The numbers are those
// of the wire and the disk.
type Encoding uint8

// The encodings.
const (
	JSON   Encoding = 1 // an object with a member for each field
	Struct Encoding = 2 // the fields packed one behind the other
)

func (e Encoding) String() string {
	switch e {
	case JSON:
		return "json"
	case Struct:
		return "struct"
	}
	return "encoding(" + strconv.Itoa(int(e)) + ")"
}

// FieldType is the type of a field. The numbers are those of the disk.
type FieldType uint8

// The types.
const (
	Bool FieldType = iota + 1
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
	String
	Bytes
)

var typeNames = [...]string{"", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64", "string", "bytes"}

func (t FieldType) String() string {
	if t == 0 || int(t) >= len(typeNames) {
		return "type(" + strconv.Itoa(int(t)) + ")"
	}
	return typeNames[t]
}

// ParseType reads the name of a type.
func ParseType(s string) (FieldType, error) {
	for i, n := range typeNames {
		if i > 0 && n == s {
			return FieldType(i), nil
		}
	}
	return 0, fault.New(fault.Invalid, "kv.schema", s, "no type of a field").
		Do("use bool, int8 to int64, uint8 to uint64, float16 to float64, string or bytes")
}

// width is the bytes of a value of fixed width, 0 for strings and bytes.
func (t FieldType) width() int {
	switch t {
	case Bool, Int8, Uint8:
		return 1
	case Int16, Uint16, Float16:
		return 2
	case Int32, Uint32, Float32:
		return 4
	case Int64, Uint64, Float64:
		return 8
	}
	return 0
}

func (t FieldType) signed() bool   { return t >= Int8 && t <= Int64 }
func (t FieldType) unsigned() bool { return t >= Uint8 && t <= Uint64 }
func (t FieldType) float() bool    { return t >= Float16 && t <= Float64 }

// Field is one field of the values.
type Field struct {
	Name     string
	Type     FieldType
	Nullable bool
}

// Schema declares what the values hold.
type Schema struct {
	Encoding Encoding
	Fields   []Field

	index    map[string]int
	nullable bool // some field is
}

// Limits of a schema, and of the values of a dataset that has one.
const (
	MaxFields    = 1024
	MaxFieldName = 255
	MaxRow       = stageAt
)

// Cell is one field of one value. Text and Bytes are parts of the value, or of
// memory of its own.
type Cell struct {
	Null  bool
	Int   int64   // of signed integers; 1 and 0 of bool
	Uint  uint64  // of unsigned integers; the bits of float16
	Float float64 // of float32 and float64
	Bytes []byte  // of strings and bytes
}

// Check makes a schema ready for use, and refuses what can't be.
func (s *Schema) prepare() error {
	bad := func(format string, args ...any) error {
		return fault.New(fault.Invalid, "kv.schema", "schema", format, args...)
	}
	if s.Encoding != JSON && s.Encoding != Struct {
		return bad("%s is no encoding of fields", s.Encoding)
	}
	if len(s.Fields) == 0 || len(s.Fields) > MaxFields {
		return bad("a schema of %d fields, it has 1 to %d", len(s.Fields), MaxFields)
	}
	s.index = make(map[string]int, len(s.Fields))
	for i := range s.Fields {
		f := &s.Fields[i]
		if f.Name == "" || len(f.Name) > MaxFieldName || !utf8.ValidString(f.Name) {
			return bad("a field with a name of %d bytes: names are 1 to %d bytes of UTF-8", len(f.Name), MaxFieldName)
		}
		if _, twice := s.index[f.Name]; twice {
			return bad("two fields are called %q", f.Name)
		}
		if f.Type == 0 || f.Type > Bytes {
			return bad("the field %q has no type", f.Name)
		}
		if s.Encoding == JSON && f.Type == Float16 {
			return bad("the field %q: JSON has no float16", f.Name)
		}
		s.index[f.Name] = i
		s.nullable = s.nullable || f.Nullable
	}
	return nil
}

func (s *Schema) encode() []byte {
	b := []byte{recordVersion, byte(s.Encoding)}
	b = binary.LittleEndian.AppendUint16(b, uint16(len(s.Fields)))
	for i := range s.Fields {
		f := &s.Fields[i]
		null := byte(0)
		if f.Nullable {
			null = 1
		}
		b = append(b, byte(f.Type), null, byte(len(f.Name)))
		b = append(b, f.Name...)
	}
	return b
}

func decodeSchema(b []byte) (*Schema, error) {
	bad := corrupt("schema", "the schema is not readable")
	if len(b) < 4 || b[0] != recordVersion {
		return nil, bad
	}
	s := &Schema{Encoding: Encoding(b[1]), Fields: make([]Field, binary.LittleEndian.Uint16(b[2:]))}
	b = b[4:]
	for i := range s.Fields {
		if len(b) < 3 || len(b) < 3+int(b[2]) || b[1] > 1 {
			return nil, bad
		}
		n := 3 + int(b[2])
		s.Fields[i] = Field{Name: string(b[3:n]), Type: FieldType(b[0]), Nullable: b[1] == 1}
		b = b[n:]
	}
	if len(b) != 0 || s.prepare() != nil {
		return nil, bad
	}
	return s, nil
}

// Check refuses a value that does not fit the schema, and says which field.
func (s *Schema) Check(key, value []byte) error {
	_, err := s.Decode(key, value, nil)
	return err
}

func (s *Schema) tooLarge(key []byte, size uint64, _ []byte) error {
	return fault.New(fault.TooBig, "kv.schema", show(key), "a value of %d bytes, at most %d are allowed where values have fields", size, MaxRow)
}

// unfit is the error of a value that does not fit: field, "" for the whole.
func unfit(key []byte, field, format string, args ...any) *fault.Error {
	f := fault.New(fault.Invalid, "kv.schema", show(key), format, args...)
	if field != "" {
		f.Detail = "the field " + strconv.Quote(field) + " " + f.Detail
	}
	return f
}

// Decode reads the fields of a value and appends them to cells, in order.
func (s *Schema) Decode(key, value []byte, cells []Cell) ([]Cell, error) {
	if len(value) > MaxRow {
		return cells, s.tooLarge(key, uint64(len(value)), nil)
	}
	if s.Encoding == Struct {
		return s.decodeStruct(key, value, cells)
	}
	return s.decodeJSON(key, value, cells)
}

func (s *Schema) decodeStruct(key, b []byte, cells []Cell) ([]Cell, error) {
	var valid []byte
	if s.nullable {
		n := (len(s.Fields) + 7) / 8
		if len(b) < n {
			return cells, unfit(key, "", "a value of %d bytes is shorter than the bitmap of its nulls", len(b))
		}
		valid, b = b[:n], b[n:]
	}
	for i := range s.Fields {
		f := &s.Fields[i]
		var c Cell
		c.Null = valid != nil && valid[i/8]&(1<<(i%8)) == 0
		if c.Null && !f.Nullable {
			return cells, unfit(key, f.Name, "is null")
		}
		w := f.Type.width()
		n := w
		if w == 0 {
			if len(b) < 4 {
				return cells, unfit(key, f.Name, "is missing: the value ends before it")
			}
			n = int(min(binary.LittleEndian.Uint32(b), math.MaxInt32))
			b = b[4:]
		}
		if len(b) < n {
			return cells, unfit(key, f.Name, "has %d bytes, the value ends after %d of them", n, len(b))
		}
		if err := c.set(f, b[:n]); err != nil {
			return cells, unfit(key, f.Name, "%s", err.Error())
		}
		cells = append(cells, c)
		b = b[n:]
	}
	if len(b) != 0 {
		return cells, unfit(key, "", "%d bytes are left behind the last field", len(b))
	}
	return cells, nil
}

type unfitCell string

func (e unfitCell) Error() string { return string(e) }

// set reads a packed field.
func (c *Cell) set(f *Field, b []byte) error {
	le := binary.LittleEndian
	switch f.Type {
	case Bool:
		if b[0] > 1 {
			return unfitCell("is neither 0 nor 1")
		}
		c.Int = int64(b[0])
	case Int8:
		c.Int = int64(int8(b[0]))
	case Int16:
		c.Int = int64(int16(le.Uint16(b)))
	case Int32:
		c.Int = int64(int32(le.Uint32(b)))
	case Int64:
		c.Int = int64(le.Uint64(b))
	case Uint8:
		c.Uint = uint64(b[0])
	case Uint16, Float16:
		c.Uint = uint64(le.Uint16(b))
	case Uint32:
		c.Uint = uint64(le.Uint32(b))
	case Uint64:
		c.Uint = le.Uint64(b)
	case Float32:
		c.Float = float64(math.Float32frombits(le.Uint32(b)))
	case Float64:
		c.Float = math.Float64frombits(le.Uint64(b))
	case String:
		if !utf8.Valid(b) {
			return unfitCell("is not UTF-8")
		}
		c.Bytes = b
	default:
		c.Bytes = b
	}
	return nil
}

func (s *Schema) decodeJSON(key, value []byte, cells []Cell) ([]Cell, error) {
	if !utf8.Valid(value) {
		return cells, unfit(key, "", "the value is not UTF-8, so not JSON")
	}
	members := map[string]json.RawMessage{}
	if err := json.Unmarshal(value, &members); err != nil || members == nil {
		return cells, unfit(key, "", "the value is not a JSON object")
	}
	for i := range s.Fields {
		f := &s.Fields[i]
		raw, there := members[f.Name]
		var c Cell
		switch {
		case !there || bytes.Equal(raw, []byte("null")):
			if !f.Nullable {
				return cells, unfit(key, f.Name, "is missing or null")
			}
			c.Null = true
		default:
			if err := c.setJSON(f, raw); err != nil {
				return cells, unfit(key, f.Name, "%s", err.Error())
			}
		}
		cells = append(cells, c)
	}
	return cells, nil
}

func (c *Cell) setJSON(f *Field, raw json.RawMessage) (err error) {
	is := func(what string) error {
		const most = 40
		if len(raw) > most {
			return unfitCell("is not " + what + ": " + string(bytes.ToValidUTF8(raw[:most], nil)) + "...")
		}
		return unfitCell("is not " + what + ": " + string(raw))
	}
	bits := 8 * f.Type.width()
	switch {
	case f.Type == Bool:
		switch string(raw) {
		case "true":
			c.Int = 1
		case "false":
		default:
			return is("true or false")
		}
	case f.Type.signed():
		if c.Int, err = strconv.ParseInt(string(raw), 10, bits); err != nil {
			return is("an integer of " + strconv.Itoa(bits) + " bits")
		}
	case f.Type.unsigned():
		if c.Uint, err = strconv.ParseUint(string(raw), 10, bits); err != nil {
			return is("an unsigned integer of " + strconv.Itoa(bits) + " bits")
		}
	case f.Type.float():
		switch string(raw) { // JSON has no numbers for these
		case `"NaN"`:
			c.Float = math.NaN()
		case `"Infinity"`:
			c.Float = math.Inf(1)
		case `"-Infinity"`:
			c.Float = math.Inf(-1)
		default:
			if c.Float, err = strconv.ParseFloat(string(raw), bits); err != nil {
				return is("a number of " + strconv.Itoa(bits) + " bits")
			}
		}
	default:
		var text string
		if json.Unmarshal(raw, &text) != nil {
			return is("a string")
		}
		c.Bytes = []byte(text)
		if f.Type == Bytes {
			if c.Bytes, err = base64.StdEncoding.DecodeString(text); err != nil {
				return is("a string in base64")
			}
		}
	}
	return nil
}
