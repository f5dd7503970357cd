package tensor

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"daos/internal/fault"
)

// Layout is how the samples of a column lie. The numbers are on disk.
type Layout uint8

// The layouts.
const (
	Fixed  Layout = 1 // every sample is an array of the same shape
	Ragged Layout = 2 // every sample is a 1-D array of its own length
	Bytes  Layout = 3 // every sample is a byte string
	String Layout = 4 // every sample is UTF-8 text
)

func (l Layout) String() string {
	switch l {
	case Fixed:
		return "fixed"
	case Ragged:
		return "ragged"
	case Bytes:
		return "bytes"
	case String:
		return "string"
	}
	return fmt.Sprintf("layout(%d)", uint8(l))
}

// DType is an element type. The numbers are on disk.
type DType uint8

// The element types, all little-endian; a bool is one byte, 0 or 1.
const (
	Bool    DType = 1
	Int8    DType = 2
	Int16   DType = 3
	Int32   DType = 4
	Int64   DType = 5
	Uint8   DType = 6
	Uint16  DType = 7
	Uint32  DType = 8
	Uint64  DType = 9
	Float16 DType = 10
	Float32 DType = 11
	Float64 DType = 12
)

var dtypeNames = [...]string{"", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64"}

var dtypeSizes = [...]int{0, 1, 1, 2, 4, 8, 1, 2, 4, 8, 2, 4, 8}

// String is numpy's name of the type.
func (d DType) String() string {
	if d.valid() {
		return dtypeNames[d]
	}
	return fmt.Sprintf("dtype(%d)", uint8(d))
}

func (d DType) valid() bool { return d >= Bool && d <= Float64 }

// Size is the bytes of one element.
func (d DType) Size() int {
	if d.valid() {
		return dtypeSizes[d]
	}
	return 0
}

// ParseDType reads numpy's name of a type.
func ParseDType(s string) (DType, error) {
	for i, n := range dtypeNames {
		if i > 0 && n == s {
			return DType(i), nil
		}
	}
	return 0, fault.New(fault.Invalid, "tensor.dtype", s, "unknown dtype %q", s).
		Do("use one of %s", strings.Join(dtypeNames[1:], ", "))
}

// Limits of a schema and a sample.
const (
	MaxColumns     = 4096
	MaxName        = 255
	MaxDims        = 32
	MaxSampleBytes = 1 << 30
	// ChunkBytes is the size that chunks are cut to where the column does not
	// say how many samples a chunk has.
	ChunkBytes = 4 << 20
	// maxChunkSamples bounds the rows of a chunk, and so its offsets and validity.
	maxChunkSamples = 1 << 20
	// varChunkSamples is the default for columns of variable length, which
	// are cut by bytes first.
	varChunkSamples = 1 << 16
)

// Column describes one column.
type Column struct {
	Name     string
	Layout   Layout
	DType    DType    // Uint8 for Bytes and String
	Shape    []uint64 // of one sample, for Fixed; empty: a scalar
	Nullable bool
	// ChunkSamples is the most samples of one chunk; 0 in Define: chosen so
	// that a chunk is about ChunkBytes.
	ChunkSamples uint64
}

// ItemSize is the bytes of one sample for Fixed, of one element otherwise.
func (c *Column) ItemSize() int {
	n := c.DType.Size()
	if c.Layout == Fixed {
		for _, d := range c.Shape {
			n *= int(d)
		}
	}
	return n
}

// check validates c and fills its defaults.
func (c *Column) check() error {
	bad := func(format string, args ...any) *fault.Error {
		return fault.New(fault.Invalid, "tensor.define", fmt.Sprintf("column %q", c.Name), format, args...)
	}
	if c.Name == "" || len(c.Name) > MaxName || !utf8.ValidString(c.Name) || strings.ContainsAny(c.Name, "/\x00") {
		return bad("a column name has 1 to %d bytes of UTF-8 without '/' and NUL", MaxName)
	}
	if c.Layout == Bytes || c.Layout == String {
		if c.DType == 0 {
			c.DType = Uint8
		}
		if c.DType != Uint8 {
			return bad("dtype %s of a %s column", c.DType, c.Layout).Do("use uint8")
		}
	}
	if !c.DType.valid() {
		return bad("unknown dtype %d", uint8(c.DType))
	}
	switch c.Layout {
	case Fixed:
		if len(c.Shape) > MaxDims {
			return bad("%d dimensions, at most %d are allowed", len(c.Shape), MaxDims)
		}
		n := uint64(c.DType.Size())
		for _, d := range c.Shape {
			if d == 0 {
				return bad("shape %v has a dimension of 0", c.Shape).Do("use a ragged column for samples that may be empty")
			}
			if d > MaxSampleBytes || n*d > MaxSampleBytes {
				return bad("shape %v needs more than %d bytes a sample", c.Shape, MaxSampleBytes)
			}
			n *= d
		}
		if c.ChunkSamples == 0 {
			c.ChunkSamples = min(max(ChunkBytes/n, 1), maxChunkSamples)
		}
		if c.ChunkSamples > max(maxChunkBytes/n, 1) {
			return bad("chunks of %d samples are larger than %d bytes", c.ChunkSamples, maxChunkBytes).Do("use at most %d", max(maxChunkBytes/n, 1))
		}
	case Ragged, Bytes, String:
		if len(c.Shape) != 0 {
			return bad("a %s column has no shape", c.Layout)
		}
		if c.ChunkSamples == 0 {
			c.ChunkSamples = varChunkSamples
		}
	default:
		return bad("unknown layout %d", uint8(c.Layout))
	}
	if c.ChunkSamples > maxChunkSamples {
		return bad("chunks of %d samples, at most %d are allowed", c.ChunkSamples, maxChunkSamples)
	}
	return nil
}

// maxChunkBytes bounds what a column may ask for as a chunk: one must fit into
// memory, to compute its statistics anew.
const maxChunkBytes = 64 << 20

// schemaFile is the JSON form of a schema, the single value "schema".
type schemaFile struct {
	Format  int            `json:"format"`
	Columns []schemaColumn `json:"columns"`
}

type schemaColumn struct {
	Name         string   `json:"name"`
	Layout       string   `json:"layout"`
	DType        string   `json:"dtype"`
	Shape        []uint64 `json:"shape,omitempty"`
	Nullable     bool     `json:"nullable,omitempty"`
	ChunkSamples uint64   `json:"chunk_samples"`
}

const schemaFormat = 1

func checkColumns(cols []Column) error {
	if len(cols) == 0 {
		return fault.New(fault.Invalid, "tensor.define", "columns", "a tensor dataset has at least one column")
	}
	if len(cols) > MaxColumns {
		return fault.New(fault.TooBig, "tensor.define", "columns", "%d columns, at most %d are allowed", len(cols), MaxColumns)
	}
	seen := make(map[string]bool, len(cols))
	for i := range cols {
		if err := cols[i].check(); err != nil {
			return err
		}
		if seen[cols[i].Name] {
			return fault.New(fault.Invalid, "tensor.define", fmt.Sprintf("column %q", cols[i].Name), "named twice")
		}
		seen[cols[i].Name] = true
	}
	return nil
}

func encodeSchema(cols []Column) []byte {
	f := schemaFile{Format: schemaFormat}
	for _, c := range cols {
		f.Columns = append(f.Columns, schemaColumn{c.Name, c.Layout.String(), c.DType.String(), c.Shape, c.Nullable, c.ChunkSamples})
	}
	b, err := json.Marshal(f)
	if err != nil {
		panic(err) // plain strings and numbers
	}
	return b
}

func decodeSchema(b []byte) ([]Column, error) {
	var f schemaFile
	corrupt := func(err error, format string, args ...any) error {
		return fault.New(fault.Corrupt, "tensor.schema", "schema", format, args...).Because(err)
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, corrupt(err, "the stored schema can't be read")
	}
	if f.Format != schemaFormat {
		return nil, fault.New(fault.Unsupported, "tensor.schema", "schema", "written in format %d, this version reads %d", f.Format, schemaFormat).
			Do("use a newer version of daos")
	}
	cols := make([]Column, len(f.Columns))
	for i, c := range f.Columns {
		d, err := ParseDType(c.DType)
		if err != nil {
			return nil, corrupt(err, "the stored schema can't be read")
		}
		cols[i] = Column{Name: c.Name, DType: d, Shape: c.Shape, Nullable: c.Nullable, ChunkSamples: c.ChunkSamples}
		for _, l := range []Layout{Fixed, Ragged, Bytes, String} {
			if l.String() == c.Layout {
				cols[i].Layout = l
			}
		}
	}
	if err := checkColumns(cols); err != nil {
		return nil, corrupt(err, "the stored schema is not valid")
	}
	return cols, nil
}
