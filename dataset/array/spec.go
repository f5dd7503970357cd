package array

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/bits"
	"strings"
	"unicode/utf8"

	"daos/internal/fault"
)

// Limits of an array.
const (
	MaxRank       = 32
	MaxChunkBytes = 64 << 20 // of one chunk
	MaxLength     = 1 << 48  // along one axis
	maxTotal      = 1 << 60  // bytes of all elements
	// chunkTarget is about how large a chunk is where the caller does not say.
	chunkTarget = 1 << 20
)

// Spec describes an array.
type Spec struct {
	DType  DType
	Shape  []uint64 // empty: a scalar
	Chunks []uint64 // elements of a chunk along each axis; nil in Create: chosen
	Fill   []byte   // one element; nil: zeros
	Dims   []string // names of the axes; nil, or one for each
}

// Rank is the number of axes.
func (s *Spec) Rank() int { return len(s.Shape) }

// Elements is the number of elements.
func (s *Spec) Elements() uint64 { return product(s.Shape) }

// ChunkElements is the number of elements of a whole chunk.
func (s *Spec) ChunkElements() uint64 { return product(s.Chunks) }

func (s *Spec) chunkBytes() int { return int(s.ChunkElements()) * s.DType.size }

// grid is the number of chunks along each axis.
func (s *Spec) grid() []uint64 {
	g := make([]uint64, len(s.Shape))
	for d := range g {
		g[d] = (s.Shape[d] + s.Chunks[d] - 1) / s.Chunks[d]
	}
	return g
}

// zeroFill reports whether the fill value is all zeros, as a hole of a byte array is.
func (s *Spec) zeroFill() bool {
	for _, b := range s.Fill {
		if b != 0 {
			return false
		}
	}
	return true
}

func product(v []uint64) uint64 {
	n := uint64(1)
	for _, x := range v {
		n *= x
	}
	return n
}

// check validates s and fills its defaults.
func (s *Spec) check(path string) error {
	bad := func(format string, args ...any) *fault.Error {
		return fault.New(fault.Invalid, "array.create", path, format, args...)
	}
	if s.DType.IsZero() {
		return bad("an array needs a dtype")
	}
	if err := checkShape(s.DType, s.Shape); err != nil {
		return bad("%s", err)
	}
	if s.Chunks == nil && len(s.Shape) > 0 {
		s.Chunks = defaultChunks(s.Shape, s.DType.size)
	}
	if len(s.Chunks) != len(s.Shape) {
		return bad("a chunk shape of %d axes for an array of %d", len(s.Chunks), len(s.Shape))
	}
	n := uint64(s.DType.size)
	for d, c := range s.Chunks {
		if c == 0 {
			return bad("chunk shape %v has a 0", s.Chunks)
		}
		hi, lo := bits.Mul64(n, c)
		if n = lo; hi != 0 || n > MaxChunkBytes {
			return fault.New(fault.TooBig, "array.create", path, "chunks of shape %v, %s, have more than %d bytes", s.Chunks, s.DType, MaxChunkBytes).
				Do("use smaller chunks, or leave the chunk shape out (axis %d)", d)
		}
	}
	if s.Fill != nil && len(s.Fill) != s.DType.size {
		return bad("a fill value of %d bytes, an element of %s has %d", len(s.Fill), s.DType, s.DType.size)
	}
	if s.DType.Bool() && len(s.Fill) == 1 && s.Fill[0] > 1 {
		return bad("the fill value of a bool array is %d", s.Fill[0])
	}
	if s.zeroFill() {
		s.Fill = nil
	}
	if len(s.Dims) != 0 && len(s.Dims) != len(s.Shape) {
		return bad("%d dimension names for %d axes", len(s.Dims), len(s.Shape))
	}
	if len(s.Dims) == 0 {
		s.Dims = nil
	}
	for _, name := range s.Dims {
		if len(name) > MaxName || !utf8.ValidString(name) || strings.ContainsRune(name, 0) {
			return bad("a dimension name has up to %d bytes of UTF-8 without NUL", MaxName)
		}
	}
	return nil
}

// checkShape says what is wrong with a shape.
func checkShape(t DType, shape []uint64) error {
	if len(shape) > MaxRank {
		return fmt.Errorf("%d axes, at most %d are allowed", len(shape), MaxRank)
	}
	n := uint64(t.size)
	for d, x := range shape {
		if x > MaxLength {
			return fmt.Errorf("a length of %d along axis %d, at most %d are allowed", x, d, uint64(MaxLength))
		}
		if x == 0 {
			continue // empty now, and may grow
		}
		hi, lo := bits.Mul64(n, x)
		if n = lo; hi != 0 || n > maxTotal {
			return fmt.Errorf("an array of shape %v has more than %d bytes", shape, uint64(maxTotal))
		}
	}
	return nil
}

// defaultChunks halves the longest axis until a chunk has about chunkTarget bytes.
func defaultChunks(shape []uint64, size int) []uint64 {
	c := make([]uint64, len(shape))
	for d := range c {
		c[d] = max(min(shape[d], 1<<31), 1)
	}
	bytes := func() float64 {
		n := float64(size)
		for _, x := range c {
			n *= float64(x)
		}
		return n
	}
	for bytes() > chunkTarget {
		long := 0
		for d := range c {
			if c[d] > c[long] {
				long = d
			}
		}
		if c[long] == 1 {
			break
		}
		c[long] = (c[long] + 1) / 2
	}
	if len(c) > 0 && shape[0] == 0 { // made to be appended to
		for c[0] < 1<<20 && 2*bytes() <= chunkTarget {
			c[0] *= 2
		}
	}
	return c
}

// specFile is the JSON form of what of a node never changes: the single value "m".
type specFile struct {
	Format int      `json:"format"`
	Kind   string   `json:"kind"` // "group" or "array"
	ID     uint64   `json:"id,omitempty"`
	DType  string   `json:"dtype,omitempty"`
	Chunks []uint64 `json:"chunks,omitempty"`
	Fill   []byte   `json:"fill,omitempty"` // base64
	Dims   []string `json:"dims,omitempty"`
}

const specFormat = 1

func encodeSpec(id uint64, s *Spec) []byte {
	f := specFile{Format: specFormat, Kind: "group"}
	if s != nil {
		f = specFile{specFormat, "array", id, s.DType.name, s.Chunks, s.Fill, s.Dims}
	}
	b, err := json.Marshal(f)
	if err != nil {
		panic(err) // plain strings and numbers
	}
	return b
}

// decodeSpec reads a node; the spec of an array lacks its shape. nil: a group.
func decodeSpec(path string, b []byte) (id uint64, s *Spec, err error) {
	var f specFile
	dec := json.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(&f); err != nil {
		return 0, nil, corrupt(path, "what is stored of it can't be read").Because(err)
	}
	if f.Format != specFormat {
		return 0, nil, fault.New(fault.Unsupported, "array.open", path, "written in format %d, this version reads %d", f.Format, specFormat).
			Do("use a newer version of daos")
	}
	if f.Kind == "group" {
		return 0, nil, nil
	}
	d, err := ParseDType(f.DType)
	if err != nil || f.Kind != "array" || f.ID == 0 {
		return 0, nil, corrupt(path, "what is stored of it is not valid").Because(err)
	}
	return f.ID, &Spec{DType: d, Chunks: f.Chunks, Fill: f.Fill, Dims: f.Dims}, nil
}
