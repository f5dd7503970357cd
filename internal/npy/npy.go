// Package npy reads and writes numpy's .npy format (versions 1 to 3) as a
// header and a stream of bytes; a .npz is a zip of them. It knows dtypes as
// numpy writes them and nothing of datasets.
//
// An array file is: magic "\x93NUMPY", two version bytes, the header's length
// (2 bytes in version 1, else 4, little-endian), a Python dict literal with
// descr, fortran_order and shape, then the elements.
package npy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"daos/internal/fault"
)

const magic = "\x93NUMPY"

// maxHeader bounds what a header may claim.
const maxHeader = 1 << 20

// Header describes an array.
type Header struct {
	// Kind is numpy's letter: b bool, i int, u uint, f float, S bytes, U text.
	Kind byte
	// Size is the bytes of one element; of an S the longest string, of a U
	// four times the longest text.
	Size    int
	Big     bool // big-endian elements
	Fortran bool // first axis fastest
	Shape   []int64
}

// DType is numpy's name of a numeric element type, "float32"; empty for text
// and bytes.
func (h *Header) DType() string {
	switch h.Kind {
	case 'b':
		return "bool"
	case 'i':
		return fmt.Sprintf("int%d", 8*h.Size)
	case 'u':
		return fmt.Sprintf("uint%d", 8*h.Size)
	case 'f':
		return fmt.Sprintf("float%d", 8*h.Size)
	}
	return ""
}

// ParseDType makes a header of numpy's name of a type.
func ParseDType(name string) (Header, error) {
	for _, h := range []Header{
		{Kind: 'b', Size: 1},
		{Kind: 'i', Size: 1}, {Kind: 'i', Size: 2}, {Kind: 'i', Size: 4}, {Kind: 'i', Size: 8},
		{Kind: 'u', Size: 1}, {Kind: 'u', Size: 2}, {Kind: 'u', Size: 4}, {Kind: 'u', Size: 8},
		{Kind: 'f', Size: 2}, {Kind: 'f', Size: 4}, {Kind: 'f', Size: 8},
	} {
		if h.DType() == name {
			return h, nil
		}
	}
	return Header{}, fault.New(fault.Unsupported, "npy", name, "this element type has no form in npy")
}

func (h *Header) descr() string {
	order := "<"
	switch {
	case h.Kind == 'S' || h.Size == 1:
		order = "|"
	case h.Big:
		order = ">"
	}
	n := h.Size
	if h.Kind == 'U' {
		n /= 4
	}
	return order + string(h.Kind) + strconv.Itoa(n)
}

var (
	descrRE = regexp.MustCompile(`'descr'\s*:\s*'([<>|=]?)([a-zA-Z])(\d+)'`)
	orderRE = regexp.MustCompile(`'fortran_order'\s*:\s*(True|False)`)
	shapeRE = regexp.MustCompile(`'shape'\s*:\s*\(([^)]*)\)`)
)

// Read reads the header of name and returns the reader of the elements.
func Read(r io.Reader, name string) (Header, io.Reader, error) {
	bad := func(format string, args ...any) *fault.Error {
		return fault.New(fault.Invalid, "npy", name, format, args...)
	}
	br := bufio.NewReaderSize(r, 1<<20)
	var head [8]byte
	if _, err := io.ReadFull(br, head[:]); err != nil || string(head[:6]) != magic {
		return Header{}, nil, bad("not a .npy file").Do("save it with numpy.save")
	}
	var n uint32
	if head[6] == 1 {
		var b [2]byte
		if _, err := io.ReadFull(br, b[:]); err != nil {
			return Header{}, nil, bad("cut short in its header")
		}
		n = uint32(binary.LittleEndian.Uint16(b[:]))
	} else {
		var b [4]byte
		if _, err := io.ReadFull(br, b[:]); err != nil {
			return Header{}, nil, bad("cut short in its header")
		}
		n = binary.LittleEndian.Uint32(b[:])
	}
	if head[6] < 1 || head[6] > 3 || n > maxHeader {
		return Header{}, nil, bad("version %d with a header of %d bytes", head[6], n)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(br, text); err != nil {
		return Header{}, nil, bad("cut short in its header")
	}
	h, err := parseHeader(text, bad)
	return h, br, err
}

func parseHeader(text []byte, bad func(string, ...any) *fault.Error) (Header, error) {
	d, o, s := descrRE.FindSubmatch(text), orderRE.FindSubmatch(text), shapeRE.FindSubmatch(text)
	if bytes.Contains(text, []byte("'descr': [")) {
		return Header{}, fault.New(fault.Unsupported, "npy", "", "a structured array").Do("save its fields as arrays of their own, with numpy.savez")
	}
	if d == nil || o == nil || s == nil {
		return Header{}, bad("a header that can't be read: %.100q", text)
	}
	h := Header{Kind: d[2][0], Big: string(d[1]) == ">", Fortran: string(o[1]) == "True"}
	size, err := strconv.Atoi(string(d[3]))
	if err != nil || size > 1<<28 {
		return Header{}, bad("elements of %s bytes", d[3])
	}
	h.Size = size
	if h.Kind == 'U' {
		h.Size *= 4
	}
	switch {
	case h.Kind == 'O':
		return Header{}, fault.New(fault.Unsupported, "npy", "", "an array of Python objects, which would have to be unpickled").Do("save numbers, strings or bytes")
	case h.Kind == 'S' || h.Kind == 'U':
	default:
		if _, err := ParseDType(h.DType()); err != nil || h.DType() == "" {
			return Header{}, fault.New(fault.Unsupported, "npy", "", "elements of type %s", d[0]).Do("convert it to bool, int, uint, float, bytes or str")
		}
	}
	total := int64(max(h.Size, 1))
	for part := range strings.SplitSeq(string(s[1]), ",") {
		part = strings.TrimSuffix(strings.TrimSpace(part), "L")
		if part == "" {
			continue
		}
		n, err := strconv.ParseInt(part, 10, 64)
		if err != nil || n < 0 || n > 0 && total > (1<<62)/n {
			return Header{}, bad("the shape (%s)", s[1])
		}
		if n > 0 {
			total *= n
		}
		h.Shape = append(h.Shape, n)
	}
	return h, nil
}

// Write writes the header of an array in C order; the elements follow it.
func Write(w io.Writer, h Header) error {
	shape := make([]string, len(h.Shape))
	for i, n := range h.Shape {
		shape[i] = strconv.FormatInt(n, 10)
	}
	list := strings.Join(shape, ", ")
	if len(shape) == 1 {
		list += ","
	}
	text := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", h.descr(), list)
	// The elements begin at a multiple of 64, as numpy writes them.
	pad := 64 - (len(magic)+4+len(text)+1)%64
	text += strings.Repeat(" ", pad%64) + "\n"
	var b bytes.Buffer
	b.WriteString(magic)
	b.Write([]byte{1, 0})
	_ = binary.Write(&b, binary.LittleEndian, uint16(len(text))) // a Buffer never fails
	b.WriteString(text)
	_, err := w.Write(b.Bytes())
	return err
}

// Swap turns big-endian elements of size bytes into little-endian ones, in place.
func Swap(b []byte, size int) {
	for i := 0; i+size <= len(b); i += size {
		for l, r := i, i+size-1; l < r; l, r = l+1, r-1 {
			b[l], b[r] = b[r], b[l]
		}
	}
}
