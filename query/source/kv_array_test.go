package source_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"daos/dataset/array"
	"daos/dataset/kv"
	"daos/engine/object"
	"daos/query/exec"
	"daos/query/expr"
	"daos/query/source"
)

// oracle evaluates a predicate over all rows of a table at once.
func oracle(t *testing.T, s exec.Source, w string) {
	t.Helper()
	all, _ := collect(t, s, exec.Request{})
	schema := s.Schema()
	x, err := expr.Parse(w)
	if err != nil {
		t.Fatal(err)
	}
	p, err := expr.Bind(x, schema, w)
	if err != nil {
		t.Fatal(err)
	}
	keep, err := p.Filter(&expr.Batch{N: all.N, Columns: all.Columns}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, n := collect(t, s, exec.Request{Where: x, Text: w})
	if got.N != len(keep) {
		t.Fatalf("%s: %d rows, not %d", w, got.N, len(keep))
	}
	for c := range schema {
		if len(keep) == 0 {
			continue
		}
		want := exec.Pick(&schema[c], &all.Columns[c], keep)
		if g := got.Columns[c]; !slices.Equal(g.Values, want.Values) || !slices.Equal(g.Offsets, want.Offsets) || !same(g.Valid, want.Valid) {
			t.Fatalf("%s: column %s differs", w, schema[c].Name)
		}
	}
	if n.RowsOut != uint64(got.N) {
		t.Errorf("%s: %+v", w, n)
	}
}

// pairs is a KV dataset as a table, as it is now.
func pairs(t *testing.T, d *kv.Dataset) exec.Source {
	t.Helper()
	v, err := d.Head(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	s, err := source.Pairs(ctx, "p/kv", v)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// elements is an array as a table, as it is now.
func elements(t *testing.T, d *array.Dataset, path string) exec.Source {
	t.Helper()
	sc, err := d.Scan(ctx, 0, path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := source.Elements("p/a/"+path, sc)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPairsAreATable(t *testing.T) {
	d := kv.Open(store(t), kv.Options{})
	if _, err := d.Define(ctx, object.RequestID{}, kv.Schema{Encoding: kv.JSON, Fields: []kv.Field{{Name: "loss", Type: kv.Float64}, {Name: "tag", Type: kv.String, Nullable: true},
		{Name: "step", Type: kv.Int32}, {Name: "key", Type: kv.Bool}}}); err != nil {
		t.Fatal(err)
	}
	var ops []kv.Op
	for i := range 500 {
		v := fmt.Sprintf(`{"loss": %g, "step": %d, "key": %v, "tag": %q}`, float64(i)/7, i%11-3, i%2 == 0, strings.Repeat("x", i%5))
		if i%9 == 0 {
			v = fmt.Sprintf(`{"loss": %d, "step": 0, "key": false, "tag": null}`, i)
		}
		if i == 77 {
			v = fmt.Sprintf(`{"loss": 1, "step": 77, "key": true, "tag": %q}`, strings.Repeat("long", 2000)) // not in the index
		}
		key := fmt.Appendf(nil, "run/%d/%03d", i%3, i)
		if i%100 == 1 {
			key = append(key, 0xff)
		}
		ops = append(ops, kv.Op{Kind: kv.OpPut, Key: key, Value: []byte(v)})
	}
	if _, err := d.Apply(ctx, object.RequestID{}, ops); err != nil {
		t.Fatal(err)
	}
	s := pairs(t, d)
	if all, _ := collect(t, s, exec.Request{}); all.N != 500 {
		t.Fatalf("%d rows", all.N)
	}
	for _, w := range []string{"loss > 30", "step = 77", "tag is null", "key_text is null", "key_text like 'run/1/%'", "key >= 'run/2' and key < 'run/2/100'", "key = 'run/0/003'",
		"value.key = true and step < 0", "size > 1000", "length(tag) = 3", "version > 0", "key_text = 'nothing'", "key > 'z'", "key < ''", `"value" = x'00'`} {
		if strings.Contains(w, "value.key") {
			w = strings.ReplaceAll(w, "value.key", `"value.key"`)
		}
		oracle(t, s, w)
	}
	// A snapshot stays what it was.
	if _, err := d.Apply(ctx, object.RequestID{}, []kv.Op{{Kind: kv.OpDelete, Key: []byte("run/0/003")}}); err != nil {
		t.Fatal(err)
	}
	if all, _ := collect(t, s, exec.Request{Columns: []string{"key"}}); all.N != 500 {
		t.Errorf("%d rows at an epoch with 500", all.N)
	}
}

// splits notes how many parts were asked for.
type splits struct {
	exec.Source
	want []int
}

func (s *splits) Split(ctx context.Context, where expr.Expr, columns []int, want int) ([]exec.Part, error) {
	s.want = append(s.want, want)
	return s.Source.Split(ctx, where, columns, want)
}

// TestPairsAreReadInParts: of neighbouring keys, at places that are always the
// same, with the rows and the order of one part.
func TestPairsAreReadInParts(t *testing.T) {
	d := kv.Open(store(t), kv.Options{})
	const rows = 40_000
	for from := 0; from < rows; from += 10_000 {
		var ops []kv.Op
		for i := range 10_000 {
			ops = append(ops, kv.Op{Kind: kv.OpPut, Key: fmt.Appendf(nil, "%x", uint32(from+i)*2654435761), Value: fmt.Appendf(nil, "%d", from+i)})
		}
		if _, err := d.Apply(ctx, object.RequestID{}, ops); err != nil {
			t.Fatal(err)
		}
	}
	s := pairs(t, d)
	places := func() (out []string) {
		t.Helper()
		parts, err := s.Split(ctx, nil, []int{0}, 8)
		if err != nil || len(parts) != 8 {
			t.Fatalf("%d parts: %v", len(parts), err)
		}
		for _, p := range parts {
			out = append(out, string(p.(exec.Placed).Place()))
			p.Close()
		}
		return out
	}
	first := places()
	if !slices.Equal(first, places()) || slices.Equal(first[:7], first[1:]) {
		t.Fatalf("places %q", first)
	}
	all, n := collect(t, s, exec.Request{Columns: []string{"key"}})
	if all.N != rows || n.RowsScanned != rows {
		t.Fatalf("%d rows, %+v", all.N, n)
	}
	one, err := s.Split(ctx, nil, []int{0}, 1)
	if err != nil || len(one) != 1 {
		t.Fatalf("%d parts: %v", len(one), err)
	}
	var want []byte
	for {
		c, err := one[0].Next(ctx)
		if err == io.EOF { //nolint:errorlint // what Next promises
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		vs, err := c.Read(ctx, []int{0}, nil)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, vs[0].Values...)
	}
	if string(want) != string(all.Columns[0].Values) {
		t.Fatal("the parts have another order than the whole")
	}
	oracle(t, s, "key_text >= '8' and size = 4")
	// The first rows are those of one part: nothing is sampled for them.
	asked := &splits{Source: s}
	few, _ := collect(t, asked, exec.Request{Columns: []string{"key"}, Offset: 5, Limit: 10})
	if few.N != 10 || string(few.Columns[0].Values) != string(all.Columns[0].Values[all.Columns[0].Offsets[5]:all.Columns[0].Offsets[15]]) || !slices.Equal(asked.want, []int{1}) {
		t.Fatalf("%d rows, parts asked for %v", few.N, asked.want)
	}
	if collect(t, asked, exec.Request{Aggregates: []exec.Aggregate{{Fn: exec.Count}}, Limit: 10}); asked.want[1] <= 1 {
		t.Fatalf("parts asked for %v", asked.want)
	}
}

// TestValuesWithoutASchemaAreText: where they are UTF-8.
func TestValuesWithoutASchemaAreText(t *testing.T) {
	d := kv.Open(store(t), kv.Options{})
	long := strings.Repeat("naïve ", 3000) // not in the index
	var ops []kv.Op
	for i, v := range []string{"0.1", "\xff\xfe", "", long, "a\x00b"} {
		ops = append(ops, kv.Op{Kind: kv.OpPut, Key: fmt.Appendf(nil, "k%d", i), Value: []byte(v)})
	}
	if _, err := d.Apply(ctx, object.RequestID{}, ops); err != nil {
		t.Fatal(err)
	}
	s := pairs(t, d)
	got, _ := collect(t, s, exec.Request{Columns: []string{"value_text"}})
	x := got.Columns[0]
	if got.N != 5 || string(x.Values) != "0.1"+long+"a\x00b" || !slices.Equal(x.Valid, []byte{1, 0, 1, 1, 1}) {
		t.Fatalf("%d rows, %d bytes, valid %v", got.N, len(x.Values), x.Valid)
	}
	for _, w := range []string{"value_text = '0.1'", "value_text is null", "value_text like 'na%'", "length(value_text) > 100", "value_text = ''", "value = x'fffe' and value_text is null"} {
		oracle(t, s, w)
	}
}

func TestElementsAreATable(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	for _, name := range []string{"float32", "int16", "uint64", "bool", "float64", "bfloat16", "float8_e4m3fn", "float8_e5m2", "timestamp[ns]", "timestamp[ns, tz=Europe/Berlin]", "timestamp[us, tz=UTC]", "date32"} {
		dt, err := array.ParseDType(name)
		if err != nil {
			t.Fatal(err)
		}
		d := array.Open(store(t), "p/a")
		shape := []uint64{7, 9, 5}
		if _, _, err := d.Create(ctx, "g/x", array.Spec{DType: dt, Shape: shape, Chunks: []uint64{3, 4, 5}, Dims: []string{"time", "value", ""}}, array.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		data := make([]byte, 4*9*5*dt.Size())
		for i := range data {
			if data[i] = byte(rng.IntN(256)); dt.Bool() {
				data[i] &= 1
			}
		}
		// The last rows are left to the fill value.
		if _, err := d.Write(ctx, "g/x", []array.Axis{{Start: 0, Count: 4, Step: 1}, {Count: 9, Step: 1}, {Count: 5, Step: 1}}, data, array.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		s := elements(t, d, "g/x")
		all, _ := collect(t, s, exec.Request{})
		if all.N != 7*9*5 {
			t.Fatalf("%s: %d rows", name, all.N)
		}
		// Each element at its place.
		f := s.Schema()[3]
		w := f.Type.Size()
		for i := range all.N {
			id := binary.LittleEndian.Uint64(all.Columns[4].Values[8*i:])
			x := [3]uint64{id / 45, id / 5 % 9, id % 5}
			for k := range x {
				if got := binary.LittleEndian.Uint64(all.Columns[k].Values[8*i:]); got != x[k] {
					t.Fatalf("%s: element %d has coordinate %d = %d", name, id, k, got)
				}
			}
			got := all.Columns[3].Values[i*w : (i+1)*w]
			want := make([]byte, dt.Size())
			if id < 4*45 {
				want = data[int(id)*dt.Size() : int(id+1)*dt.Size()]
			}
			if w == dt.Size() && !slices.Equal(got, want) {
				t.Fatalf("%s: element %d is %x, not %x", name, id, got, want)
			}
			if name == "bfloat16" && !slices.Equal(got, []byte{0, 0, want[0], want[1]}) {
				t.Fatalf("bfloat16 %x is %x", want, got)
			}
		}
		for _, w := range []string{"time = 2", "time >= 3 and \"dim.value\" < 4", "dim_2 = 0", "value is null", "_id < 50", "time > 100"} {
			oracle(t, s, w)
		}
		switch f.Type {
		case expr.Bool:
			oracle(t, s, "value")
			oracle(t, s, "not value")
		case expr.Time:
			oracle(t, s, "value > '2000-01-01'")
		default:
			oracle(t, s, "value > 3")
			oracle(t, s, "value = 0")
		}
		if strings.HasPrefix(name, "float") || name == "bfloat16" {
			oracle(t, s, "isnan(value)")
		}
	}
	if got := float8(t, 0x7e); got != 448 {
		t.Errorf("the largest e4m3fn is %v", got)
	}
	if got := float8(t, 0x01); got != float32(math.Ldexp(1, -9)) {
		t.Errorf("the smallest e4m3fn is %v", got)
	}
}

// float8 is one element as a table shows it.
func float8(t *testing.T, x byte) float32 {
	t.Helper()
	dt, err := array.ParseDType("float8_e4m3fn")
	if err != nil {
		t.Fatal(err)
	}
	d := array.Open(store(t), "p/a")
	if _, _, err := d.Create(ctx, "x", array.Spec{DType: dt, Shape: []uint64{1}}, array.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Write(ctx, "x", nil, []byte{x}, array.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	st, err := exec.Open(ctx, elements(t, d, "x"), exec.Request{Columns: []string{"value"}})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	rows, err := st.Next()
	if err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return math.Float32frombits(binary.LittleEndian.Uint32(rows.Columns[0].Values))
}
