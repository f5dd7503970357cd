package columnar

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"

	"daos/internal/fault"
	"daos/query/expr"
)

// threeGroups is a file of 3 row groups of 100 rows: id, x (NaN at each 9th, null at
// each 7th), s, and a struct of a number and a list, and a list.
func threeGroups(t testing.TB, codec compress.Compression) []byte {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64}, {Name: "x", Type: arrow.PrimitiveTypes.Float64, Nullable: true}, {Name: "s", Type: arrow.BinaryTypes.String},
		{Name: "st", Type: arrow.StructOf(arrow.Field{Name: "a", Type: arrow.PrimitiveTypes.Int32}, arrow.Field{Name: "l", Type: arrow.ListOf(arrow.BinaryTypes.String)})},
		{Name: "l", Type: arrow.ListOf(arrow.PrimitiveTypes.Float32)},
	}, nil)
	var out bytes.Buffer
	w, err := pqarrow.NewFileWriter(schema, &out, parquet.NewWriterProperties(parquet.WithCompression(codec)), pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	for g := range 3 {
		b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		for i := range 100 {
			id := 100*g + i
			b.Field(0).(*array.Int64Builder).Append(int64(id))
			switch x := b.Field(1).(*array.Float64Builder); {
			case id%7 == 0:
				x.AppendNull()
			case id%9 == 0:
				x.Append(math.NaN())
			default:
				x.Append(float64(id))
			}
			b.Field(2).(*array.StringBuilder).Append("a text of some length"[:id%20])
			st := b.Field(3).(*array.StructBuilder)
			st.Append(true)
			st.FieldBuilder(0).(*array.Int32Builder).Append(int32(id))
			l := st.FieldBuilder(1).(*array.ListBuilder)
			l.Append(true)
			for range id % 4 {
				l.ValueBuilder().(*array.StringBuilder).Append("element")
			}
			f := b.Field(4).(*array.ListBuilder)
			f.Append(true)
			for range id % 3 {
				f.ValueBuilder().(*array.Float32Builder).Append(0.5)
			}
		}
		rec := b.NewRecord()
		if err := w.Write(rec); err != nil {
			t.Fatal(err)
		}
		rec.Release()
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// readAll reads the columns of all groups and returns the number of rows.
func readAll(p *ParquetFile, columns []int) (rows int64, err error) {
	for k := range p.RowGroups() {
		g, err := p.Read(context.Background(), k, columns)
		if err != nil {
			return rows, err
		}
		for {
			rec, err := g.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				g.Close()
				return rows, err
			}
			rows += rec.NumRows()
			rec.Release()
		}
		g.Close()
	}
	return rows, nil
}

func TestColumnsOfAParquetFile(t *testing.T) {
	data := threeGroups(t, compress.Codecs.Snappy)
	p, err := OpenParquetAt("p/f/x", bytes.NewReader(data), int64(len(data)), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if p.Rows() != 300 || p.RowGroups() != 3 || len(p.Schema().Fields()) != 5 {
		t.Fatalf("%d rows in %d groups of %v", p.Rows(), p.RowGroups(), p.Schema())
	}
	for _, columns := range [][]int{{0, 1, 2, 3, 4}, {3}, {1, 3}, {}} {
		if n, err := readAll(p, columns); n != 300 || err != nil {
			t.Errorf("columns %v: %d rows, %v", columns, n, err)
		}
	}
	fields, places := ComparedColumns(p.Schema())
	if len(fields) != 3 {
		t.Fatalf("columns to compare: %v", fields)
	}
	for _, c := range []struct {
		where string
		kept  int // groups
	}{
		{"id < 100", 1}, {"id between 100 and 150", 1}, {"id > 299", 0}, {"id is null", 0}, {"x is null", 3},
		{"x > 1e6", 3}, // NaN is the greatest
		{"x < 100", 1}, {"isnan(x)", 3}, {"s > 'b'", 0}, {"s < 'b'", 3}, {"id > 150 and x < 200", 1},
	} {
		x, err := expr.Parse(c.where)
		if err != nil {
			t.Fatal(err)
		}
		where, err := expr.Bind(x, fields, c.where)
		if err != nil {
			t.Fatal(err)
		}
		kept := 0
		for k := range p.RowGroups() {
			if where.Prune(p.Stats(k, fields, places)) != expr.None {
				kept++
			}
		}
		if kept != c.kept {
			t.Errorf("%s: %d groups are left, not %d", c.where, kept, c.kept)
		}
	}
}

// TestDamagedParquetFiles reads files with bytes changed: an error or some rows,
// never a panic, and no piece of memory beyond the bound.
// TestParquetFilesOfManyColumns: what is read ahead of all columns together is
// bounded, however many there are.
func TestParquetFilesOfManyColumns(t *testing.T) {
	const columns = 2000
	fields, cells, all := make([]arrow.Field, columns), make([]arrow.Array, columns), make([]int, columns)
	one := array.NewInt32Builder(memory.DefaultAllocator)
	for i := range all {
		one.Append(int32(i))
		fields[i], cells[i], all[i] = arrow.Field{Name: fmt.Sprintf("c%d", i), Type: arrow.PrimitiveTypes.Int32}, one.NewArray(), i
	}
	schema := arrow.NewSchema(fields, nil)
	var out bytes.Buffer
	w, err := pqarrow.NewFileWriter(schema, &out, parquet.NewWriterProperties(), pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Write(array.NewRecord(schema, cells, 1)), w.Close()); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	p, err := OpenParquetAt("p/f/x", bytes.NewReader(out.Bytes()), int64(out.Len()), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := readAll(p, all); n != 1 || err != nil {
		t.Fatalf("%d rows: %v", n, err)
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 2*allBuffers {
		t.Errorf("%d columns took %d MiB", columns, took>>20)
	}
}

func TestDamagedParquetFiles(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	failed := 0
	for _, codec := range []compress.Compression{compress.Codecs.Uncompressed, compress.Codecs.Snappy, compress.Codecs.Zstd, compress.Codecs.Gzip} {
		whole := threeGroups(t, codec)
		for range 80 {
			data := bytes.Clone(whole)
			for range 1 + rng.IntN(20) {
				data[rng.IntN(len(data))] = byte(rng.Uint32())
			}
			p, err := OpenParquetAt("p/f/x", bytes.NewReader(data), int64(len(data)), 1<<20)
			rows := int64(0)
			if err == nil {
				rows, err = readAll(p, []int{0, 1, 2, 4}) // Arrow reads a struct in goroutines of its own
			}
			if err == nil {
				if rows != int64(p.Rows()) {
					t.Fatalf("%d rows of %d, and no error", rows, p.Rows())
				}
				continue
			}
			failed++
			if !fault.Is(err, fault.Invalid, fault.TooBig) {
				t.Fatalf("%v", err)
			}
		}
	}
	if failed < 40 {
		t.Errorf("only %d of 320 damaged files were refused", failed)
	}
}

// broken fails after its first bytes.
type broken struct{ *bytes.Reader }

var errDisk = fault.New(fault.Corrupt, "test", "p/f/x", "a chunk does not match its checksum")

func (b broken) ReadAt(p []byte, off int64) (int, error) {
	if off < 4096 {
		return 0, errDisk
	}
	return b.Reader.ReadAt(p, off)
}

func TestReadErrorsOfAParquetFileStayWhatTheyAre(t *testing.T) {
	data := threeGroups(t, compress.Codecs.Uncompressed)
	p, err := OpenParquetAt("p/f/x", broken{bytes.NewReader(data)}, int64(len(data)), 1<<20)
	if err == nil {
		_, err = readAll(p, []int{0})
	}
	if !fault.Is(err, fault.Corrupt) {
		t.Errorf("%v", err)
	}
}
