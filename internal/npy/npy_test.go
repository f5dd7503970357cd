package npy_test

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"daos/internal/fault"
	"daos/internal/npy"
)

func TestWriteThenRead(t *testing.T) {
	for _, h := range []npy.Header{
		{Kind: 'f', Size: 4, Shape: []int64{3, 2}},
		{Kind: 'b', Size: 1, Shape: []int64{5}},
		{Kind: 'u', Size: 8, Shape: []int64{}},
		{Kind: 'U', Size: 12, Shape: []int64{2}},
		{Kind: 'S', Size: 7, Shape: []int64{0, 4}},
	} {
		var b bytes.Buffer
		if err := npy.Write(&b, h); err != nil {
			t.Fatal(err)
		}
		if b.Len()%64 != 0 {
			t.Errorf("%+v: elements begin at %d, not at a multiple of 64", h, b.Len())
		}
		b.WriteString("elements")
		got, r, err := npy.Read(&b, "x")
		if err != nil {
			t.Fatal(err)
		}
		rest, err := io.ReadAll(r)
		if err != nil || string(rest) != "elements" {
			t.Fatalf("elements %q, %v", rest, err)
		}
		if got.Kind != h.Kind || got.Size != h.Size || len(got.Shape) != len(h.Shape) || got.Fortran || got.Big {
			t.Errorf("wrote %+v, read %+v", h, got)
		}
		for i := range h.Shape {
			if got.Shape[i] != h.Shape[i] {
				t.Errorf("wrote %+v, read %+v", h, got)
			}
		}
	}
}

// header is what numpy itself writes, with another dict.
func header(dict string) io.Reader {
	return strings.NewReader("\x93NUMPY\x01\x00" + string([]byte{byte(len(dict)), byte(len(dict) >> 8)}) + dict)
}

func TestRead_NumpyForms(t *testing.T) {
	h, _, err := npy.Read(header("{'descr': '>i4', 'fortran_order': True, 'shape': (10L, 3), }\n"), "x")
	if err != nil || !h.Big || !h.Fortran || h.DType() != "int32" || h.Shape[0] != 10 {
		t.Fatalf("%+v, %v", h, err)
	}
}

func TestRead_Refuses(t *testing.T) {
	for name, c := range map[string]struct {
		r    io.Reader
		kind fault.Kind
	}{
		"text":       {strings.NewReader("PK\x03\x04 not numpy"), fault.Invalid},
		"empty":      {strings.NewReader(""), fault.Invalid},
		"cut":        {strings.NewReader("\x93NUMPY\x01\x00\xff\x00{'descr'"), fault.Invalid},
		"huge":       {strings.NewReader("\x93NUMPY\x02\x00\xff\xff\xff\xff"), fault.Invalid},
		"objects":    {header("{'descr': '|O8', 'fortran_order': False, 'shape': (3,), }"), fault.Unsupported},
		"complex":    {header("{'descr': '<c8', 'fortran_order': False, 'shape': (3,), }"), fault.Unsupported},
		"structured": {header("{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (3,), }"), fault.Unsupported},
		"overflow":   {header("{'descr': '<i8', 'fortran_order': False, 'shape': (4611686018427387904, 4611686018427387904), }"), fault.Invalid},
		"negative":   {header("{'descr': '<i8', 'fortran_order': False, 'shape': (-1,), }"), fault.Invalid},
	} {
		if _, _, err := npy.Read(c.r, name); fault.KindOf(err) != c.kind {
			t.Errorf("%s: %v, want %v", name, err, c.kind)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("\x93NUMPY\x01\x00\x36\x00{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }"))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _, _ = npy.Read(bytes.NewReader(b), "x") })
}

func TestSwap(t *testing.T) {
	b := []byte{1, 2, 3, 4, 5, 6, 7, 8, 9}
	npy.Swap(b, 4)
	if !bytes.Equal(b, []byte{4, 3, 2, 1, 8, 7, 6, 5, 9}) {
		t.Fatal(b)
	}
}
