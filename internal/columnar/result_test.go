package columnar

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"daos/dataset/tensor"
	"daos/query/exec"
	"daos/query/expr"
)

// someRows are two batches of rows of a number, a text with a null, a matrix and
// a time.
func someRows() (expr.Schema, func() (*exec.Rows, error)) {
	s := expr.Schema{
		{Name: "id", Type: expr.Int64}, {Name: "name", Type: expr.Text},
		{Name: "m", Type: expr.List, Elem: expr.Int16, Shape: []uint64{2, 2}}, {Name: "at", Type: expr.Time},
	}
	row := 0
	return s, func() (*exec.Rows, error) {
		if row == 4 {
			return nil, io.EOF
		}
		r := &exec.Rows{N: 2, Columns: make([]expr.Vector, 4)}
		r.Columns[1] = expr.Vector{Offsets: []uint64{0}, Valid: []byte{1, 1}}
		for k := range 2 {
			r.Columns[0].Values = binary.LittleEndian.AppendUint64(r.Columns[0].Values, uint64(row))
			if row == 3 {
				r.Columns[1].Valid[k] = 0
			} else {
				r.Columns[1].Values = append(r.Columns[1].Values, strings.Repeat("é", row)...)
			}
			r.Columns[1].Offsets = append(r.Columns[1].Offsets, uint64(len(r.Columns[1].Values)))
			for i := range 4 {
				r.Columns[2].Values = binary.LittleEndian.AppendUint16(r.Columns[2].Values, uint16(10*row+i))
			}
			r.Columns[3].Values = binary.LittleEndian.AppendUint64(r.Columns[3].Values, uint64(row)*1e9)
			row++
		}
		return r, nil
	}
}

func stream(t *testing.T) io.Reader {
	t.Helper()
	r, err := Stream(someRows())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWriteResult_Text(t *testing.T) {
	for format, want := range map[string]string{
		"csv": "id,name,m,at\n0,,\"[[0,1],[2,3]]\",1970-01-01T00:00:00Z\n1,é,\"[[10,11],[12,13]]\",1970-01-01T00:00:01Z\n" +
			"2,éé,\"[[20,21],[22,23]]\",1970-01-01T00:00:02Z\n3,,\"[[30,31],[32,33]]\",1970-01-01T00:00:03Z\n",
		"ndjson": `{"id": 0, "name": "", "m": [[0,1],[2,3]], "at": "1970-01-01T00:00:00Z"}` + "\n" +
			`{"id": 1, "name": "é", "m": [[10,11],[12,13]], "at": "1970-01-01T00:00:01Z"}` + "\n" +
			`{"id": 2, "name": "éé", "m": [[20,21],[22,23]], "at": "1970-01-01T00:00:02Z"}` + "\n" +
			`{"id": 3, "name": null, "m": [[30,31],[32,33]], "at": "1970-01-01T00:00:03Z"}` + "\n",
	} {
		var b bytes.Buffer
		if n, err := WriteResult(&b, stream(t), format); err != nil || n != 4 || b.String() != want {
			t.Errorf("%s: %d rows, %v\n%s", format, n, err, b.String())
		}
	}
	var b bytes.Buffer
	if _, err := WriteResult(&b, stream(t), "json"); err != nil {
		t.Fatal(err)
	}
	var all []map[string]any
	if err := json.Unmarshal(b.Bytes(), &all); err != nil || len(all) != 4 || all[3]["name"] != nil {
		t.Errorf("json is one array: %v\n%s", err, b.String())
	}
}

// Files of tensors read back what was written; a matrix in Parquet too.
func TestWriteResult_Files(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"x.parquet", "x.arrow", "x.arrows"} {
		file, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		switch name {
		case "x.parquet":
			_, err = WriteResult(file, stream(t), "parquet")
		case "x.arrow":
			err = WriteArrowFile(file, stream(t))
		default:
			_, err = WriteResult(file, stream(t), "arrow")
		}
		if err = errors.Join(err, file.Close()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		format := "arrow"
		if name == "x.parquet" {
			format = "parquet"
		}
		src, err := Open(file.Name(), format, "")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var matrices []byte
		ids := 0
		for {
			rows, err := src.Next(context.Background())
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for k := range rows.N {
				if got := binary.LittleEndian.Uint64(rows.Columns[0].Values[8*k:]); got != uint64(ids) {
					t.Errorf("%s: row %d has id %d", name, ids, got)
				}
				ids++
			}
			matrices = append(matrices, rows.Columns[2].Values...)
		}
		src.Close()
		if c := src.Columns[2]; ids != 4 || c.Layout != tensor.Fixed || len(c.Shape) != 2 || len(matrices) != 32 || matrices[8*3+2] != 31 {
			t.Errorf("%s: %d rows, column %+v, %v", name, ids, c, matrices)
		}
	}
}

func TestShowBytes(t *testing.T) {
	for in, want := range map[string]string{
		"0.1": "0.1", "": "", "a\\b": `a\x5Cb`, "\x00\xff": `\x00\xFF`, "é": `\xC3\xA9`, strings.Repeat("x", 50): strings.Repeat("x", 48) + "... (50 bytes)",
	} {
		if got := showBytes([]byte(in)); got != want {
			t.Errorf("%q: %s", in, got)
		}
	}
}

func TestWriteSample(t *testing.T) {
	s := expr.Schema{{Name: "x", Type: expr.Float64}}
	sent := false
	r, err := Stream(s, func() (*exec.Rows, error) {
		if sent {
			return nil, io.EOF
		}
		sent = true
		return &exec.Rows{N: 1, Columns: []expr.Vector{{Values: binary.LittleEndian.AppendUint64(nil, math.Float64bits(2.5))}}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := WriteSample(&b, r); err != nil || !strings.Contains(b.String(), "'shape': ()") || b.Len() != 136 {
		t.Errorf("%v: %q", err, b.String())
	}
}

// A failure below comes out, whatever was written before.
func TestStream_Fails(t *testing.T) {
	broken := errors.New("broken")
	s, next := someRows()
	n := 0
	for _, format := range []string{"csv", "json", "ndjson", "arrow", "parquet"} {
		n = 0
		r, err := Stream(s, func() (*exec.Rows, error) {
			if n++; n > 1 {
				return nil, broken
			}
			return next()
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := WriteResult(io.Discard, r, format); !errors.Is(err, broken) {
			t.Errorf("%s: %v", format, err)
		}
		s, next = someRows()
	}
}
