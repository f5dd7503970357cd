package columnar

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"daos/dataset/tensor"
	"daos/dataset/tensor/tensorarrow"
	"daos/internal/fault"
	"daos/internal/npy"
)

func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 3))
}

// cells reads a source to its end and renders every sample.
func cells(t *testing.T, s *Source) []string {
	t.Helper()
	var out []string
	for {
		rows, err := s.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		for k := range rows.N {
			var parts []string
			for i := range s.Columns {
				text, _ := Cell(&s.Columns[i], &rows.Columns[i], k, 0)
				parts = append(parts, text)
			}
			out = append(out, strings.Join(parts, "|"))
		}
	}
}

func npyFile(t *testing.T, dict string, elements any) []byte {
	t.Helper()
	var b bytes.Buffer
	b.WriteString("\x93NUMPY\x01\x00")
	_ = binary.Write(&b, binary.LittleEndian, uint16(len(dict)))
	b.WriteString(dict)
	if s, ok := elements.(string); ok {
		b.WriteString(s)
	} else if err := binary.Write(&b, binary.BigEndian, elements); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func write(t *testing.T, name string, b []byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(p, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestNpy_Forms(t *testing.T) {
	for name, c := range map[string]struct {
		file []byte
		typ  tensor.Layout
		want []string
	}{
		"big-endian":  {npyFile(t, "{'descr': '>i2', 'fortran_order': False, 'shape': (2, 2), }", []int16{1, -2, 300, 4}), tensor.Fixed, []string{"[1 -2]", "[300 4]"}},
		"fortran":     {npyFile(t, "{'descr': '>i4', 'fortran_order': True, 'shape': (2, 3), }", []int32{1, 4, 2, 5, 3, 6}), tensor.Fixed, []string{"[1 2 3]", "[4 5 6]"}},
		"fortran 3-d": {npyFile(t, "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 2, 2), }", []uint8{0, 4, 2, 6, 1, 5, 3, 7}), tensor.Fixed, []string{"[0 1 2 3]", "[4 5 6 7]"}},
		"bytes":       {npyFile(t, "{'descr': '|S3', 'fortran_order': False, 'shape': (3,), }", "ab\x00\x00\x00\x00xyz"), tensor.Bytes, []string{"0x6162", "0x", "0x78797a"}},
		"text":        {npyFile(t, "{'descr': '>U2', 'fortran_order': False, 'shape': (2,), }", []rune{'ö', '日', 'x', 0}), tensor.String, []string{"ö日", "x"}},
		"bool":        {npyFile(t, "{'descr': '|b1', 'fortran_order': False, 'shape': (2,), }", "\x01\x00"), tensor.Fixed, []string{"true", "false"}},
	} {
		s, err := Open(write(t, "a.npy", c.file), "", "c")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := cells(t, s); strings.Join(got, ",") != strings.Join(c.want, ",") || s.Columns[0].Layout != c.typ || s.Columns[0].Name != "c" {
			t.Errorf("%s: %v %+v, want %v", name, got, s.Columns, c.want)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	for name, b := range map[string][]byte{
		"scalar":   npyFile(t, "{'descr': '<i8', 'fortran_order': False, 'shape': (), }", "01234567"),
		"2-d text": npyFile(t, "{'descr': '|S3', 'fortran_order': False, 'shape': (1, 1), }", "abc"),
		"no size":  npyFile(t, "{'descr': '<i8', 'fortran_order': False, 'shape': (3, 0), }", ""),
	} {
		if _, err := Open(write(t, "a.npy", b), "", ""); !fault.Is(err, fault.Invalid, fault.Unsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s, err := Open(write(t, "short.npy", npyFile(t, "{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }", "01234567")), "", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Next(t.Context()); !fault.Is(err, fault.Invalid) {
		t.Errorf("a file that is cut short: %v", err)
	}
}

func TestNpz_LengthsMustAgree(t *testing.T) {
	pack := func(lengths ...int64) string {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		for i, n := range lengths {
			w, err := z.Create(fmt.Sprintf("c%d.npy", i))
			if err != nil {
				t.Fatal(err)
			}
			if err := npy.Write(w, npy.Header{Kind: 'u', Size: 1, Shape: []int64{n}}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(make([]byte, n)); err != nil {
				t.Fatal(err)
			}
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return write(t, "a.npz", b.Bytes())
	}
	s, err := Open(pack(5, 5), "", "")
	if err != nil || s.Rows != 5 || len(s.Columns) != 2 || len(cells(t, s)) != 5 {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := Open(pack(5, 6), "", ""); !fault.Is(err, fault.Invalid) {
		t.Errorf("arrays of 5 and 6 samples: %v", err)
	}
	if _, err := Open(pack(), "", ""); !fault.Is(err, fault.Invalid) {
		t.Errorf("no array at all: %v", err)
	}
}

func TestCSV_LearnsTypes(t *testing.T) {
	s, err := Open(write(t, "a.csv", []byte("\ufeffi,f,b,s,m,e\n1,1,true,x,1,\n-2,2.5,false,,true,\n,nan,true,\"a,b\"\"c\",x,\n")), "", "")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	types := ""
	for _, c := range s.Columns {
		types += fmt.Sprintf("%s:%s:%s:%v ", c.Name, c.Layout, c.DType, c.Nullable)
	}
	if want := "i:fixed:int64:true f:fixed:float64:false b:fixed:bool:false s:string:uint8:false m:string:uint8:false e:string:uint8:false "; types != want {
		t.Errorf("%s\nwant %s", types, want)
	}
	got := cells(t, s)
	want := []string{"1|1|true|x|1|", "-2|2.5|false||true|", `null|NaN|true|a,b"c|x|`}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%q, want %q", got, want)
	}
	if _, err := Open(write(t, "b.csv", []byte("a,b\n1\n")), "", ""); !fault.Is(err, fault.Invalid) {
		t.Errorf("a line with another number of cells: %v", err)
	}
}

// everything is rows of every layout, some null.
func everything(rng *rand.Rand, n int) ([]tensor.Column, *tensor.Rows) {
	cols := []tensor.Column{
		{Name: "scalar", Layout: tensor.Fixed, DType: tensor.Int32},
		{Name: "maybe", Layout: tensor.Fixed, DType: tensor.Float64, Nullable: true},
		{Name: "image", Layout: tensor.Fixed, DType: tensor.Uint8, Shape: []uint64{3, 5}},
		{Name: "maybe image", Layout: tensor.Fixed, DType: tensor.Float32, Shape: []uint64{4}, Nullable: true},
		{Name: "half", Layout: tensor.Fixed, DType: tensor.Float16},
		{Name: "ragged", Layout: tensor.Ragged, DType: tensor.Int16},
		{Name: "bytes", Layout: tensor.Bytes, DType: tensor.Uint8},
		{Name: "text", Layout: tensor.String, DType: tensor.Uint8, Nullable: true},
	}
	rows := &tensor.Rows{N: n, Columns: make([]tensor.Data, len(cols))}
	for i := range cols {
		c, d := &cols[i], &rows.Columns[i]
		if c.Layout != tensor.Fixed {
			d.Offsets = []uint64{0}
		}
		for range n {
			valid := !c.Nullable || rng.IntN(3) > 0
			if c.Nullable {
				b := byte(0)
				if valid {
					b = 1
				}
				d.Valid = append(d.Valid, b)
			}
			size := c.ItemSize()
			if c.Layout != tensor.Fixed {
				size *= rng.IntN(5)
				if !valid {
					size = 0
				}
			}
			for range size {
				b := byte('a' + rng.IntN(26))
				if !valid {
					b = 0
				}
				d.Values = append(d.Values, b)
			}
			if c.Layout != tensor.Fixed {
				d.Offsets = append(d.Offsets, uint64(len(d.Values)))
			}
		}
	}
	return cols, rows
}

func render(cols []tensor.Column, rows *tensor.Rows) []string {
	var out []string
	for k := range rows.N {
		var parts []string
		for i := range cols {
			text, _ := Cell(&cols[i], &rows.Columns[i], k, 0)
			parts = append(parts, text)
		}
		out = append(out, strings.Join(parts, "|"))
	}
	return out
}

// What goes out to a file comes back from it, types, shapes and nulls too.
func TestArrowAndParquet_RoundTrip(t *testing.T) {
	rng := seeded(t)
	for name, open := range map[string]func(*os.File, *Schema) (RecordWriter, error){
		"a.arrow":   func(f *os.File, s *Schema) (RecordWriter, error) { return NewArrowWriter(f, s) },
		"a.parquet": func(f *os.File, s *Schema) (RecordWriter, error) { return NewParquetWriter(f, s) },
	} {
		for _, n := range []int{1, 7, 1000} {
			cols, rows := everything(rng, n)
			if name == "a.parquet" { // has no form for null samples of a shape
				cols, rows.Columns = slices.Delete(cols, 3, 4), slices.Delete(rows.Columns, 3, 4)
			}
			schema := SchemaOf(cols)
			rec, err := tensorarrow.RecordOf(schema, cols, rows)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), name)
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			w, err := open(f, schema)
			if err != nil {
				t.Fatal(err)
			}
			want := append(render(cols, rows), render(cols, rows)...)
			if err := errors.Join(w.Write(rec), w.Write(rec), w.Close(), f.Close()); err != nil {
				t.Fatal(err)
			}
			s, err := Open(path, "", "")
			if err != nil {
				t.Fatal(err)
			}
			for i := range cols {
				if a, b := fmt.Sprintf("%+v", cols[i]), fmt.Sprintf("%+v", s.Columns[i]); a != b {
					t.Errorf("%s: column %s came back as %s", name, a, b)
				}
			}
			got := cells(t, s)
			if len(got) != len(want) {
				t.Fatalf("%s: %d rows, want %d", name, len(got), len(want))
			}
			for i := range want {
				if got[i] != want[i] {
					t.Fatalf("%s row %d of %d:\n got %s\nwant %s", name, i, n, got[i], want[i])
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestParquet_RefusesNullsOfAShape(t *testing.T) {
	cols := []tensor.Column{{Name: "x", Layout: tensor.Fixed, DType: tensor.Int8, Shape: []uint64{2}, Nullable: true}}
	rec, err := tensorarrow.RecordOf(SchemaOf(cols), cols, &tensor.Rows{N: 2, Columns: []tensor.Data{{Values: []byte{1, 2, 0, 0}, Valid: []byte{1, 0}}}})
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewParquetWriter(io.Discard, SchemaOf(cols))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(rec); !fault.Is(err, fault.Unsupported) {
		t.Errorf("got %v", err)
	}
}

// A large record batch is handed out in pieces of about batchBytes.
func TestRecords_AreCut(t *testing.T) {
	cols := []tensor.Column{{Name: "x", Layout: tensor.Fixed, DType: tensor.Int64, Shape: []uint64{1024}}}
	const n = 4000 // 32 MiB
	rows := &tensor.Rows{N: n, Columns: []tensor.Data{{Values: make([]byte, n*8192)}}}
	for i := range n {
		binary.LittleEndian.PutUint64(rows.Columns[0].Values[i*8192:], uint64(i))
	}
	payload, err := Encode(t.Context(), cols, rows)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(write(t, "a.arrows", payload), "", "")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	seen, pieces := 0, 0
	for {
		r, err := s.Next(context.Background())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if r.Bytes() > 2*batchBytes {
			t.Errorf("a piece of %d bytes", r.Bytes())
		}
		for k := range r.N {
			if got := binary.LittleEndian.Uint64(r.Columns[0].Values[k*8192:]); got != uint64(seen+k) {
				t.Fatalf("row %d is %d", seen+k, got)
			}
		}
		seen += r.N
		pieces++
	}
	if seen != n || pieces < 3 {
		t.Errorf("%d rows in %d pieces", seen, pieces)
	}
}

func TestSelect(t *testing.T) {
	s, err := Open(write(t, "a.csv", []byte("a,b,c\n1,2,3\n")), "", "")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Select([]string{"x"}); !fault.Is(err, fault.NotFound) {
		t.Errorf("a column that is not there: %v", err)
	}
	if err := s.Select([]string{"c", "a"}); err != nil {
		t.Fatal(err)
	}
	if got := cells(t, s); len(got) != 1 || got[0] != "3|1" {
		t.Error(got)
	}
}

// Errors of the stream below come through as they are; garbage is an error.
func TestEntries_BadStreams(t *testing.T) {
	broken := fault.New(fault.Corrupt, "scan", "p/d", "a bad record")
	first := true
	err := Entries(Payloads(func() ([]byte, error) {
		if first {
			first = false
			return []byte{0xff, 0xff, 0xff, 0xff}, nil
		}
		return nil, broken
	}), func(*Entry) error { return nil })
	if !errors.Is(err, fault.Corrupt) {
		t.Errorf("the cause was lost: %v", err)
	}
	if err := Entries(strings.NewReader("certainly not Arrow"), func(*Entry) error { return nil }); err == nil {
		t.Error("garbage was taken")
	}
}

func TestNpyWriter_Refuses(t *testing.T) {
	col := tensor.Column{Name: "x", Layout: tensor.Fixed, DType: tensor.Int8, Nullable: true}
	w, err := NewNpyWriter(io.Discard, col, 2, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(&tensor.Data{Values: []byte{1, 0}, Valid: []byte{1, 0}}, 2); !fault.Is(err, fault.Unsupported) {
		t.Errorf("a null: %v", err)
	}
	if w, err = NewNpyWriter(io.Discard, col, 2, 0); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(&tensor.Data{Values: []byte{1}}, 1); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err == nil {
		t.Error("a sample is missing and nobody said so")
	}
	if _, err := NewNpyWriter(io.Discard, tensor.Column{Layout: tensor.Ragged, DType: tensor.Int8}, 1, 0); !fault.Is(err, fault.Unsupported) {
		t.Errorf("ragged: %v", err)
	}
}
