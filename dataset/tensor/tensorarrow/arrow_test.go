package tensorarrow

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"daos/dataset/tensor"
	"daos/dataset/tensor/tensortest"
	"daos/internal/fault"
)

func seeded(t testing.TB) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("DAOS_TEST_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("DAOS_TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 2))
}

// everyColumn has each dtype in each layout, nullable and not.
func everyColumn() []tensor.Column {
	var cols []tensor.Column
	for _, null := range []bool{false, true} {
		n := strconv.FormatBool(null)
		for d := tensor.Bool; d <= tensor.Float64; d++ {
			cols = append(cols,
				tensor.Column{Name: "scalar " + d.String() + n, Layout: tensor.Fixed, DType: d, Nullable: null},
				tensor.Column{Name: "array " + d.String() + n, Layout: tensor.Fixed, DType: d, Shape: []uint64{2, 3}, Nullable: null},
				tensor.Column{Name: "ragged " + d.String() + n, Layout: tensor.Ragged, DType: d, Nullable: null})
		}
		cols = append(cols,
			tensor.Column{Name: "bytes " + n, Layout: tensor.Bytes, DType: tensor.Uint8, Nullable: null},
			tensor.Column{Name: "string " + n, Layout: tensor.String, DType: tensor.Uint8, Nullable: null})
	}
	return cols
}

func randomRows(rng *rand.Rand, cols []tensor.Column, n int) (*tensor.Rows, []tensortest.Cells) {
	cells := make([]tensortest.Cells, len(cols))
	for i := range cols {
		cells[i] = tensortest.RandomCells(rng, &cols[i], n)
	}
	return tensortest.PackRows(cols, cells), cells
}

func once(b []byte) func(context.Context) (io.Reader, error) {
	return func(context.Context) (io.Reader, error) {
		if b == nil {
			return nil, io.EOF
		}
		r := bytes.NewReader(b)
		b = nil
		return r, nil
	}
}

func TestStreamRoundTrip(t *testing.T) {
	rng, ctx, cols := seeded(t), context.Background(), everyColumn()
	var stream bytes.Buffer
	var want [][]tensortest.Cells
	for _, n := range []int{17, 0, 1} {
		rows, cells := randomRows(rng, cols, n)
		want = append(want, cells)
		if err := Write(ctx, &stream, cols, tensortest.Source(rows)); err != nil {
			t.Fatal(err)
		}
	}
	src := NewSource(cols, once(stream.Bytes()))
	for i, cells := range want {
		rows, err := src.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for c := range cols {
			got := tensortest.Unpack(&cols[c], &rows.Columns[c], rows.N)
			if len(got) != len(cells[c]) {
				t.Fatalf("stream %d column %s: %d rows, want %d", i, cols[c].Name, len(got), len(cells[c]))
			}
			for k := range got {
				if (got[k] == nil) != (cells[c][k] == nil) || !bytes.Equal(got[k], cells[c][k]) {
					t.Fatalf("stream %d column %s row %d: %x, want %x", i, cols[c].Name, k, got[k], cells[c][k])
				}
			}
		}
	}
	if _, err := src.Next(ctx); err != io.EOF {
		t.Fatalf("after the last stream: %v", err)
	}
}

func TestColumnsSurviveTheSchema(t *testing.T) {
	cols := everyColumn()
	got, err := ColumnsOf(SchemaOf(cols))
	if err != nil {
		t.Fatal(err)
	}
	for i := range cols {
		if got[i].Name != cols[i].Name || got[i].Layout != cols[i].Layout || got[i].DType != cols[i].DType ||
			got[i].Nullable != cols[i].Nullable || len(got[i].Shape) != len(cols[i].Shape) {
			t.Fatalf("%+v became %+v", cols[i], got[i])
		}
	}
}

func TestOtherShapesOfArrow(t *testing.T) {
	ctx := context.Background()
	mem := memory.NewGoAllocator()
	b := array.NewLargeStringBuilder(mem)
	b.AppendValues([]string{"skip", "a", "hidden", "ccc"}, []bool{true, true, false, true})
	l := array.NewLargeListBuilder(mem, arrow.PrimitiveTypes.Int16)
	v := l.ValueBuilder().(*array.Int16Builder)
	for i := range 4 {
		l.Append(i != 2)
		for k := range i {
			v.Append(int16(10*i + k))
		}
	}
	fsl := array.NewFixedSizeListBuilder(mem, 2, arrow.FixedWidthTypes.Boolean)
	for i := range 4 {
		fsl.Append(true)
		fsl.ValueBuilder().(*array.BooleanBuilder).AppendValues([]bool{i%2 == 0, i == 3}, nil)
	}
	s := arrow.NewSchema([]arrow.Field{
		{Name: "f", Type: fsl.Type()}, {Name: "l", Type: l.Type(), Nullable: true}, {Name: "s", Type: arrow.BinaryTypes.LargeString, Nullable: true},
	}, nil)
	rec := array.NewRecord(s, []arrow.Array{fsl.NewArray(), l.NewArray(), b.NewArray()}, 4).NewSlice(1, 4)
	cols := []tensor.Column{ // another order than the schema's
		{Name: "s", Layout: tensor.Bytes, DType: tensor.Uint8, Nullable: true},
		{Name: "l", Layout: tensor.Ragged, DType: tensor.Int16, Nullable: true},
		{Name: "f", Layout: tensor.Fixed, DType: tensor.Bool, Shape: []uint64{2}},
	}
	var stream bytes.Buffer
	w := ipc.NewWriter(&stream, ipc.WithSchema(s))
	if err := errors.Join(w.Write(rec), w.Close()); err != nil {
		t.Fatal(err)
	}
	streamed, err := NewSource(cols, once(stream.Bytes())).Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	direct, err := RowsOf(rec, cols)
	if err != nil {
		t.Fatal(err)
	}
	for _, rows := range []*tensor.Rows{streamed, direct} {
		got := tensortest.Unpack(&cols[0], &rows.Columns[0], 3)
		if string(got[0]) != "a" || got[1] != nil || string(got[2]) != "ccc" {
			t.Fatalf("strings %q", got)
		}
		got = tensortest.Unpack(&cols[1], &rows.Columns[1], 3)
		if !bytes.Equal(got[0], []byte{10, 0}) || got[1] != nil || !bytes.Equal(got[2], []byte{30, 0, 31, 0, 32, 0}) {
			t.Fatalf("lists %x", got)
		}
		if f := rows.Columns[2].Values; !bytes.Equal(f, []byte{0, 0, 1, 0, 0, 1}) {
			t.Fatalf("bools %v", f)
		}
	}
}

func TestMismatches(t *testing.T) {
	ctx := context.Background()
	stream := func(cols ...tensor.Column) []byte {
		var b bytes.Buffer
		rows, _ := randomRows(rand.New(rand.NewPCG(1, 1)), cols, 2)
		if err := Write(ctx, &b, cols, tensortest.Source(rows)); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	x := tensor.Column{Name: "x", Layout: tensor.Fixed, DType: tensor.Int32, Shape: []uint64{2, 3}}
	y, z, w, v := x, x, x, x
	y.Name, z.DType, w.Shape, v.Layout, v.Shape = "y", tensor.Uint32, []uint64{3, 2}, tensor.Ragged, nil
	for i, b := range [][]byte{stream(y), stream(x, y), stream(z), stream(w), stream(v)} {
		_, err := NewSource([]tensor.Column{x}, once(b)).Next(ctx)
		if !fault.Is(err, fault.Invalid) {
			t.Fatalf("stream %d: %v", i, err)
		}
	}
	whole := stream(x)
	for cut := 1; cut < len(whole); cut++ {
		src := NewSource([]tensor.Column{x}, once(whole[:cut]))
		var err error
		for err == nil {
			_, err = src.Next(ctx)
		}
		if !fault.Is(err, fault.Invalid, fault.TooBig) {
			t.Fatalf("cut at %d of %d: %v", cut, len(whole), err)
		}
	}
	huge := bytes.Clone(whole[:8])
	binary.LittleEndian.PutUint32(huge[4:], 0x7fffffff)
	if _, err := NewSource([]tensor.Column{x}, once(huge)).Next(ctx); !fault.Is(err, fault.Invalid) {
		t.Fatalf("a claim of 2 GiB of metadata: %v", err)
	}
}

// TestSpoiledStreams flips bytes all over valid streams: every outcome but a
// crash is fine, and rows that come out fit their columns.
func TestSpoiledStreams(t *testing.T) {
	rng, cols := seeded(t), everyColumn()
	rows, _ := randomRows(rng, cols, 9)
	var b bytes.Buffer
	if err := Write(context.Background(), &b, cols, tensortest.Source(rows)); err != nil {
		t.Fatal(err)
	}
	for range 3000 {
		spoiled := bytes.Clone(b.Bytes())
		for range 1 + rng.IntN(3) {
			k := rng.IntN(len(spoiled))
			spoiled[k] = [...]byte{0, 1, 0x7f, 0x80, 0xff, byte(rng.Uint32())}[rng.IntN(6)]
		}
		drain(cols, spoiled)
	}
}

func drain(cols []tensor.Column, b []byte) {
	src := NewSource(cols, once(b))
	for {
		if _, err := src.Next(context.Background()); err != nil {
			return
		}
	}
}

func FuzzStream(f *testing.F) {
	cols := everyColumn()[:8]
	rows, _ := randomRows(rand.New(rand.NewPCG(1, 2)), cols, 3)
	var b bytes.Buffer
	if err := Write(context.Background(), &b, cols, tensortest.Source(rows)); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 16, 0, 0, 0})
	f.Fuzz(func(_ *testing.T, b []byte) { drain(cols, b) })
}
