package expr

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"daos/internal/fault"
)

func TestErrorsMarkThePlace(t *testing.T) {
	schema := Schema{{Name: "label", Type: Int32}, {Name: "quality", Type: Float64}, {Name: "path", Type: Text},
		{Name: "image", Type: List, Elem: Uint8, Shape: []uint64{3, 8}}, {Name: "tokens", Type: List, Elem: Int64}, {Name: "mtime", Type: Time}, {Name: "raw", Type: Bytes}}
	for _, c := range []struct{ text, wanted string }{
		{"lable = 3", "no column \"lable\"\n  lable = 3\n  ^\n  did you mean \"label\"?"},
		{"label = 3 and", "the end where a column, a value or \"(\" was expected\n  label = 3 and\n               ^"},
		{"label = 3 quality", "\"quality\" where and, or, or the end was expected"},
		{"", "the predicate is empty"},
		{"label ~ 3", "'~' is not understood here"},
		{"path = 'a", "a text begins with ' and does not end"},
		{"label = 'x'", "label is int32 and 'x' is text: they can't be compared"},
		{"path = 3", "compare text with text: '3'"},
		{"label", "label is int32, not a condition"},
		{"lengh(path) = 3", "did you mean \"length\"?"},
		{"length(label) = 3", "length wants a column of text, bytes or lists, not int32"},
		{"lower('x') = 'x'", "lower wants a column of text, not a constant"},
		{"abs(3) = label", "abs wants a column of numbers, not a constant"},
		{"'x' like path", "like wants a column of text, not a constant"},
		{"image = 3", "image is uint8[3,8]"},
		{"image[1] = 3", "a list of one dimension"},
		{"tokens[0] = 3", "a whole number from 1"},
		{"label like 'x'", "like wants a column of text"},
		{"1 = 1", "compares two constants"},
		{"label + 0.5 > 1", "write it as a double: 0.5e0"},
		{`raw = '\x41'`, "write the bytes in hexadecimal: x'5c783431'"},
		{`raw in ('a', '\')`, "a backslash"},
		{`raw between 'a' and '\xff'`, "a backslash"},
		{"mtime > 'yesterday'", "is not a time between 1678 and 2261"},
		{"path glob '[a'", "closed with ]"},
		{"label in (1, quality)", "the values of in are constants"},
		{"label in (1, 2e0)", "mixes doubles"},
		{"label = 99999999999999999999", "does not fit into 64 bits"},
		{strings.Repeat("(", 100) + "label = 1" + strings.Repeat(")", 100), "nested deeper than 64"},
		{"label = 1" + strings.Repeat(" or label = 1", 3000), "more than 4096 parts"},
		{"label = 1" + strings.Repeat(" or label = 1", 5000), "more than 4096 parts"},
		{strings.Repeat("not ", 100000) + "label = 1", "over"},
	} {
		x, err := Parse(c.text)
		if err == nil {
			_, err = Bind(x, schema, c.text)
		}
		if c.wanted == "over" {
			if err == nil {
				t.Errorf("%.40s: no error", c.text)
			}
			continue
		}
		if err == nil || !strings.Contains(clean(err), c.wanted) {
			t.Errorf("%.60s\n says %v\n not %s", c.text, err, c.wanted)
		}
		if !fault.Is(err, fault.Invalid, fault.TooBig) {
			t.Errorf("%.60s: kind %v", c.text, fault.KindOf(err))
		}
	}
}

// clean is an error's detail and resolution.
func clean(err error) string {
	var e *fault.Error
	if f, ok := err.(*fault.Error); ok {
		e = f
	}
	if e == nil {
		return err.Error()
	}
	return e.Detail + "\n  " + e.Resolution
}

func TestPruneIsNeverWrong(t *testing.T) {
	e, all := load(t)
	rng := rand.New(rand.NewPCG(1, 2))
	pruned, whole := 0, 0
	for _, c := range e.Cases {
		text := c[0].(string)
		x, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		p, err := Bind(x, testSchema, text)
		if err != nil {
			continue
		}
		// A chunk of a few rows, with the statistics that a writer would keep.
		from := rng.IntN(all.N)
		to := min(all.N, from+1+rng.IntN(4))
		b, stats := part(all, from, to)
		keep, err := p.Filter(b, nil)
		if err != nil {
			continue
		}
		switch p.Prune(stats) {
		case None:
			pruned++
			if len(keep) > 0 {
				t.Errorf("%s: pruned, but keeps %v of rows %d to %d", text, keep, from, to)
			}
		case All:
			whole++
			if len(keep) != b.N {
				t.Errorf("%s: all of rows %d to %d, but keeps %v", text, from, to, keep)
			}
		}
	}
	if pruned < len(e.Cases)/10 || whole < 20 {
		t.Errorf("%d pruned and %d whole of %d: the statistics are hardly used", pruned, whole, len(e.Cases))
	}
}

// part is some rows of a batch and their statistics.
func part(all *Batch, from, to int) (*Batch, []Stats) {
	b := &Batch{N: to - from, Columns: make([]Vector, len(all.Columns))}
	stats := make([]Stats, len(all.Columns))
	for c := range all.Columns {
		v, f := &all.Columns[c], &testSchema[c]
		out := &b.Columns[c]
		out.Valid = v.Valid[from:to]
		if v.Offsets != nil {
			for _, o := range v.Offsets[from : to+1] {
				out.Offsets = append(out.Offsets, o-v.Offsets[from])
			}
			out.Values = v.Values[v.Offsets[from]:v.Offsets[to]]
		} else {
			out.Values = v.Values[from*f.Type.Size() : to*f.Type.Size()]
		}
		stats[c] = statsOf(f, out, b.N)
	}
	return b, stats
}

func statsOf(f *Field, v *Vector, n int) Stats {
	s := Stats{Known: true, Rows: uint64(n)}
	if f.Type == List {
		for _, b := range v.Valid {
			s.Nulls += uint64(1 - b)
		}
		return s
	}
	vals, err := (&column{0, f.Type}).eval(&Batch{N: n, Columns: []Vector{*v}})
	if err != nil {
		panic(err)
	}
	for i := range n {
		if v.Valid[i] == 0 {
			s.Nulls++
			continue
		}
		var x Value
		switch vals.t {
		case Int64:
			x = IntValue(vals.i[i])
		case Time:
			x = TimeValue(vals.i[i])
		case Uint64:
			x = UintValue(vals.u[i])
		case Float32, Float64:
			if x = FloatValue(vals.f[i]); x.F != x.F {
				s.NaNs++
				continue
			}
		case Bool:
			x = BoolValue(vals.b[i] != 0)
		case Text:
			x = TextValue(string(vals.data[vals.off[i]:vals.off[i+1]]))
		}
		if s.Min == nil || below(x, *s.Min) {
			s.Min = &x
		}
		if s.Max == nil || below(*s.Max, x) {
			s.Max = &x
		}
	}
	return s
}

func below(a, b Value) bool {
	switch a.Type {
	case Text:
		return a.S < b.S
	case Float64:
		return a.F < b.F
	case Bool:
		return !a.B && b.B
	case Time:
		return a.I < b.I
	}
	return a.rat().Cmp(b.rat()) < 0
}

func TestRangeHoldsEveryMatch(t *testing.T) {
	texts := []string{"", "a", "ab", "abc", "b", "train/a", "train/b", "train0", "\xff", "\xff\xff", "z"}
	schema := Schema{{Name: "k", Type: Text}}
	for _, text := range []string{"k = 'ab'", "k like 'train/%'", "k >= 'ab' and k < 'b'", "k between 'a' and 'b'", "'b' > k",
		"k glob 'a*c'", "prefix(k, 'train/') and k <> 'train/a'", "k > 'z' or k = 'a'", "k <= ''", "not k = 'a'"} {
		x, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		p, err := Bind(x, schema, text)
		if err != nil {
			t.Fatal(err)
		}
		lo, hi, unbounded := Range(x, "k")
		for _, s := range texts {
			b := &Batch{N: 1, Columns: []Vector{{Values: []byte(s), Offsets: []uint64{0, uint64(len(s))}}}}
			keep, err := p.Filter(b, nil)
			if err != nil {
				t.Fatal(err)
			}
			inside := s >= string(lo) && (unbounded || s < string(hi))
			if len(keep) == 1 && !inside {
				t.Errorf("%s keeps %q, which is outside of [%q, %q)", text, s, lo, hi)
			}
		}
	}
	if lo, hi, _ := Range(mustParse(t, "k like 'train/%'"), "k"); string(lo) != "train/" || string(hi) != "train0" {
		t.Errorf("the range of a prefix is [%q, %q)", lo, hi)
	}
}

func mustParse(t testing.TB, s string) Expr {
	t.Helper()
	x, err := Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"a = 1", "x'00' = b", "not (a like '%' or c is not null)", "a[1] + -2 * .5 >= 1e-3", "timestamp '2026-01-01' < t", "a in (1,'x',null)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		x, err := Parse(s)
		if err != nil {
			return
		}
		again, err := Parse(x.String())
		if err != nil || again.String() != x.String() {
			t.Fatalf("%q is written %q, which reads as %v, %v", s, x, again, err)
		}
		if _, err := Bind(x, testSchema, s); err == nil {
			b, _ := emptyBatch()
			p, _ := Bind(x, testSchema, s)
			if _, err := p.Filter(b, nil); err != nil && !fault.Is(err, fault.Invalid) {
				t.Fatal(err)
			}
			p.Prune(nil)
		}
	})
}

func emptyBatch() (*Batch, []Stats) {
	b := &Batch{Columns: make([]Vector, len(testSchema))}
	for i := range b.Columns {
		b.Columns[i].Offsets = []uint64{0}
	}
	return b, nil
}

func BenchmarkFilter(b *testing.B) {
	const n = 1 << 16
	values := make([]byte, 8*n)
	r := rand.NewChaCha8([32]byte{})
	_, _ = r.Read(values)
	schema := Schema{{Name: "x", Type: Int64}, {Name: "y", Type: Float64}}
	batch := &Batch{N: n, Columns: []Vector{{Values: values}, {Values: values}}}
	for _, text := range []string{"x > 8000000000000000000", "x between 0 and 1000 and y < 0.5", "x % 7 = 3"} {
		p, err := Bind(mustParse(b, text), schema, text)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprint(text), func(b *testing.B) {
			var keep []uint32
			for range b.N {
				keep, _ = p.Filter(batch, keep[:0])
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/row")
		})
	}
}
