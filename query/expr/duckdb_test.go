package expr

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"daos/internal/fault"
)

// The expectations were made by DuckDB itself: testdata/expectations.py.
type expectations struct {
	DuckDB  string            `json:"duckdb"`
	Columns map[string]string `json:"columns"`
	Rows    [][]any           `json:"rows"`
	Cases   [][2]any          `json:"cases"`
}

var testSchema = Schema{{Name: "a8", Type: Int8}, {Name: "a16", Type: Int16}, {Name: "a32", Type: Int32}, {Name: "a64", Type: Int64},
	{Name: "u8", Type: Uint8}, {Name: "u32", Type: Uint32}, {Name: "u64", Type: Uint64}, {Name: "f32", Type: Float32}, {Name: "f64", Type: Float64},
	{Name: "t", Type: Text}, {Name: "b", Type: Bool}, {Name: "ts", Type: Time}, {Name: "l", Type: List, Elem: Int32}}

func load(t testing.TB) (*expectations, *Batch) {
	t.Helper()
	raw, err := os.ReadFile("testdata/duckdb.json")
	if err != nil {
		t.Fatal(err)
	}
	var e expectations
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	if err := d.Decode(&e); err != nil {
		t.Fatal(err)
	}
	b := &Batch{N: len(e.Rows), Columns: make([]Vector, len(testSchema))}
	for c := range testSchema {
		v := &b.Columns[c]
		f := &testSchema[c]
		if f.Type == Text || f.Type == List {
			v.Offsets = []uint64{0}
		}
		for _, row := range e.Rows {
			valid := byte(1)
			if row[c] == nil {
				valid = 0
			}
			v.Valid = append(v.Valid, valid)
			v.Values = appendCell(t, v.Values, f, row[c])
			if v.Offsets != nil {
				v.Offsets = append(v.Offsets, uint64(len(v.Values)))
			}
		}
	}
	return &e, b
}

func appendCell(t testing.TB, out []byte, f *Field, cell any) []byte {
	t.Helper()
	var bits uint64
	switch v := cell.(type) {
	case nil:
	case bool:
		if v {
			bits = 1
		}
	case json.Number:
		if i, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			bits = uint64(i)
		} else if bits, err = strconv.ParseUint(v.String(), 10, 64); err != nil {
			t.Fatal(err)
		}
	case string:
		switch f.Type {
		case Text:
			return append(out, v...)
		case Time:
			ns, good := ParseTime(v)
			if !good {
				t.Fatal(v)
			}
			bits = uint64(ns)
		default:
			x, err := strconv.ParseFloat(v, 64)
			if err != nil {
				t.Fatal(err)
			}
			if bits = math.Float64bits(x); f.Type == Float32 {
				bits = uint64(math.Float32bits(float32(x)))
			}
		}
	case []any:
		for _, x := range v {
			out = appendCell(t, out, &Field{Type: Int32}, x)
		}
		return out
	}
	if f.Type == Text || f.Type == List {
		return out
	}
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], bits)
	return append(out, b[:f.Type.Size()]...)
}

func TestMeaningIsDuckDBs(t *testing.T) {
	e, b := load(t)
	refused := 0
	for _, c := range e.Cases {
		text := c[0].(string)
		x, err := Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		again, err := Parse(x.String())
		if err != nil || again.String() != x.String() {
			t.Fatalf("%s is written %s, which reads as %v, %v", text, x, again, err)
		}
		p, err := Bind(again, testSchema, "")
		if _, bad := c[1].(string); bad {
			if err == nil {
				if _, err = p.Filter(b, nil); err == nil {
					t.Errorf("%s: DuckDB says %s; we say nothing", text, c[1])
				}
			}
			continue
		}
		if err != nil { // what can't be exact is refused, with a way out
			refused++
			if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "mixes doubles") {
				t.Fatalf("%s: %v", text, err)
			}
			continue
		}
		got, err := p.Filter(b, nil)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		want := []uint32{}
		for _, i := range c[1].([]any) {
			n, _ := i.(json.Number).Int64()
			want = append(want, uint32(n))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s\n DuckDB %s keeps %v\n we keep %v", text, e.DuckDB, want, got)
		}
	}
	if refused*20 > len(e.Cases) {
		t.Errorf("%d of %d were refused", refused, len(e.Cases))
	}
}
